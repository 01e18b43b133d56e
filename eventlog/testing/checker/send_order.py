"""Whether records stand in the order in which each process sent them, and those of a transaction together."""

from __future__ import annotations

from eventlog.model import TopicPartition
from eventlog.testing.checker.anomaly import SHOWN_OFFSETS, Anomalies, Anomaly, listing, place
from eventlog.testing.checker.evidence import Evidence
from eventlog.testing.checker.transaction import Transaction
from eventlog.testing.history import Operation, Send, Value

Sent = tuple[int, Value]  # where it stands


def send_order(evidence: Evidence) -> Anomalies:
    """Yield where a process's later record stands before an earlier one, and where a transaction is interleaved.

    What failed is passed over; what may have failed counts where somebody has seen it.
    """
    for process, operations in evidence.producers.items():
        last: dict[TopicPartition, Sent] = {}
        for operation in operations:
            yield from _one_operation(evidence, process, operation, last)


def _one_operation(
    evidence: Evidence, process: str, operation: Operation | Transaction, last: dict[TopicPartition, Sent]
) -> Anomalies:
    seen: set[TopicPartition] = set()
    for send in operation.actions:
        if not isinstance(send, Send):
            continue
        partition = send.partition
        offset = _offset_of(evidence, send, operation)
        if offset is None:
            continue
        before = last.get(partition)
        within = partition in seen
        if before is not None and offset <= before[0]:
            yield _backwards(process, partition, before, (offset, send.value), within)
        elif before is not None and within and isinstance(operation, Transaction):
            between = evidence.missing_between(partition, before[0], offset)
            if between:
                yield _interleaved(evidence, process, partition, between, (before[1], send.value))
        last[partition] = offset, send.value
        seen.add(partition)


def _offset_of(evidence: Evidence, send: Send, operation: Operation | Transaction) -> int | None:
    there = evidence.partitions[send.partition]
    if there.writer.get(send.value) is not operation:  # it was sent again: nobody knows whose it is
        return None
    return None if there.failed(send.value) else there.offset_of.get(send.value)


def _backwards(process: str, partition: TopicPartition, before: Sent, after: Sent, within: bool) -> Anomaly:
    where = " within one operation" if within else ""
    return Anomaly(
        "int-nonmonotonic-send" if within else "nonmonotonic-send",
        f"{process} sent {before[1]!r} before {after[1]!r}{where}, but they stand in {place(partition)} "
        f"at offsets {before[0]} and {after[0]}",
        partition, (before[0], after[0]), (before[1], after[1]), (process,),
    )  # fmt: skip


def _interleaved(
    evidence: Evidence, process: str, partition: TopicPartition, between: range | list[int], values: tuple[Value, Value]
) -> Anomaly:
    offsets = tuple(between[:SHOWN_OFFSETS])
    there = evidence.partitions[partition]
    return Anomaly(
        "int-send-skip",
        f"a transaction of {process} sent {values[0]!r} and then {values[1]!r} to {place(partition)}, but foreign "
        f"records stand between them, at offsets {listing(between)}",
        partition, offsets, tuple(there.value_at[offset] for offset in offsets if offset in there.value_at), (process,),
    )  # fmt: skip
