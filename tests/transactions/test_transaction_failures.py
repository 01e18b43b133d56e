"""Commits that fail: afterwards a transaction is whole or absent, and can be committed again or aborted."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.files.filesystem import FileSystem
from eventlog.model import GroupMetadata
from tests.transactions.helpers import (
    PLACES,
    check_clean,
    check_locks_are_free,
    everything,
    send_everywhere,
    transact,
    values,
)

TP = TopicPartition("in", 0)
CALLS = ("open", "pwrite", "pwritev", "sync", "sync_directory", "size", "rename", "unlink", "mkdir")


class FailingFileSystem(FileSystem):
    """Counts calls, and lets one of them fail."""

    def __init__(self) -> None:
        self.count = 0
        self._failed: str | None = None
        self._at = -1
        self._error = errno.EIO
        self._sync_of: Path | None = None
        self._writes_to: Path | None = None

    def fail_at(self, n: int, error: int) -> None:
        """Fail the n-th call from now on."""
        self.count, self._failed, self._at, self._error = 0, None, n, error

    def fail_sync(self, directory: Path) -> None:
        """Fail the next sync of a segment in this directory."""
        self._sync_of, self._error, self._failed = directory, errno.EIO, None

    def fail_writes(self, directory: Path) -> None:
        """Fail each write into a segment in this directory."""
        self._writes_to, self._error, self._failed = directory, errno.EIO, None

    def heal(self) -> str | None:
        """Fail no more; return the call that has failed."""
        self._at, self._sync_of, self._writes_to = -1, None, None
        return self._failed

    def meet(self, call: str, *arguments: Any) -> None:
        number, self.count = self.count, self.count + 1
        is_it = self._sync_of is not None and call == "sync" and _is_in(arguments[0], self._sync_of)
        is_it |= self._writes_to is not None and call.startswith("pwrite") and _is_in(arguments[0], self._writes_to)
        if number == self._at or is_it:
            self._failed, self._sync_of = call, None
            raise OSError(self._error, os.strerror(self._error))


def _is_in(fd: int, directory: Path) -> bool:
    return any(os.path.samestat(os.fstat(fd), path.stat()) for path in directory.glob("*.log"))


def _failing(call: str) -> Callable[..., Any]:
    real = getattr(FileSystem, call)
    is_static = isinstance(FileSystem.__dict__[call], staticmethod)

    def method(fs: FailingFileSystem, *arguments: Any, **more: Any) -> Any:
        fs.meet(call, *arguments)
        return real(*arguments, **more) if is_static else real(fs, *arguments, **more)

    return method


for _call in CALLS:
    setattr(FailingFileSystem, _call, _failing(_call))


class Run:
    """A log whose file system fails, a transactional producer, and the number of the transaction that comes next."""

    def __init__(
        self, path: Path, durability: str, *, new: bool = True, clock: eventlog.ManualClock | None = None
    ) -> None:
        self.path, self.durability, self.clock = path, durability, clock
        self.fs = FailingFileSystem()
        self.number = 0
        if new:
            self._create()
        self.open()

    def _create(self) -> None:
        with eventlog.open(self.path) as log:
            for name, partitions in (("a", 2), ("b", 1)):
                log.create_topic(name, partitions, segment_bytes=1024, index_interval_bytes=128)
            log.create_topic("in").partitions[0].append([b"x"] * 1000)

    def open(self) -> None:
        self.log = eventlog.open(self.path, filesystem=self.fs, clock=self.clock)
        self.producer = self.log.producer(transactional_id="t", durability=self.durability)
        self.producer.init_transactions()

    def begin(self) -> list[eventlog.Delivery]:
        self.producer.begin_transaction()
        sent = send_everywhere(self.producer, b"%d" % self.number)
        self.producer.send_offsets_to_transaction({TP: self.number}, GroupMetadata("g"))
        return sent

    def transact(self) -> None:
        self.begin()
        self.producer.commit_transaction()
        self.number += 1

    def last(self) -> int:
        """Return the number of the last transaction; each up to it is there once, everywhere, and so are offsets."""
        found = everything(self.log)
        last = len(found[PLACES[0]]) - 1
        assert all(here == [b"%d" % number for number in range(last + 1)] for here in found.values()), found
        with self.log.consumer(group="g") as consumer:
            assert consumer.committed(TP) == (OffsetAndMetadata(last) if last >= 0 else None)
        return last

    def is_poisoned(self) -> bool:
        topics = [self.log.topic(name) for name in self.log.topics(include_internal=True)]
        journal = self.log._coordinator.journal.partition()
        partitions = [*(each for topic in topics for each in topic.partitions), *([journal] if journal else [])]
        return any(partition.is_poisoned for partition in partitions)

    def reopen_poisoned(self) -> None:
        """What was acknowledged is there, and the one that failed is whole or absent."""
        with contextlib.suppress(eventlog.EventLogError):
            self.log.close()
        self.open()
        last = self.last()
        assert last in (self.number - 1, self.number)
        self.number = last + 1

    def check(self) -> None:
        assert self.last() == self.number - 1
        check_clean(self.log)
        check_locks_are_free(self.log)

    def end(self) -> None:
        self.transact()
        self.log.close()
        with eventlog.open(self.path, clock=self.clock) as self.log:
            self.check()


def _raised(call: Callable[[], object]) -> eventlog.EventLogError | None:
    try:
        call()
    except eventlog.EventLogError as error:
        return error
    return None


def _go_on(run: Run, then: str, sent: list[eventlog.Delivery], failed: eventlog.EventLogError | None) -> str:
    """Make the best of a commit whose n-th call has failed, and return what became of it."""
    if run.is_poisoned():
        run.reopen_poisoned()
        return "poisoned"
    if failed is None or run.producer._transactions.state.name == "READY":  # type: ignore[union-attr]
        assert all(delivery.exception() is None for delivery in sent)
        run.number += 1
        return "committed all the same"
    assert not any(delivery.done() for delivery in sent)
    if then == "again":
        run.producer.commit_transaction()
        assert [delivery.result().offset for delivery in sent] == [run.number] * 3
        run.number += 1
    else:
        run.producer.abort_transaction()
        assert all(isinstance(each.exception(), eventlog.TransactionAbortedError) for each in sent)
    return then


def _commit_with_failure(run: Run, n: int, error: int, then: str) -> str | None:
    """Commit with the n-th call failing; return what became of it, or None when there are fewer calls."""
    sent = run.begin()
    run.fs.fail_at(n, error)
    failed = _raised(run.producer.commit_transaction)
    where = run.fs.heal()
    if where is None:
        assert failed is None
        run.number += 1
        return None
    try:
        outcome = _go_on(run, then, sent, failed)
        run.check()
    except BaseException as problem:
        problem.add_note(f"call {n}, {where}, failed: {failed!r}")
        raise
    return outcome


WAYS = [(error, then) for error in (errno.EIO, errno.ENOSPC) for then in ("again", "abort")]


@pytest.mark.parametrize("durability", ["os", "disk"])
def test_each_call_of_a_commit_fails(tmp_path: Path, durability: str) -> None:
    """Whichever call of a commit fails, with a broken device or a full one: the transaction is in all partitions or in
    none; committed again it is there once, aborted not at all, and the next one follows. What a failed sync has
    poisoned is whole after reopening.
    """
    outcomes = Counter[str | None]()
    run = Run(tmp_path / "log", durability)
    run.transact()
    for n in range(500):
        for error, then in WAYS:
            outcomes[_commit_with_failure(run, n, error, then)] += 1
        if outcomes[None]:
            break
    run.check()
    run.end()
    print(outcomes, run.fs.count)
    assert min(outcomes["again"], outcomes["abort"]) > 5
    assert bool(outcomes["poisoned"]) == (durability == "disk")


@pytest.mark.parametrize("durability", ["os", "disk"])
def test_each_call_of_the_first_commit_fails(tmp_path: Path, durability: str) -> None:
    """The same for the first commit of a producer in a log that was just opened, where files appear and are opened:
    every third call.
    """
    outcomes = Counter[str | None]()
    template = Run(tmp_path / "template", durability)
    template.log.close()
    for n in range(durability == "disk", 500, 3):
        shutil.copytree(template.path, tmp_path / str(n))
        run = Run(tmp_path / str(n), durability, new=False)
        outcomes[_commit_with_failure(run, n, *WAYS[n % 4])] += 1
        run.end()
        if outcomes[None]:
            break
    print(outcomes, run.fs.count)
    assert min(outcomes["again"], outcomes["abort"]) > 5


# --- single failures ---


def test_a_failed_sync_poisons_one_partition(tmp_path: Path) -> None:
    """When a partition's sync fails in a commit, StorageError says so, and that partition refuses writes until the log
    is opened again; the others, and transactions without it, go on. Nothing of the transaction exists.
    """
    run = Run(tmp_path / "log", "disk")
    run.transact()
    run.begin()
    run.fs.fail_sync(run.path / "topics" / "a" / "0")
    with pytest.raises(eventlog.StorageError, match="failed to sync"):
        run.producer.commit_transaction()
    run.fs.heal()
    with pytest.raises(eventlog.StorageError, match="refuses writes"):
        run.producer.commit_transaction()
    run.producer.abort_transaction()
    assert run.last() == 0
    bad = [tp for tp in PLACES if run.log.topic(tp.topic).partitions[tp.partition].is_poisoned]
    assert bad == PLACES[:1]
    with run.producer.transaction():
        sent = [run.producer.send(tp.topic, b"1", partition=tp.partition) for tp in PLACES[1:]]
    assert all(delivery.result().durable for delivery in sent)
    assert [values(run.log, *tp) for tp in PLACES] == [[b"0"], [b"0", b"1"], [b"0", b"1"]]
    with contextlib.suppress(eventlog.StorageError):
        run.log.close()
    with eventlog.open(run.path) as log:
        assert [values(log, *tp) for tp in PLACES] == [[b"0"], [b"0", b"1"], [b"0", b"1"]]
        check_clean(log)
        transact(log.producer(transactional_id="t", durability="disk"), b"2")


def test_nobody_knows_what_became_of_a_commit(tmp_path: Path) -> None:
    """While the journal can be neither written nor settled, each call that needs to know the outcome says so; later the
    transaction turns out not to be committed, and then its time counts as ever: it cannot be committed any more.
    """
    clock = eventlog.ManualClock(start=1_700_000_000.0)
    run = Run(tmp_path / "log", "os", clock=clock)
    run.transact()
    sent = run.begin()
    run.fs.fail_writes(run.path / "topics" / "__transaction_state" / "0")
    for call in (
        run.producer.commit_transaction,
        run.producer.commit_transaction,
        run.producer.abort_transaction,
        lambda: run.producer.send("a", b"more"),
    ):
        with pytest.raises(eventlog.StorageError):
            call()
    assert not any(delivery.done() for delivery in sent)
    clock.advance(61)
    run.fs.heal()
    for _ in range(2):
        with pytest.raises(eventlog.TransactionTimeoutError):
            run.producer.commit_transaction()
    run.producer.abort_transaction()
    assert all(isinstance(delivery.exception(), eventlog.TransactionAbortedError) for delivery in sent)
    run.check()
    run.end()


def test_closing_while_nobody_knows_the_outcome(tmp_path: Path) -> None:
    """Deliveries of a commit in doubt are told so when the producer is closed: nobody waits for them for ever."""
    run = Run(tmp_path / "log", "os")
    run.transact()
    sent = run.begin()
    run.fs.fail_writes(run.path / "topics" / "__transaction_state" / "0")
    with pytest.raises(eventlog.StorageError):
        run.producer.commit_transaction()
    run.producer.close()
    assert all(isinstance(delivery.exception(), eventlog.StorageError) for delivery in sent)
    run.fs.heal()
    run.log.close()
    run.open()
    run.check()
    run.end()


def test_a_failed_sync_of_the_journal(tmp_path: Path) -> None:
    """When the outcome was written and only its sync fails, StorageError is raised and the transaction is committed
    and over: its records are there, and their deliveries say that they are not on the device.
    """
    run = Run(tmp_path / "log", "disk")
    run.transact()
    sent = run.begin()
    run.fs.fail_sync(run.path / "topics" / "__transaction_state" / "0")
    with pytest.raises(eventlog.StorageError, match="failed to sync"):
        run.producer.commit_transaction()
    run.fs.heal()
    assert run.last() == 1
    assert [(each.result().offset, each.result().durable) for each in sent] == [(1, False)] * 3
    with pytest.raises(eventlog.IllegalStateError):
        run.producer.abort_transaction()
    run.producer.begin_transaction()
    no = send_everywhere(run.producer, b"no")
    with pytest.raises(eventlog.StorageError, match="refuses writes"):
        run.producer.commit_transaction()
    run.producer.abort_transaction()
    assert isinstance(no[0].exception(), eventlog.TransactionAbortedError)
    assert run.log.topic("in").partitions[0].append([b"plain"]).base_offset == 1000
    assert run.log.topic("b").partitions[0].append([b"2"]).base_offset == 2
    with contextlib.suppress(eventlog.StorageError):
        run.log.close()
    run.open()
    with run.producer.transaction():
        run.producer.send("b", b"3")
    assert [values(run.log, *tp) for tp in PLACES] == [[b"0", b"1"], [b"0", b"1"], [b"0", b"1", b"2", b"3"]]
    check_clean(run.log)
