"""The sparse time index of a segment: where to start looking for a point in time."""

from __future__ import annotations

from bisect import bisect_left

from eventlog.files.filesystem import FileSystem
from eventlog.format.layouts import TIME_INDEX_ENTRY, TIME_INDEX_SEAL
from eventlog.storage.index_file import IndexFile


class TimeIndex(IndexFile):
    """12 bytes an entry, little-endian: a running maximum of timestamps, and the relative offset it holds up to.

    An entry (t, o) says: no record up to offset o is later than t. Timestamps are milliseconds since the epoch.
    """

    def __init__(self, fs: FileSystem, path: str) -> None:
        super().__init__(fs, path, TIME_INDEX_ENTRY, TIME_INDEX_SEAL)

    def first_candidate(self, timestamp_ms: int, count: int | None = None) -> int:
        """Return the first relative offset that may be at or after ``timestamp_ms``."""
        entries = self.entries(count)
        slot = bisect_left(entries["timestamp"], timestamp_ms) - 1
        return 0 if slot < 0 else int(entries["offset"][slot]) + 1

    def largest(self, count: int | None = None) -> int | None:
        """Return the last entry's timestamp; None when there is no entry."""
        entries = self.entries(count)
        return int(entries["timestamp"][-1]) if len(entries) else None
