"""Find what can be believed behind damage in a segment.

Whoever meets damage knows where it is, which offset belongs there, and before which offset the segment ends. Behind it
lie *runs*: whole batches, one after the other, each of which goes on where the one before ended. Bytes that were moved
(exchanged sectors, the bytes of another file) make runs as well, in the wrong place. So not the first run is believed:

1. A batch at the place itself whose first bytes alone are damaged is known by the offset that belongs there.
2. If the damaged batch's header is right about its offset, and leads to a batch that goes on where it says, then it is
   that one. (A search could find batches within the damaged one, if its values are themselves copies of segments.)
3. Else gather runs up to a long one, which no exchange of sectors can make, and take those that can be true together:
   the chain with the most bytes whose offsets rise with their positions, from the expected one up to the limit. A run
   to which an entry of the index leads, and is right, goes before all others: whoever looks an offset up comes there.
   One that would lie on the wrong side of an entry goes after all others: it was moved, or the index is damaged too.
   Between two entries, or the damage and the segment's end, bytes count less the farther they are from their place.
4. Directly before the first run of the chain may lie a batch whose first bytes alone are damaged.

A batch of version 1 does not protect its base offset. One by itself is believed only where its neighbours agree.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from eventlog.format import layouts as L
from eventlog.format.columns import BatchDamage
from eventlog.format.record_batch import RecordBatch
from eventlog.format.restored_batch import PossibleBatch
from eventlog.storage.segment import Segment, walk_header

LONG_RUN = 1 << 18  # bytes: 64 times the largest sector; walking over it takes some milliseconds
_FAR = 1 << 22  # bytes behind the first run: what is chosen there is chosen well enough
_FIRST_WINDOW, _WINDOW = 1 << 14, 1 << 20  # bytes that are searched at once
_NEAR = 256  # bytes from the expected place that are no sign of a sector that was moved
_INDEXED = 1 << 40  # more than any number of bytes
_MOST_OFFSETS = 1 << 14  # that are tried for the last batch of a log, each in half a microsecond


class Run(NamedTuple):
    """Whole batches without a gap, from ``first`` on."""

    first: RecordBatch
    end_position: int
    end_offset: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.end_position - self.first.position

    @property
    def is_certain(self) -> bool:
        """Tell whether its offsets are right: by their CRC, or since two batches agree."""
        return bool(self.first.format_version == L.VERSION_2 or self.size > self.first.size)


class Damage(NamedTuple):
    """Bytes from ``position`` on that are not the batch that begins with ``offset``; the segment ends before ``end``.

    ``end`` is None where nobody knows the log's end.
    """

    segment: Segment
    position: int
    offset: int
    end: int | None = None
    reason: str = ""

    @property
    def limit(self) -> int:
        """The offset before which every batch of the segment ends."""
        most = self.segment.base_offset + L.MAX_RELATIVE_OFFSET
        return most if self.end is None else min(most, self.end)


def batch_behind(damage: Damage) -> RecordBatch | None:
    """Return the first batch that can be believed at or behind the damage.

    Its offset is that of the damage if nothing was lost; None when nothing follows.
    """
    damage.segment.refresh()
    return _restored_there(damage) or _successor(damage) or _behind(damage)


class Reached(NamedTuple):
    """``batch`` holds the offset that was asked for; or it is None, and ``damage`` has taken that offset.

    Then ``next_offset`` is the first one behind the damage, or None when nothing follows.
    """

    batch: RecordBatch | None
    damage: Damage
    next_offset: int | None = None


def batch_over(damage: Damage, offset: int) -> Reached:
    """Find the batch that holds ``offset`` although the way there is damaged, perhaps more than once."""
    segment = damage.segment
    while True:
        batch = batch_behind(damage)
        if batch is None or batch.header_offset > offset:
            return Reached(None, damage, None if batch is None else batch.header_offset)
        try:
            while batch.last_offset < offset:
                damage = damage._replace(position=batch.position + batch.size, offset=batch.last_offset + 1)
                place = segment.walk(offset, damage.position, damage.offset)
                damage = damage._replace(position=place.position, offset=place.base_offset)
                batch = segment.batch_at(place.position)
            return Reached(batch, damage)
        except BatchDamage as found:
            damage = damage._replace(reason=found.reason)
            if found.position is not None and found.base_offset is not None:
                damage = damage._replace(position=found.position, offset=found.base_offset)


# --- steps 1 and 2 ---


def _restored_there(damage: Damage) -> RecordBatch | None:
    possible = _possible(damage.segment, damage.position)
    return None if possible is None else possible.at(damage.offset, possible.claimed_size)


def _possible(segment: Segment, position: int) -> PossibleBatch | None:
    try:
        return PossibleBatch(segment.data, position, segment.size, segment.topic, segment.partition, segment.home)
    except BatchDamage:
        return None


def _whole(segment: Segment, position: int) -> RecordBatch | None:
    data, size = segment.view
    try:
        return RecordBatch(data, position, size, segment.topic, segment.partition, segment.home)
    except BatchDamage:
        return None


def _successor(damage: Damage) -> RecordBatch | None:
    segment, position = damage.segment, damage.position
    if position + L.HEADER_BYTES > segment.size:
        return None
    base, length, _, last_delta = walk_header(segment.data, position)
    size = length + L.LENGTH_START
    if base != damage.offset or size < L.HEADER_BYTES:
        return None
    following = _whole(segment, position + size)
    return following if following is not None and following.header_offset == base + last_delta + 1 else None


# --- steps 3 and 4 ---


def _behind(damage: Damage) -> RecordBatch | None:
    first = _first_of_best(_believable(damage), damage)
    if first is None:
        return _restored_at_end(damage)
    return _restored_before(damage, first) or first


def _believable(damage: Damage) -> list[Run]:
    """Return the runs that may be true, in the order of their positions."""
    return [
        run
        for run, following in pairwise([*_runs(damage), None])
        if run is not None
        and damage.offset <= run.first.header_offset
        and (run.is_certain or _agrees(damage, run, following))
    ]


def _agrees(damage: Damage, run: Run, following: Run | None) -> bool:
    """Tell whether the neighbours of a lone batch of version 1 agree with its offset."""
    if run.end_offset == damage.end:
        return True
    goes_wrong = following is not None and following.first.position == run.end_position
    lost_bytes = run.first.position - damage.position
    return not goes_wrong and run.first.header_offset - damage.offset <= lost_bytes


def _runs(damage: Damage) -> Iterator[Run]:
    """Yield the runs behind the damage up to the first long one; those that overstep the limit are cut there."""
    segment, position = damage.segment, damage.position
    stop = segment.size
    while (first := _next_whole(segment, position, stop)) is not None:
        run = _run_from(segment, first, damage.limit)
        position = first.position + first.size if run is None else run.end_position
        if run is not None:
            yield run
            if run.first.header_offset >= damage.offset:
                if run.size >= LONG_RUN:
                    return
                stop = min(stop, run.first.position + _FAR)


def _run_from(segment: Segment, first: RecordBatch, limit: int) -> Run | None:
    if first.last_offset >= limit:
        return None
    batch = first
    while batch.position + batch.size - first.position < LONG_RUN:
        following = _whole(segment, batch.position + batch.size)
        if following is None or following.header_offset != batch.last_offset + 1 or following.last_offset >= limit:
            break
        batch = following
    return Run(first, batch.position + batch.size, batch.last_offset + 1)


def _next_whole(segment: Segment, position: int, stop: int) -> RecordBatch | None:
    position += -position % L.ALIGNMENT
    window = _FIRST_WINDOW
    while position + L.HEADER_BYTES <= stop:
        end = min(position + window, stop)
        for candidate in _candidates(segment.data, position, end, segment.size):
            batch = _whole(segment, candidate)
            if batch is not None:
                return batch
        position, window = end + -end % L.ALIGNMENT, _WINDOW
    return None


def _candidates(data: memoryview, position: int, end: int, size: int) -> list[int]:
    """Return the positions from ``position`` up to ``end`` where a batch's header may lie, told by its fixed bytes."""
    bytes_there = min(end + L.HEADER_BYTES, size) - position
    if bytes_there < L.HEADER_BYTES:
        return []
    rows = np.frombuffer(data, np.uint8, bytes_there // 8 * 8, position).reshape(-1, 8)
    last = len(rows) - L.HEADER_BYTES // 8 + 1
    found = np.flatnonzero(rows[2 : last + 2, 0] == L.MAGIC)
    fixed = rows[found + 7]
    is_known = (fixed[:, 6] == L.VERSION_1) | (fixed[:, 6] == L.VERSION_2)
    is_header = is_known & (fixed[:, 5] <= L.KNOWN_COLUMNS) & (fixed[:, 7] == 0) & (rows[found + 2, 5] == 0)
    positions: list[int] = (found[is_header] * 8 + position).tolist()
    return positions


def _first_of_best(runs: list[Run], damage: Damage) -> RecordBatch | None:
    """Return the first batch of the chain of runs with the most weight whose offsets rise."""
    ends: list[int] = []  # the chains so far, by the offset that each ends with; a longer one weighs more
    chains: list[tuple[int, RecordBatch]] = []
    for run in runs:
        before = bisect_right(ends, run.first.header_offset)
        weight, first = chains[before - 1] if before else (0, run.first)
        weight += _weight(run, damage)
        place = bisect_right(ends, run.end_offset)
        if place and chains[place - 1][0] >= weight:
            continue
        worse = place
        while worse < len(chains) and chains[worse][0] <= weight:
            worse += 1
        ends[place:worse], chains[place:worse] = [run.end_offset], [(weight, first)]
    return chains[-1][1] if chains else None


def _weight(run: Run, damage: Damage) -> int:
    """Return how much speaks for the run: its bytes, and what the index says of its place.

    Its place, where batches of one size would have it, is told by the entries, or else by the damage and the end.
    """
    segment, base = damage.segment, damage.segment.base_offset
    entries = segment.offset_index.entries()
    offsets, positions = entries["offset"], entries["position"]
    low, high = (bisect_left(offsets, offset - base) for offset in (run.first.header_offset, run.end_offset))
    for offset, position in entries[low:high].tolist():
        within = run.first.position <= position < run.end_position
        if within and walk_header(segment.data, position)[0] == base + offset:
            return run.size + _INDEXED
    before, after = (damage.offset, damage.position), (damage.limit, segment.size)
    if low:
        before = max(before, (base + offsets.item(low - 1), positions.item(low - 1)))
    if high < len(entries):
        after = min(after, (base + offsets.item(high), positions.item(high)))
    if low < high or not before[1] <= run.first.position < run.end_position <= after[1]:
        return 1
    if damage.end is None and high == len(entries):
        return run.size
    share = (run.first.header_offset - before[0]) / max(1, after[0] - before[0])  # a damaged index says anything
    distance = abs(before[1] + share * (after[1] - before[1]) - run.first.position)
    return max(1, int(run.size * _NEAR / (_NEAR + distance)))


def _restored_before(damage: Damage, following: RecordBatch) -> RecordBatch | None:
    """Return the batch that ends where ``following`` begins, if only its first bytes are damaged."""
    for possible in _possible_batches(damage, following.position):
        base_offset = following.header_offset - possible.record_span
        if base_offset >= damage.offset:
            batch = possible.at(base_offset, following.position - possible.position)
            if batch is not None:
                return batch
    return None


def _restored_at_end(damage: Damage) -> RecordBatch | None:
    """Return the last batch of the segment, if only its first bytes are damaged.

    Its offset is told by the segment's end; where that is not known, the few that are possible are tried.
    """
    for possible in _possible_batches(damage, damage.segment.size):
        most = min(possible.position - damage.position, _MOST_OFFSETS)
        offsets = range(damage.offset, damage.offset + most + 1)
        if damage.end is not None:
            offsets = range(damage.end - possible.record_span, damage.end - possible.record_span + 1)
        for offset in offsets:
            batch = possible.at(offset, possible.claimed_size) if offset >= damage.offset else None
            if batch is not None:
                return batch
    return None


def _possible_batches(damage: Damage, end: int) -> Iterator[PossibleBatch]:
    """Yield what may be a batch between the damage and ``end``, the last one first, and at last the damage itself."""
    segment = damage.segment
    start = max(damage.position, end - _FAR)
    places = _candidates(segment.data, start + -start % L.ALIGNMENT, end, segment.size)
    for position in [damage.position, *places][::-1]:
        possible = _possible(segment, position)
        if possible is not None and position < end:
            yield possible
