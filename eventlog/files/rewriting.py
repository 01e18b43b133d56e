"""Write bytes of a file once more that a failed sync may have left in the cache alone, into pages that are made anew.

A write-back that failed leaves its pages in the cache, and the kernel calls them clean. To write the same bytes into
them again does not help everywhere: ext4 takes their blocks for written since it tried to, and leaves them marked as
unwritten. The next sync succeeds then, and after a power cut they are zeros. So the pages have to go first:

1. Read a block of the file, from the cache, into memory.
2. Ask the kernel to drop its pages. It keeps those that a process has mapped, as every reader does.
3. Write the block around the cache (``O_DIRECT``), for which the kernel drops these as well: who has them mapped finds
   the same bytes in new ones. Where that is not possible, as on some tmpfs, write it as ever.

A crash after any step leaves the file as readers know it, since the bytes are the same; a power cut may take what is
not yet synced, as before.
"""

from __future__ import annotations

import errno
import mmap
import os

from eventlog.files.filesystem import FileSystem
from eventlog.files.open_file import OpenFile
from eventlog.files.signal_handlers import pass_on_handlers

ALIGNMENT = 4096  # of positions, sizes and memory: the largest block that a device has
MOST_BYTES = 1 << 20  # that are written at once
_DIRECT = getattr(os, "O_DIRECT", 0)


class Rewriting:
    """The descriptors of one file, and memory for a part of it. ``fd`` can be read and written, and stays open."""

    def __init__(self, fs: FileSystem, fd: int, path: str) -> None:
        self._fs = fs
        self._fd = fd
        self._direct = self._opened_direct(path)
        self._memory = memoryview(mmap.mmap(-1, MOST_BYTES))

    def _opened_direct(self, path: str) -> OpenFile | None:
        if not _DIRECT:
            return None
        try:
            return self._fs.opened(path, os.O_RDWR | _DIRECT)
        except OSError as error:
            pass_on_handlers(error)
            if error.errno != errno.EINVAL:
                raise
            return None

    def write(self, start: int, stop: int) -> None:
        """Write the bytes again, `MOST_BYTES` at most; ``start`` is where a block begins, and ``stop`` anywhere.

        Raises OSError. The file may get longer, by zeros up to the end of a block.
        """
        data = self._fs.pread(self._fd, stop + -stop % ALIGNMENT - start, start)
        self._fs.drop_clean_pages(self._fd, start, stop)
        if not self._has_written_direct(data, start):
            self._fs.write_all(self._fd, [data[: stop - start]], start)

    def _has_written_direct(self, data: bytes, start: int) -> bool:
        if self._direct is None:
            return False
        size = len(data) + -len(data) % ALIGNMENT
        self._memory[: len(data)], self._memory[len(data) : size] = data, bytes(size - len(data))
        try:
            self._fs.write_all(self._direct.fd, [self._memory[:size]], start)
        except OSError as error:
            pass_on_handlers(error)
            if error.errno != errno.EINVAL:
                raise
            self.close()  # blocks of another size, or a file system that takes no such writes
        return self._direct is not None

    def close(self) -> None:
        """Close what was opened here."""
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.close()
