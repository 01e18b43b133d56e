"""What a history tells about one partition: which values were sent, and what stands at which offset."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property

from eventlog.testing.checker.transaction import Transaction
from eventlog.testing.history import Operation, Value


class PartitionEvidence:
    """The log of a partition, as acknowledgements and polls describe it.

    Of each value that was sent: ``writer`` (the last operation or transaction that did), ``acknowledged`` (when, in
    ns), ``pending`` (how many attempts may still turn out either way) and ``visible_from`` (ns). A value that is in
    ``writer``, but is neither acknowledged nor pending, has failed.

    Of each value that was seen: ``offset_of`` (the first offset it was seen at) and ``polled`` (the number of the
    first reading that returned it). Of each offset: ``value_at``. ``conflicts`` and ``copies`` hold what does not
    fit into these: all values of one offset, and all offsets of one value.
    """

    def __init__(self) -> None:
        self.writer: dict[Value, Operation | Transaction] = {}
        self.acknowledged: dict[Value, int] = {}
        self.pending: dict[Value, int] = {}
        self.visible_from: dict[Value, int] = {}
        self.value_at: dict[int, Value] = {}
        self.offset_of: dict[Value, int] = {}
        self.polled: dict[Value, int] = {}
        self.conflicts: dict[int, set[Value]] = {}
        self.copies: dict[Value, set[int]] = {}

    def attempt(self, value: Value, writer: Operation | Transaction, visible_from: int) -> None:
        """Note that a value is being sent. It may have been before, if that failed or its outcome is unknown."""
        if value not in self.pending and value not in self.acknowledged:
            self.visible_from[value] = visible_from
        else:
            self.visible_from[value] = min(visible_from, self.visible_from[value])
        self.writer[value] = writer
        self.pending[value] = self.pending.get(value, 0) + 1

    def acknowledge(self, value: Value, offset: int | None, time_ns: int) -> None:
        """Note that a value has been written by now, at this offset if it is known."""
        self.acknowledged.setdefault(value, time_ns)
        self.pending.pop(value, None)
        if offset is not None:
            self.see(offset, value)

    def fail(self, value: Value) -> None:
        """Note that one attempt to send a value failed."""
        left = self.pending.pop(value, 0) - 1
        if left > 0:
            self.pending[value] = left

    def see(self, offset: int, value: Value) -> None:
        """Note that somebody knows which value stands at an offset."""
        if (there := self.value_at.setdefault(offset, value)) != value:
            self.conflicts.setdefault(offset, {there}).add(value)
        if (known := self.offset_of.setdefault(value, offset)) != offset:
            self.copies.setdefault(value, {known}).add(offset)

    def see_all(self, records: Iterable[tuple[int, Value]], reading: int) -> None:
        """Note what one reading returned: `see` for each record, without the calls, since this is the hot loop."""
        place_value, place_offset, first = self.value_at.setdefault, self.offset_of.setdefault, self.polled.setdefault
        for offset, value in records:
            if place_value(offset, value) != value or place_offset(value, offset) != offset:
                self.see(offset, value)
            first(value, reading)

    def failed(self, value: Value) -> bool:
        """Tell whether every attempt to send this value failed."""
        return value in self.writer and value not in self.acknowledged and value not in self.pending

    @cached_property
    def last_polled(self) -> int:
        """The highest offset that a poll has returned; -1 before any."""
        return max(map(self.offset_of.__getitem__, self.polled), default=-1)

    @cached_property
    def _known(self) -> list[int]:
        return sorted(self.value_at)

    def known_between(self, after: int, before: int) -> list[int]:
        """Return the offsets between two others at which a record is known to stand."""
        return self._known[bisect_left(self._known, after + 1) : bisect_left(self._known, before)]
