"""The sparse offset index of a segment: where to start looking for an offset."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from eventlog.files.filesystem import FileSystem
from eventlog.format.layouts import OFFSET_INDEX_ENTRY, OFFSET_INDEX_SEAL
from eventlog.storage.index_file import IndexFile


class OffsetIndex(IndexFile):
    """8 bytes an entry, little-endian: base offset of a batch relative to the segment's, and its position.

    One entry for the first batch that begins ``index_interval_bytes`` or more after the last indexed one, so a
    lookup ends within that many bytes, or one batch, before its target. The segment's first batch needs none.
    """

    def __init__(self, fs: FileSystem, path: str) -> None:
        super().__init__(fs, path, OFFSET_INDEX_ENTRY, OFFSET_INDEX_SEAL)

    def entries_before(self, relative_offset: int, count: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the (relative offset, position) of each entry at or before ``relative_offset``, the last one first."""
        entries = self.entries(count)
        slot = bisect_right(entries["offset"], relative_offset)  # searchsorted would copy the strided column
        while slot:
            slot -= 1
            yield entries[slot].item()
