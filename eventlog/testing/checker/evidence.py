"""Sorts the notes of a history by what the checks look at: partitions, transactions, and each process's own order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import attrs

from eventlog.model import TopicPartition
from eventlog.testing.checker.partition_evidence import PartitionEvidence
from eventlog.testing.checker.transaction import NEVER, Transaction
from eventlog.testing.history import Assign, HistoryError, Operation, Poll, Send, Value


@attrs.frozen(eq=False)
class Reading:
    """What one operation or one transaction polled, and when that was noted. ``number`` counts them in a history."""

    number: int
    process: str
    time_ns: int
    polls: tuple[Poll, ...]
    transaction: Transaction | None = None

    def by_partition(self) -> Iterator[tuple[TopicPartition, Iterable[tuple[int, Value]]]]:
        """Yield the records of each partition, over all polls of a transaction in order."""
        if len(self.polls) == 1:  # nearly always
            yield from self.polls[0].records.items()
            return
        merged: defaultdict[TopicPartition, list[tuple[int, Value]]] = defaultdict(list)
        for poll in self.polls:
            for partition, records in poll.records.items():
                merged[partition] += records
        yield from merged.items()


class Crash:
    """A consumer that lost its positions."""


CRASH = Crash()


@attrs.define(eq=False)
class Evidence:
    """A history, sorted.

    ``producers`` and ``consumers`` hold for each process what it sent, and what it polled, in its own order: sends in
    the order in which they began. ``dense`` says whether the offsets of a partition are without gaps.
    """

    dense: bool = True
    partitions: defaultdict[TopicPartition, PartitionEvidence] = attrs.Factory(lambda: defaultdict(PartitionEvidence))
    transactions: list[Transaction] = attrs.Factory(list)
    readings: list[Reading] = attrs.Factory(list)
    producers: defaultdict[str, list[Operation | Transaction]] = attrs.Factory(lambda: defaultdict(list))
    consumers: defaultdict[str, list[Reading | Assign | Crash]] = attrs.Factory(lambda: defaultdict(list))

    def missing_between(self, partition: TopicPartition, after: int, before: int) -> range | list[int]:
        """Return the offsets between two others where a record is, or must be."""
        if before - after < 2:
            return []
        return range(after + 1, before) if self.dense else self.partitions[partition].known_between(after, before)


def gather(history: Iterable[Operation], *, dense: bool = True) -> Evidence:
    """Sort a history. Raises HistoryError where its notes contradict each other."""
    return _Gatherer(dense).run(history)


class _Gatherer:
    def __init__(self, dense: bool) -> None:
        self._evidence = Evidence(dense)
        self._open: dict[str, Transaction] = {}
        self._commits_are_noted = False
        self._take = {
            "send": self._take_send, "poll": self._take_poll, "txn": self._take_txn, "commit": self._take_commit,
            "assign": self._take_assign, "crash": self._take_crash,
        }  # fmt: skip

    def run(self, history: Iterable[Operation]) -> Evidence:
        last_ns, take = 0, self._take
        for operation in history:
            if operation.time_ns < last_ns:
                raise HistoryError("the history is not in order of time", hint="read_history() sorts")
            last_ns = operation.time_ns
            if operation.what in take:
                take[operation.what](operation)
        for transaction in self._evidence.transactions:
            self._close(transaction)
        for transaction in self._evidence.transactions:
            self._prove(transaction)
        return self._evidence

    def _take_send(self, operation: Operation) -> None:
        partitions, kind = self._evidence.partitions, operation.kind
        if not operation.actions:
            raise HistoryError("a note about no send", process=operation.process, hint="name the sends it is about")
        known = False
        for send in operation.actions:
            if not isinstance(send, Send):
                raise HistoryError(f"no part of a send: {send!r}", process=operation.process)
            there, value = partitions[send.partition], send.value
            if kind == "invoke":
                there.attempt(value, operation, operation.time_ns)
                continue
            known = value in there.writer
            if not known:  # only its outcome was noted: it may have begun at any time
                there.attempt(value, operation, -1)
            if kind == "ok" or (kind == "info" and send.offset is not None):
                there.acknowledge(value, send.offset, operation.time_ns)
            elif kind == "fail":
                there.fail(value)
        if not known:
            self._evidence.producers[operation.process].append(operation)

    def _take_poll(self, operation: Operation) -> None:
        polls = tuple(action for action in operation.actions if isinstance(action, Poll))
        if polls and operation.kind != "invoke":
            self._read(operation.process, operation.time_ns, polls)

    def _take_txn(self, operation: Operation) -> None:
        process = operation.process
        transaction = self._open.get(process)
        if operation.kind == "invoke" or transaction is None:  # one that is open was its process's last: it was killed
            transaction = self._begin(operation)
        if operation.actions:
            transaction.actions = operation.actions
        if operation.kind != "invoke":
            self._count_polls(transaction, operation.time_ns)
            transaction.kind, transaction.ended_ns = operation.kind, operation.time_ns
            del self._open[process]

    def _take_commit(self, operation: Operation) -> None:
        transaction = self._open.get(operation.process)
        if operation.kind != "invoke" or transaction is None:
            raise HistoryError(
                "a commit is noted as an invoke within a transaction", process=operation.process,
                time_ns=operation.time_ns, hint="note what became of it as ok, fail or info of the txn",
            )  # fmt: skip
        self._commits_are_noted = True
        transaction.commit_ns = operation.time_ns
        if operation.actions:
            transaction.actions = operation.actions
        self._count_polls(transaction, operation.time_ns)

    def _take_assign(self, operation: Operation) -> None:
        if operation.kind != "invoke":
            self._evidence.consumers[operation.process] += (a for a in operation.actions if isinstance(a, Assign))

    def _take_crash(self, operation: Operation) -> None:
        self._open.pop(operation.process, None)
        self._evidence.consumers[operation.process].append(CRASH)

    def _begin(self, operation: Operation) -> Transaction:
        began = operation.time_ns if operation.kind == "invoke" else None
        transaction = self._open[operation.process] = Transaction(operation.process, began)
        self._evidence.transactions.append(transaction)
        self._evidence.producers[operation.process].append(transaction)
        return transaction

    def _count_polls(self, transaction: Transaction, time_ns: int) -> None:
        """Count what a transaction polled, once: the note of its outcome says again what that of its commit said."""
        polls = transaction.polls()[transaction.polls_counted :]
        transaction.polls_counted += len(polls)
        if polls:
            self._read(transaction.process, time_ns, polls, transaction)

    def _read(
        self, process: str, time_ns: int, polls: tuple[Poll, ...], transaction: Transaction | None = None
    ) -> None:
        reading = Reading(len(self._evidence.readings), process, time_ns, polls, transaction)
        self._evidence.readings.append(reading)
        self._evidence.consumers[process].append(reading)
        for poll in polls:
            for partition, records in poll.records.items():
                self._evidence.partitions[partition].see_all(records, reading.number)

    def _close(self, transaction: Transaction) -> None:
        """Enter what a transaction sent, now that all notes about it are known."""
        visible_from = transaction.visible_from(self._commits_are_noted)
        if transaction.kind == "ok" and visible_from == NEVER:
            raise HistoryError(
                "a transaction was committed without a note of the commit, and others have one",
                process=transaction.process, time_ns=transaction.began_ns, hint="note every commit, or none",
            )  # fmt: skip
        for send in transaction.sends():
            there = self._evidence.partitions[send.partition]
            if transaction.kind == "fail":
                there.writer.setdefault(send.value, transaction)
                continue
            there.attempt(send.value, transaction, visible_from)
            if transaction.kind == "ok":
                there.acknowledge(send.value, send.offset, transaction.ended_ns)

    def _prove(self, transaction: Transaction) -> None:
        """One record that was polled proves the commit of a transaction with an unknown outcome: all must be there."""
        if transaction.kind != "info":
            return
        transaction.proven = any(self._only_source(transaction, send) for send in transaction.sends())
        if transaction.proven:
            for send in transaction.sends():
                self._evidence.partitions[send.partition].acknowledge(send.value, send.offset, NEVER)

    def _only_source(self, transaction: Transaction, send: Send) -> bool:
        """Tell whether a polled value can only come from this transaction."""
        there = self._evidence.partitions[send.partition]
        return (
            send.value in there.polled
            and there.writer[send.value] is transaction
            and there.pending.get(send.value) == 1
            and send.value not in there.acknowledged
        )


def observed_logs(history: Iterable[Operation]) -> Mapping[TopicPartition, Mapping[int, Value]]:
    """Return for each partition what stands at which offset, as polls and acknowledgements say, in order of offsets.

    Where they contradict each other (``inconsistent-offsets``), the first one counts.
    """
    found = gather(history).partitions
    return {partition: dict(sorted(found[partition].value_at.items())) for partition in sorted(found)}
