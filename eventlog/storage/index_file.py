"""A file of fixed-size entries, appended by one writer under the partition's lock and mapped by readers."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from eventlog.errors import ForeignFileError
from eventlog.files.filesystem import FileSystem
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L

_RESERVE = 1 << 16  # map ahead of the end, so that a growing index is mapped rarely

Entries = NDArray[np.void]


def sealed_checksum(checksum: int, end_offset: int) -> int:
    """Go on from the checksum of all entries over the offset that the segment ends before."""
    return crc32c(L.SEALED_END.pack(end_offset), checksum)


class IndexFile:
    """Entries of one dtype, in a mapping that is made anew only when the file has outgrown it, or grows first: it may
    have been copied up (see `Segment`).

    An index carries no truth: an entry is believed only when the segment confirms it. A crash may leave entries
    behind the ones that count; they are overwritten, or cut off when the segment is sealed. Then one more entry, the
    *seal*, ends the file: its first field is ``mark``, its second the checksum of all entries and the segment's end.
    """

    def __init__(self, fs: FileSystem, path: str, dtype: np.dtype[Any], mark: int) -> None:
        self.path = path
        self._fs = fs
        self._dtype = dtype
        self._mark = mark
        self._seal: int | None = None
        self._identity = (0, 0)
        self._reach = 0  # entries of the mapping that are the file's, also when it grows
        self._first_known: int | None = None  # of this file
        self._view: tuple[Entries, int] = np.empty(0, dtype=dtype), 0  # the mapping, and how many of it are known
        self._kept: Entries | None = None

    def entries(self, count: int | None = None) -> Entries:
        """Return the first ``count`` entries; fewer when the file is short, none when it is missing.

        Without ``count``, for a file that no longer grows: all entries there were when it was looked at first.
        """
        kept = self._kept
        if kept is not None:
            if count is None or count <= len(kept):
                return kept[:count]
            self._kept = None  # writers have come: they have put the file right first, and go on there
        mapped, known = self._view
        if not known or (count is not None and count > known):
            mapped, known = self._view = self._refreshed(mapped)  # in one step: other threads read here
        return mapped[: known if count is None else min(count, known)]

    def _refreshed(self, mapped: Entries) -> tuple[Entries, int]:
        try:
            opened = self._fs.opened(self.path, os.O_RDONLY)
        except (FileNotFoundError, ForeignFileError) as error:
            pass_on_handlers(error)
            return np.empty(0, dtype=self._dtype), 0
        with opened as fd:
            status = opened.status
            known, identity = status.st_size // self._dtype.itemsize, (status.st_dev, status.st_ino)
            replaced = identity != self._identity  # past the old file's end lies SIGBUS
            if self._first_known is None or replaced:
                self._first_known = known
            if known > min(len(mapped), self._reach) or (known and replaced):
                size = max(_RESERVE, 2 * known * self._dtype.itemsize)
                size -= size % self._dtype.itemsize
                mapped, self._identity = self._fs.map_readonly(fd, size).view(self._dtype), identity
                self._reach = len(mapped) if known > self._first_known else known
            mark, seal = mapped[known - 1].item() if known else (None, None)
            self._seal = seal if mark == self._mark else None
            return mapped, known - (self._seal is not None)

    def is_sealed_at(self, end_offset: int) -> bool:
        """Tell whether these are all entries of a segment that was sealed at ``end_offset``, each of them whole."""
        entries = self.entries()
        return self._seal == sealed_checksum(crc32c(entries.view(np.uint8)), end_offset)  # type: ignore[arg-type]

    def replace(self, entries: Entries, sealed_at: int | None = None) -> None:
        """Put a rebuilt index in the file's place; readers of the old one keep it."""
        content = entries.tobytes()
        if sealed_at is not None:
            content += self.seal(crc32c(content), sealed_at)
        self._fs.replace_file(self.path, content)
        self.look_again()

    def seal(self, checksum: int, end_offset: int) -> bytes:
        """Return the entry that seals an index whose entries have this checksum."""
        return np.array([(self._mark, sealed_checksum(checksum, end_offset))], self._dtype).tobytes()

    def hold(self, entries: Entries) -> None:
        """Use a rebuilt index from memory until `forget`, where the file cannot be replaced."""
        self._view = entries, len(entries)

    def keep(self, entries: Entries) -> None:
        """Use these entries from memory, whatever the file says, until more of them count."""
        self._kept = entries

    @property
    def is_kept(self) -> bool:
        """Tell whether the entries are those given to `keep`."""
        return self._kept is not None

    def look_again(self) -> None:
        """Map the file again at the next use, also in the place of entries given to `keep`."""
        self._kept = None
        self.forget()

    def forget(self) -> None:
        """Drop the mapping; the next use maps the file as it is then."""
        self._view = np.empty(0, dtype=self._dtype), 0
