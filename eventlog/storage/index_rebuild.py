"""Check a segment's indexes against it, and build them anew from it."""

from __future__ import annotations

import numpy as np
from crc32c import crc32c

from eventlog.format.columns import BatchDamage
from eventlog.format.layouts import OFFSET_INDEX_ENTRY, TIME_INDEX_ENTRY
from eventlog.storage.head import EndState
from eventlog.storage.index_file import Entries
from eventlog.storage.scan import scan_segment
from eventlog.storage.segment import Segment
from eventlog.storage.tail import Tail


def built_indexes(
    segment: Segment, interval: int, *, sealed: bool, stop_offset: int | None = None
) -> tuple[EndState, Entries, Entries]:
    """Return the end up to which the indexes are built, and the entries of both, from what the segment holds."""
    tail = Tail(EndState(end_offset=segment.base_offset, segment_base=segment.base_offset), interval)
    scan_segment(segment, tail, stop_offset, lambda batch: stop_offset is not None and batch.last_offset >= stop_offset)
    if sealed:
        if stop_offset is not None and tail.end_offset < stop_offset:
            tail.jump(tail.position, stop_offset)
        tail.seal()
    offsets, times = tail.take_due()
    return tail.state(), np.frombuffer(offsets, OFFSET_INDEX_ENTRY), np.frombuffer(times, TIME_INDEX_ENTRY)


def rebuild_indexes(segment: Segment, interval: int, end_offset: int, *, in_memory: bool = False) -> None:
    """Replace both indexes of a sealed segment, which ends before ``end_offset``, by what it holds."""
    _, *built = built_indexes(segment, interval, sealed=True, stop_offset=end_offset)
    for index, entries in zip((segment.offset_index, segment.time_index), built, strict=True):
        if in_memory:
            index.hold(entries)
        else:
            index.replace(entries, end_offset)


def index_checksums(segment: Segment, offset_entries: int, time_entries: int) -> tuple[int, int] | None:
    """Return the checksums of that many entries of both indexes; None when an index has fewer."""
    segment.offset_index.forget()
    segment.time_index.forget()
    offsets = segment.offset_index.entries(offset_entries)
    times = segment.time_index.entries(time_entries)
    if len(offsets) < offset_entries or len(times) < time_entries:
        return None
    return crc32c(offsets.view(np.uint8)), crc32c(times.view(np.uint8))  # type: ignore[arg-type]  # they are buffers


def indexes_fit(segment: Segment, state: EndState) -> bool:
    """Tell whether both indexes have the entries that ``state`` counts.

    A power cut may have taken any of them, and may have brought back what was there before: they are not synced before
    the segment is sealed. What the checksums confirm is what was written.
    """
    found = index_checksums(segment, state.index_entries, state.time_entries)
    return found == (state.index_checksum, state.time_checksum)


def sealed_indexes_fit(segment: Segment, interval: int, end_offset: int) -> bool:
    """Tell whether the indexes of a sealed segment, which ends before ``end_offset``, are whole.

    Their seals tell. Version 1 wrote none: there the indexes must end with a true entry, and reach to the end. That
    looks at the last entries only, and at no more than ``interval`` bytes and a batch behind them.
    """
    segment.offset_index.look_again()  # writers may have gone on in it, and sealed it
    segment.time_index.look_again()
    if segment.offset_index.is_sealed_at(end_offset) and segment.time_index.is_sealed_at(end_offset):
        return True
    if segment.begins_with_version_2():
        return False
    offsets = segment.offset_index.entries()
    times = segment.time_index.entries()
    if len(offsets) and not entry_is_true(segment, offsets[-1]):
        return False
    last = int(offsets["position"][-1]) if len(offsets) else 0
    position, batches, largest = last, 0, -1
    try:
        while True:
            batch = segment.batch_at(position, check=False)
            if position > last and position - last >= interval:
                return False  # this batch should have an entry
            largest, batches = max(largest, batch.max_timestamp), batches + 1
            position += batch.size
    except BatchDamage:
        return not batches or (len(times) > 0 and int(times["timestamp"][-1]) >= largest)


def entry_is_true(segment: Segment, entry: np.void) -> bool:
    """Tell whether a batch with the entry's base offset begins at the entry's position."""
    offset, position = entry.item()
    try:
        return segment.batch_at(position).base_offset == segment.base_offset + int(offset)
    except BatchDamage:
        return False
