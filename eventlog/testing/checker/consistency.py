"""The check of a whole history."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from eventlog.errors import InvalidConfigError
from eventlog.testing.checker.anomaly import ANOMALIES, Anomalies, Anomaly
from eventlog.testing.checker.evidence import Evidence, gather
from eventlog.testing.checker.log_contents import (
    aborted_reads,
    duplicates,
    inconsistent_offsets,
    lost_writes,
    precommitted_reads,
    unknown_values,
    unseen,
)
from eventlog.testing.checker.poll_order import poll_order
from eventlog.testing.checker.realtime_order import realtime_order
from eventlog.testing.checker.report import Report
from eventlog.testing.checker.send_order import send_order
from eventlog.testing.checker.write_cycles import write_cycles
from eventlog.testing.history import Operation

CHECKS: tuple[Callable[[Evidence], Anomalies], ...] = (
    lost_writes, unseen, duplicates, inconsistent_offsets, unknown_values, aborted_reads, precommitted_reads,
    poll_order, send_order, realtime_order, write_cycles,
)  # fmt: skip


def check(history: Iterable[Operation], *, allow: Collection[str] = (), dense: bool = True) -> Report:
    """Check a history, in the manner of Jepsen's Kafka workload (``jepsen.tests.kafka``), and return what is wrong.

    ``history`` is in order of time, as `read_history` returns it. ``allow`` names anomalies that may be: they are
    reported, and ``ok`` all the same (``unseen`` if the consumers stopped before the end). ``dense=False`` is for logs
    whose offsets have gaps, such as Kafka's with transactions: only known records can be missing there, and
    ``allow={"int-send-skip", "write-cycle"}`` is due, since Kafka does not isolate the writes of transactions.

    Raises HistoryError for notes that contradict each other, InvalidConfigError for a name in ``allow`` that no
    anomaly has.

    >>> from eventlog.model import TopicPartition
    >>> from eventlog.testing.history import Poll, Send
    >>> orders = TopicPartition("orders", 0)
    >>> report = check([
    ...     Operation("producer", 1, "ok", "send", (Send(orders, "a", 0), Send(orders, "b", 1))),
    ...     Operation("consumer", 2, "ok", "poll", (Poll({orders: [(1, "b")]}),)),
    ... ])
    >>> report.ok, sorted(report.found)
    (False, ['lost-write'])
    """
    if unknown := set(allow) - ANOMALIES.keys():
        raise InvalidConfigError(f"no such anomalies: {sorted(unknown)}", hint=f"there are {', '.join(ANOMALIES)}")
    evidence = gather(history, dense=dense)
    anomalies: dict[str, list[Anomaly]] = {name: [] for name in ANOMALIES}
    for find in CHECKS:
        for anomaly in find(evidence):
            anomalies[anomaly.name].append(anomaly)
    for found in anomalies.values():
        found.sort(key=_where)
    return Report(anomalies, _counts(evidence), frozenset(allow))


def _where(anomaly: Anomaly) -> tuple[object, ...]:
    """Order anomalies by what they are about, so that two checks of one history report the same."""
    return anomaly.partition or ("", 0), anomaly.offsets, anomaly.time_ns or 0, repr(anomaly.values)


def _counts(evidence: Evidence) -> dict[str, int]:
    partitions = evidence.partitions.values()
    return {
        "partitions": len(partitions),
        "records sent": sum(len(there.writer) for there in partitions),
        "acknowledged": sum(len(there.acknowledged) for there in partitions),
        "polled": sum(len(there.polled) for there in partitions),
        "transactions": len(evidence.transactions),
        "processes": len(evidence.producers.keys() | evidence.consumers.keys()),
    }
