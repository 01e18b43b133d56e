"""The end of a log as its writer sees it, and the rule by which the indexes grow with it."""

from __future__ import annotations

import struct

from crc32c import crc32c

from eventlog.format.layouts import LATEST, MAX_RELATIVE_OFFSET, OFFSET_INDEX_ENTRY, TIME_INDEX_ENTRY
from eventlog.storage.head import EndState

_offset_entry = struct.Struct("<II")
_time_entry = struct.Struct("<qI")
assert _offset_entry.size == OFFSET_INDEX_ENTRY.itemsize
assert _time_entry.size == TIME_INDEX_ENTRY.itemsize


class Tail:
    """`EndState`, mutable: it advances batch by batch, and collects the index entries that become due.

    The same rule serves an append, recovery and the building of a lost index, so all three agree to the byte.
    """

    __slots__ = (
        "_interval", "due_offset_entries", "due_time_entries", "end_offset", "first_timestamp", "index_checksum",
        "index_entries", "last_indexed", "last_time_indexed", "max_timestamp", "position", "segment_base",
        "time_checksum", "time_entries",
    )  # fmt: skip

    def __init__(self, state: EndState, interval: int) -> None:
        self._interval = interval
        self.load(state)

    def load(self, state: EndState) -> None:
        """Go to a known end; nothing is due there."""
        (
            self.end_offset, self.segment_base, self.position, self.index_checksum, self.last_indexed,
            self.time_checksum, self.index_entries, self.time_entries, self.max_timestamp, self.last_time_indexed,
            self.first_timestamp,
        ) = state  # fmt: skip
        self.due_offset_entries = bytearray()
        self.due_time_entries = bytearray()

    def state(self) -> EndState:
        """Return the end as a value."""
        return EndState(
            self.end_offset, self.segment_base, self.position, self.index_checksum, self.last_indexed,
            self.time_checksum, self.index_entries, self.time_entries, self.max_timestamp, self.last_time_indexed,
            self.first_timestamp,
        )  # fmt: skip

    def add(self, size: int, end_offset: int, max_timestamp: int) -> None:
        """Advance over a batch of ``size`` bytes whose records end before ``end_offset``."""
        position = self.position
        if position == 0:
            self.first_timestamp = max_timestamp  # as Kafka: an old record in a new batch must not seal the segment
        if max_timestamp > self.max_timestamp:  # noqa: PLR1730  # max() costs a call, on every append
            self.max_timestamp = max_timestamp
        if position - self.last_indexed >= self._interval and position:
            self._index(position, end_offset)
        self.position = position + size
        self.end_offset = end_offset

    def _index(self, position: int, end_offset: int) -> None:
        """Note the batch at ``position``; `end_offset` is still the one before it."""
        entry = _offset_entry.pack(self.end_offset - self.segment_base, position)
        self.due_offset_entries += entry
        self.index_checksum = crc32c(entry, self.index_checksum)
        self.index_entries += 1
        self.last_indexed = position
        self._index_time(end_offset)

    def _index_time(self, end_offset: int) -> None:
        if self.max_timestamp > self.last_time_indexed:
            offset = min(
                end_offset - 1 - self.segment_base, MAX_RELATIVE_OFFSET
            )  # more, if the next segment is missing
            entry = _time_entry.pack(self.max_timestamp, offset)
            self.due_time_entries += entry
            self.time_checksum = crc32c(entry, self.time_checksum)
            self.time_entries += 1
            self.last_time_indexed = self.max_timestamp

    def jump(self, position: int, end_offset: int) -> None:
        """Advance over damage. Records of any time may have been there: a search by time has to stop at it."""
        self.position, self.end_offset = position, end_offset
        self.max_timestamp = LATEST

    def seal(self) -> None:
        """End the segment: its time index tells its largest timestamp, so that a search can pass it by."""
        self._index_time(self.end_offset)

    def begin_segment(self) -> None:
        """Go on in a new segment, whose base offset is the end of this one."""
        self.load(EndState(end_offset=self.end_offset, segment_base=self.end_offset))

    def take_due(self) -> tuple[bytes, bytes]:
        """Return the offset and time index entries that are due, and forget them."""
        due = bytes(self.due_offset_entries), bytes(self.due_time_entries)
        self.due_offset_entries, self.due_time_entries = bytearray(), bytearray()
        return due
