"""Write the records behind the recovery point once more, so that the next sync tells the truth about them.

After a failed sync the kernel may call pages clean that never reached the device; it keeps them all the same, until it
needs the memory. Written again they are dirty again. Each record is checked first: what the kernel has dropped is gone.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right

from eventlog.errors import StorageError
from eventlog.format.record_batch import RecordBatch
from eventlog.storage.head import EndState
from eventlog.storage.partition_files import PartitionFiles
from eventlog.storage.scan import scan_segment
from eventlog.storage.tail import Tail
from eventlog.storage.write_through import write_through


def write_behind_point(log: PartitionFiles, files: contextlib.ExitStack) -> list[int]:
    """Write what lies behind the recovery point again, and return the descriptors to sync, which ``files`` will close.

    The caller holds the partition's lock. Raises StorageError when a record is gone, having poisoned the partition.
    """
    fs, state = log.context.fs, log.head.end_state()
    point = _start(log, state)
    tail, fds = Tail(point, log.config.index_interval_bytes), []

    def is_unpublished(batch: RecordBatch) -> bool:
        return batch.base_offset >= state.end_offset

    for base in log.segments.bases(state.segment_base):
        if not point.segment_base <= base <= state.segment_base:
            continue
        fd = files.enter_context(fs.opened(log.segments.path(base), os.O_RDWR))
        if base != point.segment_base:
            _require(log, tail.end_offset == base)
            tail.load(EndState(end_offset=base, segment_base=base))
        begin = tail.position
        _require(log, not scan_segment(log.segments[base], tail, is_end=is_unpublished))
        write_through(fs, fd, log.segments[base], begin, tail.position)
        fds.append(fd)
    _require(log, (tail.end_offset, tail.position) == (state.end_offset, state.position))
    return fds


def bytes_behind_point(log: PartitionFiles) -> int:
    """Return about how many bytes that would write."""
    state = log.head.end_state()
    point = _start(log, state)
    size = state.position - point.position
    for base in log.segments.bases(state.segment_base):
        if point.segment_base <= base < state.segment_base:
            size += log.context.fs.size_of(log.segments.path(base))
    return max(0, size)


def _start(log: PartitionFiles, state: EndState) -> EndState:
    """Return the recovery point; where it cannot be read right now, the start of the segment that it lies in."""
    point = log.head.recovery_point()
    if point is not None:
        return point
    bases = log.segments.bases(state.segment_base)
    base = bases[max(0, bisect_right(bases, log.head.durable_end) - 1)]
    return EndState(end_offset=base, segment_base=base)


def _require(log: PartitionFiles, is_whole: bool) -> None:
    if not is_whole:
        log.writer.poison_locked()
        raise StorageError(
            "records that were written are gone: the device has failed", path=log.directory, topic=log.topic,
            partition=log.partition, hint="open the log again to verify it",
        )  # fmt: skip
