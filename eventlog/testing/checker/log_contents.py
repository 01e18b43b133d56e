"""What stands in the log, and what does not: anomalies of single records."""

from __future__ import annotations

from collections.abc import Iterable

from eventlog.model import TopicPartition
from eventlog.testing.checker.anomaly import Anomalies, Anomaly, listing, place
from eventlog.testing.checker.evidence import Evidence, Reading
from eventlog.testing.checker.partition_evidence import PartitionEvidence
from eventlog.testing.checker.transaction import NEVER, Transaction
from eventlog.testing.history import Operation, Value


def lost_writes(evidence: Evidence) -> Anomalies:
    """Yield what was acknowledged below the highest offset that was polled, but never polled itself."""
    for partition, there, value in _never_polled(evidence):
        offset = there.offset_of.get(value)
        if offset is not None and offset < there.last_polled:
            yield Anomaly(
                "lost-write",
                f"{value!r} {_written(there, value)} in {place(partition, offset)}, and nobody ever polled it, "
                f"although offset {there.last_polled} was polled",
                partition, (offset,), (value,), (there.writer[value].process,),
            )  # fmt: skip


def unseen(evidence: Evidence) -> Anomalies:
    """Yield what was acknowledged and never polled, where nothing behind it was polled either.

    That is no fault of the log when the consumers stopped before the end: let one read everything at last.
    """
    for partition, there, value in _never_polled(evidence):
        offset = there.offset_of.get(value)
        if offset is None or offset >= there.last_polled:
            yield Anomaly(
                "unseen",
                f"{value!r} {_written(there, value)} in {place(partition, offset)}, and nobody ever polled it",
                partition, () if offset is None else (offset,), (value,), (there.writer[value].process,),
            )  # fmt: skip


def duplicates(evidence: Evidence) -> Anomalies:
    """Yield the values that stand at several offsets."""
    for partition, there in evidence.partitions.items():
        for value, offsets in there.copies.items():
            yield Anomaly(
                "duplicate",
                f"{value!r} stands in {place(partition)} at offsets {listing(sorted(offsets))}",
                partition, tuple(sorted(offsets)), (value,), _processes(there, (value,)),
            )  # fmt: skip


def inconsistent_offsets(evidence: Evidence) -> Anomalies:
    """Yield the offsets at which polls and acknowledgements say different things."""
    for partition, there in evidence.partitions.items():
        for offset, values in there.conflicts.items():
            ordered = tuple(sorted(values, key=repr))
            yield Anomaly(
                "inconsistent-offsets",
                f"{place(partition, offset)} holds {listing(ordered)}, depending on who says so",
                partition, (offset,), ordered, _processes(there, ordered),
            )  # fmt: skip


def unknown_values(evidence: Evidence) -> Anomalies:
    """Yield what was polled, but never sent."""
    for partition, there in evidence.partitions.items():
        for value in there.polled.keys() - there.writer.keys():
            yield _read(evidence, "unknown-value", partition, value, "nobody sent it")


def aborted_reads(evidence: Evidence) -> Anomalies:
    """Yield what was polled, but was aborted or had failed: Adya's G1a."""
    for partition, there in evidence.partitions.items():
        for value in there.polled.keys() - there.acknowledged.keys() - there.pending.keys():
            if there.failed(value):
                why = f"it was sent {_by(there.writer[value])}, and that failed"
                yield _read(evidence, "aborted-read", partition, value, why)


def precommitted_reads(evidence: Evidence) -> Anomalies:
    """Yield what was polled before the commit of its transaction, or the send, began; or by its own transaction."""
    for partition, there in evidence.partitions.items():
        visible_from, readings = there.visible_from, evidence.readings
        for value, number in there.polled.items():
            if readings[number].time_ns < visible_from.get(value, -1):
                began = visible_from[value]
                when = "was never called" if began == NEVER else f"began at {began}"
                what = "commit" if isinstance(there.writer[value], Transaction) else "send"
                why = f"it was sent {_by(there.writer[value])}, whose {what} {when}"
                yield _read(evidence, "precommitted-read", partition, value, why)
    for reading in evidence.readings:
        if reading.transaction is not None:
            yield from _own_reads(evidence, reading, reading.transaction)


def _own_reads(evidence: Evidence, reading: Reading, transaction: Transaction) -> Anomalies:
    sent = {(send.partition, send.value) for send in transaction.sends()}
    for partition, records in reading.by_partition():
        for _, value in records:
            first = evidence.partitions[partition].polled[value]
            visible = evidence.partitions[partition].visible_from.get(value, -1)
            if (partition, value) in sent and evidence.readings[first].time_ns >= visible:  # else it is found above
                yield _read(evidence, "precommitted-read", partition, value, "it was sent by the same transaction")


def _never_polled(evidence: Evidence) -> Iterable[tuple[TopicPartition, PartitionEvidence, Value]]:
    for partition, there in evidence.partitions.items():
        for value in there.acknowledged.keys() - there.polled.keys():
            yield partition, there, value


def _read(evidence: Evidence, name: str, partition: TopicPartition, value: Value, why: str) -> Anomaly:
    there = evidence.partitions[partition]
    reading, offset = evidence.readings[there.polled[value]], there.offset_of[value]
    processes = tuple(dict.fromkeys((reading.process, *_processes(there, (value,)))))
    return Anomaly(
        name, f"{reading.process} polled {value!r} in {place(partition, offset)}: {why}",
        partition, (offset,), (value,), processes, reading.time_ns,
    )  # fmt: skip


def _written(there: PartitionEvidence, value: Value) -> str:
    if there.acknowledged[value] == NEVER:
        return f"must have been written {_by(there.writer[value])}, another of whose records was polled,"
    return f"was acknowledged {_by(there.writer[value])}"


def _by(writer: Operation | Transaction) -> str:
    if isinstance(writer, Transaction):
        return f"by a transaction of {writer.process}"
    return f"by {writer.process}"


def _processes(there: PartitionEvidence, values: Iterable[Value]) -> tuple[str, ...]:
    return tuple(sorted({there.writer[value].process for value in values if value in there.writer}))
