"""The sparse offset index of a segment: where to start looking for an offset."""

from __future__ import annotations

from bisect import bisect_right

from eventlog.files.filesystem import FileSystem
from eventlog.format.layouts import OFFSET_INDEX_ENTRY
from eventlog.storage.index_file import IndexFile


class OffsetIndex(IndexFile):
    """8 bytes an entry, little-endian: base offset of a batch relative to the segment's, and its position.

    One entry for the first batch that begins ``index_interval_bytes`` or more after the last indexed one, so a
    lookup ends within that many bytes, or one batch, before its target. The segment's first batch needs none.
    """

    def __init__(self, fs: FileSystem, path: str) -> None:
        super().__init__(fs, path, OFFSET_INDEX_ENTRY)

    def lookup(self, relative_offset: int, count: int | None = None) -> tuple[int, int]:
        """Return the (relative offset, position) of the last entry at or before; (0, 0) when there is none."""
        entries = self.entries(count)
        slot = bisect_right(entries["offset"], relative_offset) - 1  # searchsorted would copy the strided column
        if slot < 0:
            return 0, 0
        offset, position = entries[slot].item()
        return offset, position
