"""The descriptors a writer holds: the active segment and its two indexes."""

from __future__ import annotations

import errno
import os

from eventlog.errors import ForeignFileError
from eventlog.files.filesystem import FileSystem
from eventlog.files.open_file import OpenFile
from eventlog.files.signal_handlers import suppress
from eventlog.format.filenames import INDEX, LOG, TIME_INDEX, segment_name
from eventlog.format.layouts import OFFSET_INDEX_ENTRY, TIME_INDEX_ENTRY
from eventlog.storage.head import EndState
from eventlog.storage.offset_index import OffsetIndex
from eventlog.storage.time_index import TimeIndex


class ActiveSegment:
    """Open for writing by this process; others may have it open too, and only the lock's holder writes."""

    __slots__ = ("_files", "_fs", "base_offset", "fd", "file", "index_fd", "is_trusted", "path", "time_fd")

    def __init__(self, fs: FileSystem, directory: str, base_offset: int, *, create: bool = False) -> None:
        """Open the three files. Without ``create``, raises FileNotFoundError when there is no such segment."""
        self._fs = fs
        self.base_offset = base_offset
        self.is_trusted = False  # for a sync: see ``sync_marks.py``
        self.path = os.path.join(directory, segment_name(base_offset, LOG))
        stem = self.path.removesuffix(LOG)
        self._files = (
            fs.opened(self.path, os.O_RDWR | os.O_CREAT if create else os.O_RDWR).kept(),
            _opened_index(fs, stem + INDEX).kept(),
            _opened_index(fs, stem + TIME_INDEX).kept(),
        )
        self.file = self._files[0]
        self.fd, self.index_fd, self.time_fd = (file.fd for file in self._files)

    def is_lost(self) -> bool:
        """Tell whether other code of this process has closed the segment, whose number may be another file's now."""
        return self.file.is_lost()

    def is_in_place(self) -> bool:
        """Tell whether no index was replaced since: a roll that another process did not finish may have done so."""
        return self._fs.is_linked(self.index_fd) and self._fs.is_linked(self.time_fd)

    def tidy(self, state: EndState) -> None:
        """Overwrite with zeros what a writer left behind the published end when it died or failed.

        Never by truncating: readers may have these pages mapped. Without this, the rest of a large unpublished
        batch could later be taken for records when a lost head is rebuilt.
        """
        size = self._fs.size(self.fd)
        if size > state.position:
            self._fs.write_zeros(self.fd, state.position, size)

    def append_due(self, state: EndState, offset_entries: bytes, time_entries: bytes) -> None:
        """Write the index entries that end at the counts of ``state``."""
        if offset_entries:
            self._write(self._files[1], offset_entries, state.index_entries * OFFSET_INDEX_ENTRY.itemsize)
        if time_entries:
            self._write(self._files[2], time_entries, state.time_entries * TIME_INDEX_ENTRY.itemsize)

    def _write(self, index: OpenFile, entries: bytes, end: int) -> None:
        """Write entries that end there. The index is looked at each time: one look for many records."""
        if index.is_lost():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path)
        position = end - len(entries)
        written = self._fs.pwritev(index.fd, [entries], position)
        if written != len(entries):  # a full disk shows itself now
            self._fs.write_all(index.fd, [entries[written:]], position + written)

    def seal_indexes(self, state: EndState, end_offset: int) -> None:
        """End the indexes with their seals, now that the segment ends before ``end_offset`` for good.

        Entries behind the count, which a writer left when it died, are taken away by replacing the file, never by
        truncating it: readers may have it mapped. A crash in between leaves an index without a seal, which is built
        again when it is needed.
        """
        stem = self.path.removesuffix(LOG)
        for fd, index, count, checksum in (
            (self.index_fd, OffsetIndex(self._fs, stem + INDEX), state.index_entries, state.index_checksum),
            (self.time_fd, TimeIndex(self._fs, stem + TIME_INDEX), state.time_entries, state.time_checksum),
        ):
            seal = index.seal(checksum, end_offset)
            size = count * len(seal)
            if self._fs.size(fd) > size:
                self._fs.replace_file(index.path, self._fs.pread(fd, size, 0) + seal)
            else:
                self._fs.write_all(fd, [seal], size)

    def close(self) -> None:
        """Close the three descriptors."""
        for file in self._files:
            with suppress(OSError):
                file.close()


def _opened_index(fs: FileSystem, path: str) -> OpenFile:
    """Open an index. It holds no truth: what lies there and is no file is put aside."""
    try:
        return fs.opened(path, os.O_RDWR | os.O_CREAT)
    except ForeignFileError:
        fs.put_aside(path)
        return fs.opened(path, os.O_RDWR | os.O_CREAT)


def remove_segment_files(fs: FileSystem, directory: str, base_offset: int) -> None:
    """Remove a segment that never held a published record."""
    for suffix in (INDEX, TIME_INDEX, LOG):  # the log last: while it is there, the removal is repeated
        with suppress(FileNotFoundError):
            fs.unlink(os.path.join(directory, segment_name(base_offset, suffix)))
