"""Runs the soak with a worker, or a file system, that does not do what it should.

Run as ``python defective.py DEFECT ARGUMENTS-OF-THE-SOAK...``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Mapping

import eventlog
from eventlog.coordination.transaction_commit import TransactionCommit
from eventlog.coordination.transaction_offsets import TransactionOffsets
from eventlog.coordination.transactional_id import TransactionalId
from eventlog.model import Record, RecordMetadata, TopicPartition
from eventlog.testing.soak import chain_stage, failing_filesystem
from eventlog.testing.soak.assignment_notes import AssignmentNotes
from eventlog.testing.soak.chain_stage import ChainStage, SecondStage
from eventlog.testing.soak.command import main
from eventlog.testing.soak.failing_filesystem import FailingFileSystem
from eventlog.testing.soak.group_reader import GroupReader
from eventlog.testing.soak.plain_producer import Feeder, PlainProducer
from eventlog.testing.soak.topics import ORDERS
from eventlog.testing.soak.transaction import Transaction
from eventlog.testing.soak.transactional_producer import TransactionalProducer
from eventlog.testing.soak.value import value_of
from eventlog.testing.soak.worker import Worker


class Forgetful(PlainProducer):
    """Takes a record for written that it never sent."""

    def deliver(self, place: TopicPartition, names: list[str]) -> list[RecordMetadata | BaseException]:
        found = super().deliver(place, names[:-1] or names)
        last = found[-1]
        if len(found) < len(names):
            found.append(last._replace(offset=last.offset + 1) if isinstance(last, RecordMetadata) else last)
        return found


class Repetitive(PlainProducer):
    """Sends everything twice, as one that tries again without asking whether the first time went well."""

    def deliver(self, place: TopicPartition, names: list[str]) -> list[RecordMetadata | BaseException]:
        super().deliver(place, names)
        return super().deliver(place, names)


class Careless(GroupReader):
    """Drops a record now and then."""

    def poll(self, consumer: eventlog.Consumer, notes: AssignmentNotes, timeout: float, count: int) -> list[Record]:
        records = super().poll(consumer, notes, timeout, count)
        return records[1:] if self.chance(0.2) else records


class Impatient(GroupReader):
    """Dies of an error that it should not meet."""

    def step(self) -> None:
        raise RuntimeError("enough")


class Hasty(ChainStage):
    """Goes on behind what it has aborted."""

    def rewind(self) -> None:
        pass


class Unattended(ChainStage):
    """Commits its outputs, and not how far it has read."""

    def commit(self, transaction: Transaction, records: list[Record]) -> None:
        transaction.commit(1)


class HalfHearted(TransactionalProducer):
    """Sends one record outside of the transaction, which it then aborts."""

    def begin(self, log: eventlog.EventLog, held: contextlib.ExitStack) -> None:
        super().begin(log, held)
        self.other = held.enter_context(log.producer())

    def step(self) -> None:
        place, name = ORDERS.all()[0], self.new_name()
        with Transaction(self.producer, self.recorder, may_lose_power=self.post.may_lose_power) as transaction:
            self.other.send(place.topic, value_of(name), partition=place.partition).result()
            transaction.send(place, name)
            transaction.abort()


class ForgetfulDisk(FailingFileSystem):
    """Says that it has synced segments, and has not."""

    def sync(self, fd: int) -> None:  # type: ignore[override]
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:  # only segments are not open for writing
            super().sync(fd)


def publish_what_was_written(commit: TransactionCommit) -> None:
    """Publish a transaction that has failed, in the partitions that it was written to by then."""
    for append in commit._appends:
        if append.result is not None:
            append.publish(durable=False, journal_offset=commit.journal_offset, journal_life=commit.journal_life)


SIMPLE: Mapping[str, type[Worker]] = {"plain": PlainProducer, "reader": GroupReader}
TRANSFERS: Mapping[str, type[Worker]] = {"transfer": TransactionalProducer, "reader": GroupReader}
CHAIN: Mapping[str, type[Worker]] = {"feeder": Feeder, "first": ChainStage, "second": SecondStage}
DEFECTS: Mapping[str, Mapping[str, type[Worker]]] = {
    "none": SIMPLE,
    "loses": {**SIMPLE, "other": Forgetful},
    "repeats": {**SIMPLE, "other": Repetitive},
    "skips": {**SIMPLE, "reader": Careless},
    "dies": {**SIMPLE, "reader": Impatient},
    "goes on": {**CHAIN, "first": Hasty},
    "commits no offsets": {**CHAIN, "first": Unattended},
    "leaks": {**SIMPLE, "transfer": HalfHearted},
    "syncs nothing": SIMPLE,
    "ignores epochs": TRANSFERS,
    "ignores generations": CHAIN,
    "publishes what failed": TRANSFERS,
}


def break_log(defect: str) -> None:
    """Break a piece of the log itself, where the defect is one."""
    if defect == "syncs nothing":
        Worker.filesystem = ForgetfulDisk
    if defect == "ignores epochs":
        TransactionalId.refuse_fenced = lambda *arguments: None  # type: ignore[method-assign]
    if defect == "ignores generations":
        TransactionOffsets._refuse_stale = lambda *arguments: None  # type: ignore[method-assign]
        chain_stage._HANGS = 0.2
    if defect == "publishes what failed":
        failing_filesystem._MOST_CALLS = 60
        TransactionCommit._clear_up = publish_what_was_written  # type: ignore[method-assign]


if __name__ == "__main__":
    defect, *arguments = sys.argv[1:]
    break_log(defect)
    sys.exit(main(arguments, roles=DEFECTS[defect]))
