"""Write the records behind the recovery point once more, so that the next sync tells the truth about them.

After a failed sync the kernel may call pages clean that never reached the device; it keeps them all the same, until it
needs the memory. Written again they are dirty again. Each record is checked first: what the kernel has dropped is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

from eventlog.errors import LogFullError, StorageError
from eventlog.files.filesystem import FileSystem, is_full
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.storage.head import EndState
from eventlog.storage.scan import scan_segment
from eventlog.storage.segment import Segment
from eventlog.storage.tail import Tail

if TYPE_CHECKING:
    from eventlog.format.record_batch import RecordBatch
    from eventlog.storage.partition_log import PartitionLog

_CHUNK_BYTES = 1 << 20


def write_through(fs: FileSystem, fd: int, segment: Segment, begin: int, end: int) -> None:
    """Write the segment's bytes from ``begin`` up to ``end`` once more, into pages that the kernel reads anew.

    Into the old ones it would not help: ext4 takes their blocks for written since it tried to, and leaves them marked
    as unwritten. The next sync succeeds then, and after a power cut they are zeros. Pages that another process has
    mapped, and looked at, stay.

    Raises LogFullError where the device has no room for that: one that never overwrites may have none.
    """
    segment.forget()  # what this process has mapped would stay as well
    start = begin
    while start < end:
        stop = min((start // _CHUNK_BYTES + 1) * _CHUNK_BYTES, end)
        data = fs.pread(fd, stop - start, start)
        fs.drop_clean_pages(fd, start, stop)
        _overwrite(fs, fd, data, start, segment.path)
        start = stop
    segment.refresh()


def _overwrite(fs: FileSystem, fd: int, data: bytes, position: int, path: str) -> None:
    try:
        fs.write_all(fd, [data], position)
    except OSError as error:
        pass_on_handlers(error)
        if not is_full(error):
            raise
        raise LogFullError(
            "no space left to write records once more that may not be on the device", path=path,
            hint="free space and try again: until then they are as they were, and not durable",
        ) from error  # fmt: skip


@contextlib.contextmanager
def held(log: PartitionLog) -> Iterator[None]:
    """Hold the partition, as its writer, within the block."""
    end = log.writer
    with end._mutex:
        try:
            end.lock_and_take_over()
            yield
        finally:
            if end._lock_fd >= 0:
                fcntl.flock(end._lock_fd, fcntl.LOCK_UN)


def write_behind_point(log: PartitionLog, files: contextlib.ExitStack) -> list[int]:
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


def bytes_behind_point(log: PartitionLog) -> int:
    """Return about how many bytes that would write."""
    state = log.head.end_state()
    point = _start(log, state)
    size = state.position - point.position
    for base in log.segments.bases(state.segment_base):
        if point.segment_base <= base < state.segment_base:
            size += log.context.fs.size_of(log.segments.path(base))
    return max(0, size)


def _start(log: PartitionLog, state: EndState) -> EndState:
    """Return the recovery point; where it cannot be read right now, the start of the segment that it lies in."""
    point = log.head.recovery_point()
    if point is not None:
        return point
    bases = log.segments.bases(state.segment_base)
    base = bases[max(0, bisect_right(bases, log.head.durable_end) - 1)]
    return EndState(end_offset=base, segment_base=base)


def _require(log: PartitionLog, is_whole: bool) -> None:
    if not is_whole:
        log.writer.poison_locked()
        raise StorageError(
            "records that were written are gone: the device has failed", path=log.directory, topic=log.topic,
            partition=log.partition, hint="open the log again to verify it",
        )  # fmt: skip
