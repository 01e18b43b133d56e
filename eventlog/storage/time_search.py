"""Find the first record at or after a point in time (KIP-79)."""

from __future__ import annotations

import numpy as np

from eventlog.format.columns import BatchDamage
from eventlog.model import OffsetAndTimestamp
from eventlog.storage.log_cursor import LogCursor
from eventlog.storage.partition_log import PartitionLog
from eventlog.storage.segment import Segment


def first_at_or_after(log: PartitionLog, timestamp_ms: int) -> OffsetAndTimestamp | None:
    """Return the first offset whose timestamp is at or after ``timestamp_ms``; None when there is none.

    Segments whose largest timestamp is earlier are passed by; within one, the time index says where to begin.
    """
    state = log.head.end_state()
    for base in log.segments.bases(state.segment_base):
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
        if start > base and not _confirms(segment, start, timestamp_ms, state.index_entries if active else None):
            start = base
        found = _search(LogCursor(log, max(start, log.start_offset)), timestamp_ms)
        if found is not None:
            return found
    return None


def _confirms(segment: Segment, start: int, timestamp_ms: int, index_entries: int | None) -> bool:
    """Tell whether a batch ends before ``start`` and is earlier: an index entry alone proves nothing."""
    try:
        batch = segment.batch_at(segment.place_of(start - 1, index_entries).position, check=False)
    except BatchDamage:
        return False
    return batch.last_offset == start - 1 and batch.max_timestamp < timestamp_ms


def _search(cursor: LogCursor, timestamp_ms: int) -> OffsetAndTimestamp | None:
    while (batch := cursor.next_batch()) is not None:
        if batch.max_timestamp < timestamp_ms:
            continue
        stamps = batch.timestamps_ms
        later = np.flatnonzero(stamps >= timestamp_ms)
        if len(later):
            return OffsetAndTimestamp(int(batch.offsets[later[0]]), int(stamps[later[0]]))
    return None
