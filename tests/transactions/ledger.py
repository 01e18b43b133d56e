"""Transactions on a file system that crashes, with a record of what was promised, to compare with what is left.

Transaction n writes two records that tell n into each of three partitions, and commits offset n of a group: so
each partition tells which transactions it holds, all of them must tell the same, and the group the last of these.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import eventlog
from eventlog.files.filesystem import Buffer, FileSystem
from eventlog.model import TopicPartition
from eventlog.testing.crash_filesystem import CrashFileSystem, SimulatedCrash

Choose = Callable[[int], int]
PARTS = (("credits", 0), ("debits", 0), ("debits", 1))
INPUT = TopicPartition("inputs", 0)
GROUP = "accounts"
ID = "transfers"
JOURNAL = "__transaction_state"
OFFSETS = "__consumer_offsets"
PLAIN = b"of no transaction"


class FaultyFileSystem(CrashFileSystem):
    """Has no space left for what lies in a directory, for as long as somebody says so."""

    full: str | None = None

    @contextlib.contextmanager
    def no_space_in(self, directory: str) -> Iterator[None]:
        """While the block runs, no write below a directory of this name succeeds."""
        self.full = f"/{directory}/"
        try:
            yield
        finally:
            self.full = None

    def pwritev(self, fd: int, parts: Sequence[Buffer], position: int) -> int:  # type: ignore[override]
        file = self._files.get(fd)
        if self.full is not None and file is not None and self.full in file.path and file.path.endswith(".log"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().pwritev(fd, parts, position)


class UnsyncedFileSystem(FileSystem):
    """For what is looked at once, and thrown away: waits for no device."""

    @staticmethod
    def sync(fd: int) -> None:
        """Do nothing."""

    def sync_directory(self, path: str) -> None:
        """Do nothing."""


def reopened(path: str | os.PathLike[str]) -> eventlog.EventLog:
    """Open a log as the next process does."""
    return eventlog.open(path, filesystem=UnsyncedFileSystem())


class Ledger:
    """One process that commits transactions, until it crashes; and what it was promised."""

    def __init__(self, base: Path, durability: str) -> None:
        self.base = base
        self.durability = durability
        self.fs = FaultyFileSystem(base / "log")
        self.tried: list[int] = []  # by their numbers; each is committed, aborted, or nobody was told
        self.committed: list[int] = []
        self.aborted: list[int] = []
        self.flushed: dict[tuple[str, int], int] = {}  # how many of the committed ones a partition was flushed with
        self.disks = 0
        self.log = eventlog.open(base / "log", filesystem=self.fs, parents=True)
        self.log.create_topic("credits")
        self.log.create_topic("debits", partitions=2)
        self.log.create_topic("inputs").partitions[0].append([b"input"] * 20)
        self.take_over(self.log)

    # --- what the process does ---

    def take_over(self, log: eventlog.EventLog) -> None:
        """Go on with another producer of the same id, which fences the one before."""
        self.producer = log.producer(transactional_id=ID, durability=self.durability)
        self.producer.init_transactions()
        consumer = log.consumer(group=GROUP, enable_auto_commit=False)
        consumer.assign([INPUT])
        self.group = consumer.group_metadata()

    def another_process(self) -> eventlog.EventLog:
        """Open the log a second time, as a process does that lives on when the first one is killed."""
        return eventlog.open(self.base / "log", filesystem=self.fs.another_process())

    def begin(self) -> None:
        """Begin the next transaction, and send all of its records."""
        number = len(self.tried) + 1
        self.tried.append(number)
        self.producer.begin_transaction()
        for topic, partition in PARTS:
            self.producer.send(topic, b"%02d first" % number, partition=partition)
        for topic, partition in PARTS:
            self.producer.send_many(topic, [b"%02d second" % number], partition=partition)
        self.producer.send_offsets_to_transaction({INPUT: number}, self.group)

    def commit(self) -> None:
        """Do one transaction."""
        self.begin()
        self.producer.commit_transaction()
        self.committed.append(self.tried[-1])

    def fail(self, directory: str) -> None:
        """Do one that cannot be written, since there is no space in a directory; it is aborted then."""
        self.begin()
        with self.fs.no_space_in(directory):
            try:
                self.producer.commit_transaction()
            except eventlog.LogFullError:
                pass
            else:
                raise AssertionError("there was space")
        self.producer.abort_transaction()
        self.aborted.append(self.tried[-1])

    def flush(self, topic: str, partition: int) -> None:
        """Bring one partition to the device."""
        self.log.topic(topic).partitions[partition].flush()
        self.flushed[topic, partition] = len(self.committed)

    def work(self, script: Sequence[tuple[Any, ...]]) -> bool:
        """Do these things one after the other; tell whether a crash came."""
        try:
            for name, *arguments in script:
                getattr(self, name)(*arguments)
        except SimulatedCrash:
            return True
        return False

    # --- what is left ---

    def reboot(self, choose: Choose | None = None) -> eventlog.EventLog:
        """Open the log as the next process finds it: after a kill of all, or with ``choose`` after a power cut."""
        self.disks += 1
        path = self.base / f"disk-{self.disks}"
        if choose is None:
            self.fs.after_kill(path)
        else:
            self.fs.after_power_cut(path, choose)
        return reopened(path)

    def check(self, log: eventlog.EventLog) -> list[int]:
        """Return the transactions that are there: whole, in order, all that were acknowledged, none that was aborted.

        Of those that nobody was told about, each may be there or not.
        """
        found = {(topic, number): transactions_in(log, topic, number) for topic, number in PARTS}
        there = found[PARTS[0]]
        assert all(others == there for others in found.values()), f"half a transaction: {found}"
        committed = log.consumer(group=GROUP, enable_auto_commit=False).committed(INPUT)
        last = None if committed is None else committed.offset
        assert last == (there[-1] if there else None), f"records of {there}, offsets of {last}"
        missing = set(self.committed) - set(there)
        assert not missing, f"committed, and gone: {missing}"
        assert not set(there) & set(self.aborted), f"aborted, and there: {there}"
        assert there == sorted(set(there) & set(self.tried))
        return there

    def check_no_damage(self, log: eventlog.EventLog) -> None:
        """Nothing that was acknowledged is named as damaged or lost."""
        for topic, number in PARTS:
            partition = log.topic(topic).partitions[number]
            assert partition.verify().ok
            recovery = partition.recovery
            assert recovery is None or not recovery.damaged, recovery

    def check_what_is_left(self, log: eventlog.EventLog) -> None:
        """After a power cut that may take what was not flushed: all that was, in its place, and nothing made up."""
        for topic, number in PARTS:
            found = read_what_is_left(log.topic(topic).partitions[number])
            for offset, value in found.items():
                number_there = int(value[:2])
                assert number_there not in self.aborted, f"aborted, and there: {topic}-{number}, offset {offset}"
                assert value[3:] == (b"second" if offset % 2 else b"first")
            flushed = self.committed[: self.flushed.get((topic, number), 0)]
            records = [b"%02d %s" % (n, part) for n in flushed for part in (b"first", b"second")]
            assert [found.get(offset) for offset in range(len(records))] == records, "flushed, and gone"


def read_what_is_left(partition: eventlog.Partition) -> dict[int, bytes]:
    """Return every record that can be read, by its offset, passing by what was lost."""
    found: dict[int, Any] = {}
    offset = 0
    while offset < partition.log_end_offset:
        try:
            for batch in partition.read(offset):
                found.update(zip(batch.offsets.tolist(), batch.values(), strict=True))
                offset = batch.last_offset + 1
        except eventlog.CorruptSegmentError as error:
            assert error.next_offset is not None and error.next_offset > offset
            offset = error.next_offset
    return found


def transactions_in(log: eventlog.EventLog, topic: str, number: int) -> list[int]:
    """Return which transactions a partition holds; each must be there with both of its records."""
    values = [value for value in read_all(log.topic(topic).partitions[number]) if value != PLAIN]
    found = [int(value[:2]) for value in values[::2]]
    assert values == [b"%02d %s" % (n, part) for n in found for part in (b"first", b"second")]
    return found


def read_all(partition: eventlog.Partition) -> list[bytes]:
    """Return every value that a reader finds from the start to the end."""
    values: list[Any] = []
    while batches := partition.read(len(values)):
        for batch in batches:
            assert batch.base_offset == len(values)
            values += batch.values()
    assert len(values) == partition.log_end_offset
    return values


def check_clean(log: eventlog.EventLog) -> None:
    """Nothing was found damaged on opening, nothing is now, and no transaction waits to be settled."""
    for name in log.topics(include_internal=True):
        for partition in log.topic(name).partitions:
            if partition.was_used:
                report = partition.verify()
                assert report.ok and not report.damaged, report
                recovery = partition.recovery
                assert recovery is None or not recovery.damaged, recovery
