"""Every way to read a partition from its first record to its end, over whatever damage there is."""

from __future__ import annotations

from collections.abc import Callable

import eventlog
from eventlog import CorruptSegmentError, Record, TopicPartition

Found = dict[int, Record]
Lost = list[tuple[int, int]]  # from the first offset that is lost up to, but not including, the one where to go on
_MANY = 10_000  # reads of one partition: more would be a loop without an end


class ProblemError(AssertionError):
    """What must not be."""


def by_read(log: eventlog.EventLog, tp: TopicPartition, end: int) -> tuple[Found, Lost]:
    partition, found, lost, offset = log.topic(tp.topic).partitions[tp.partition], {}, [], 0
    for _ in range(_MANY):
        if offset >= end:
            return found, lost
        try:
            batches = partition.read(offset, 500)
            if not batches:
                raise ProblemError(f"{tp}: nothing at {offset} of {end}")
            for batch in batches:
                found |= {record.offset: record for record in batch.records()}
                offset = batch.last_offset + 1
        except CorruptSegmentError as error:
            offset = _jump(tp, error, offset, end, lost)
    raise ProblemError(f"{tp}: reading never comes to the end {end}")


def by_poll(log: eventlog.EventLog, tp: TopicPartition, end: int) -> tuple[Found, Lost]:
    return _by_consumer(log, tp, end, lambda consumer: consumer.poll(0.0, max_records=7))


def by_batches(log: eventlog.EventLog, tp: TopicPartition, end: int) -> tuple[Found, Lost]:
    return _by_consumer(
        log, tp, end, lambda consumer: [record for batch in consumer.poll_batches(0.0) for record in batch.records()]
    )


def _by_consumer(
    log: eventlog.EventLog, tp: TopicPartition, end: int, poll: Callable[[eventlog.Consumer], list[Record]]
) -> tuple[Found, Lost]:
    found: Found = {}
    lost: Lost = []
    with log.consumer(auto_offset_reset="none") as consumer:
        consumer.assign([tp])
        consumer.seek(tp, 0)
        for _ in range(_MANY):
            offset = consumer.position(tp)
            if offset >= end:
                return found, lost
            try:
                found |= {record.offset: record for record in poll(consumer)}
            except CorruptSegmentError as error:
                consumer.seek(tp, _jump(tp, error, offset, end, lost))
    raise ProblemError(f"{tp}: polling never comes to the end {end}")


def _jump(tp: TopicPartition, error: CorruptSegmentError, offset: int, end: int, lost: Lost) -> int:
    """Note what is lost, and return where to go on."""
    if error.base_offset is None or (error.path is None and error.topic is None):
        raise ProblemError(f"{tp}: names no place: {error}")
    following = end if error.next_offset is None else error.next_offset
    if following <= offset or following > end:
        raise ProblemError(f"{tp}: at {offset} of {end}, to go on at {following}: {error}")
    lost.append((min(offset, error.base_offset), following))
    return following
