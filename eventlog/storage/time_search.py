"""Find the first record at or after a point in time (KIP-79)."""

from __future__ import annotations

from eventlog.format.columns import BatchDamage
from eventlog.model import OffsetAndTimestamp
from eventlog.storage.log_cursor import LogCursor
from eventlog.storage.partition_files import PartitionFiles
from eventlog.storage.segment import Place, Segment


def first_at_or_after(log: PartitionFiles, timestamp_ms: int) -> OffsetAndTimestamp | None:
    """Return the first offset whose timestamp is at or after ``timestamp_ms``; None when there is none.

    Segments whose largest timestamp is earlier are passed by; within one, the time index says where to begin. Raises
    CorruptSegmentError when records that may be the ones looked for are damaged or missing.
    """
    state = log.head.end_state()
    bases = log.segments.bases(state.segment_base)
    if log.start_offset < (bases[0] if bases else state.end_offset):
        LogCursor(log, log.start_offset).next_batch()  # says what is missing before the first segment
    for base in bases:
        if base > state.segment_base:  # of a roll that was not published when we looked: it may vanish again
            break
        segment = log.segments[base]
        active = base == state.segment_base
        if not active:
            log.ensure_indexes(segment)
        largest = state.max_timestamp if active else segment.time_index.largest()
        if largest is not None and largest < timestamp_ms:
            continue
        start = base + segment.time_index.first_candidate(timestamp_ms, state.time_entries if active else None)
        cursor = None
        if start > max(base, log.start_offset):
            cursor = _confirmed(log, segment, start, timestamp_ms, state.index_entries if active else None)
        found = _search(cursor or LogCursor(log, max(base, log.start_offset)), timestamp_ms)
        if found is not None:
            return found
    return None


def _confirmed(
    log: PartitionFiles, segment: Segment, start: int, timestamp_ms: int, index_entries: int | None
) -> LogCursor | None:
    """Return a cursor at ``start`` if a batch ends there and is earlier: an index entry alone proves nothing."""
    try:
        before = segment.batch_at(segment.place_of(start - 1, index_entries).position, check=False)
    except BatchDamage:
        return None
    if before.last_offset != start - 1 or before.max_timestamp >= timestamp_ms:
        return None
    cursor = LogCursor(log, start)
    cursor.enter(segment, Place(before.position + before.size, start))
    return cursor


def _search(cursor: LogCursor, timestamp_ms: int) -> OffsetAndTimestamp | None:
    while (batch := cursor.next_batch()) is not None:
        if batch.max_timestamp < timestamp_ms:
            continue
        stamps = batch.timestamps_ms
        later = stamps >= timestamp_ms
        first = int(later.argmax())
        if later[first]:
            cursor.remember(batch)
            return OffsetAndTimestamp(int(batch.offsets[first]), int(stamps[first]))
    return None
