"""Find the first record at or after a point in time (KIP-79)."""

from __future__ import annotations

import numpy as np

from eventlog.model import OffsetAndTimestamp
from eventlog.storage.log_cursor import LogCursor
from eventlog.storage.partition_log import PartitionLog


def first_at_or_after(log: PartitionLog, timestamp_ms: int) -> OffsetAndTimestamp | None:
    """Return the first offset whose timestamp is at or after ``timestamp_ms``; None when there is none.

    Segments whose largest timestamp is earlier are passed by; within one, the time index says where to begin.
    """
    state = log.head.end_state()
    for base in log.segment_bases(state.segment_base):
        segment = log.segment(base)
        active = base == state.segment_base
        if not active:
            log.ensure_indexes(segment)
        largest = state.max_timestamp if active else segment.time_index.largest()
        if largest is not None and largest < timestamp_ms:
            continue
        relative = segment.time_index.first_candidate(timestamp_ms, state.time_entries if active else None)
        found = _search(LogCursor(log, max(base + relative, log.start_offset)), timestamp_ms)
        if found is not None:
            return found
    return None


def _search(cursor: LogCursor, timestamp_ms: int) -> OffsetAndTimestamp | None:
    while (batch := cursor.next_batch()) is not None:
        if batch.max_timestamp < timestamp_ms:
            continue
        stamps = batch.timestamps_ms
        later = np.flatnonzero(stamps >= timestamp_ms)
        if len(later):
            return OffsetAndTimestamp(int(batch.offsets[later[0]]), int(stamps[later[0]]))
    return None
