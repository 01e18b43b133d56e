"""Whether each consumer was given the records one after the other, between polls and within one."""

from __future__ import annotations

from eventlog.model import TopicPartition
from eventlog.testing.checker.anomaly import SHOWN_OFFSETS, Anomalies, Anomaly, listing, place
from eventlog.testing.checker.evidence import Crash, Evidence, Reading
from eventlog.testing.history import Assign


def poll_order(evidence: Evidence) -> Anomalies:
    """Yield where a consumer was given records again, or not at all.

    What an `Assign` says of a position counts from there on; after a crash, or where it says None, any offset may
    come next. A transaction that fails moves no position: whoever seeks back notes that as an ``assign``.
    """
    for process, events in evidence.consumers.items():
        yield from _one_consumer(evidence, process, events)


def _one_consumer(evidence: Evidence, process: str, events: list[Reading | Assign | Crash]) -> Anomalies:
    expected: dict[TopicPartition, int] = {}
    for event in events:
        if isinstance(event, Crash):
            expected.clear()
        elif isinstance(event, Assign):
            expected = {partition: offset for partition, offset in event.positions.items() if offset is not None}
        else:
            yield from _one_reading(evidence, process, event, expected)


def _one_reading(evidence: Evidence, process: str, reading: Reading, expected: dict[TopicPartition, int]) -> Anomalies:
    for partition, records in reading.by_partition():
        prefix, following = "", expected.get(partition)
        for offset, _ in records:
            if offset != following and following is not None:
                yield from _misplaced(evidence, reading, partition, (following, offset), prefix)
            prefix, following = "int-", offset + 1
        if following is not None:
            expected[partition] = following


def _misplaced(
    evidence: Evidence, reading: Reading, partition: TopicPartition, step: tuple[int, int], prefix: str
) -> Anomalies:
    expected, offset = step
    there = evidence.partitions[partition]
    within = " within one operation" if prefix else ""
    if offset < expected:
        name = "nonmonotonic-poll"
        sentence = f"was given offset {offset} where {expected} was due"
        offsets: tuple[int, ...] = (offset,)
    else:
        missing = evidence.missing_between(partition, expected - 1, offset)
        if not missing:
            return
        name = "poll-skip"
        sentence = f"was given offset {offset} where {expected} was due, and never {listing(missing)}"
        offsets = tuple(missing[:SHOWN_OFFSETS])
    yield Anomaly(
        prefix + name, f"{reading.process} {sentence}, in {place(partition)}{within}",
        partition, offsets, tuple(there.value_at[o] for o in offsets if o in there.value_at),
        (reading.process,), reading.time_ns,
    )  # fmt: skip
