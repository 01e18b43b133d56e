"""Whether records stand in the order of time, as far as that has one: across all processes."""

from __future__ import annotations

from eventlog.model import TopicPartition
from eventlog.testing.checker.anomaly import Anomalies, Anomaly, place
from eventlog.testing.checker.evidence import Evidence
from eventlog.testing.checker.partition_evidence import PartitionEvidence
from eventlog.testing.checker.transaction import NEVER


def realtime_order(evidence: Evidence) -> Anomalies:
    """Yield the records that were sent after another one was acknowledged, and stand before it.

    Sends that overlap in time may stand in any order. So each record's acknowledgement is compared with the latest
    beginning among all records before it.
    """
    for partition, there in evidence.partitions.items():
        yield from _one_partition(partition, there)


def _one_partition(partition: TopicPartition, there: PartitionEvidence) -> Anomalies:
    acknowledged, begun = there.acknowledged, there.visible_from
    latest_ns, latest = -1, -1  # when the last one of those before began, and its offset
    for offset, value in sorted(there.value_at.items()):
        if acknowledged.get(value, NEVER) < latest_ns:
            yield _anomaly(partition, there, latest, offset)
        began_ns = begun.get(value, -1)
        if latest_ns < began_ns < NEVER:
            latest_ns, latest = began_ns, offset


def _anomaly(partition: TopicPartition, there: PartitionEvidence, later: int, earlier: int) -> Anomaly:
    values = there.value_at[later], there.value_at[earlier]
    second, first = processes = tuple(there.writer[value].process for value in values)
    return Anomaly(
        "realtime-order",
        f"{first} had {values[1]!r} acknowledged before {second} began to send {values[0]!r}, but they stand in "
        f"{place(partition)} at offsets {earlier} and {later}",
        partition, (later, earlier), values, processes, there.visible_from[values[0]],
    )  # fmt: skip
