"""A journal whose device fails forgets no outcome that anything durable stands behind."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
from pathlib import Path

import pytest

import eventlog
from eventlog.coordination.committed_parts import CommittedParts, runs
from eventlog.coordination.transaction_records import decode
from eventlog.files.filesystem import Buffer, FileSystem

JOURNAL = "__transaction_state"


class JournalDevice(FileSystem):
    """Fails to sync the journal, once, and drops what it could not write."""

    def __init__(self) -> None:
        self.fails = False
        self.durable = 0
        self.room = 10**9  # for so many more outcomes

    def sync(self, fd: int) -> None:  # type: ignore[override]
        path = os.readlink(f"/proc/self/fd/{fd}")
        if JOURNAL not in path or not path.endswith(".log"):
            return
        size = os.fstat(fd).st_size
        if not self.fails:
            self.durable = size
            return
        self.fails = False
        with open(path, "r+b") as file:
            os.pwrite(file.fileno(), bytes(size - self.durable), self.durable)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def pwrite(self, fd: int, data: Buffer, position: int) -> int:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if JOURNAL in path and path.endswith(".log") and any(data):  # not where it is cleared
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room -= 1
        return super().pwrite(fd, data, position)


def commit(log: eventlog.EventLog, value: bytes, durability: str) -> None:
    with log.producer(transactional_id="id", durability=durability) as producer:
        producer.init_transactions()
        with producer.transaction():
            producer.send("t", value, partition=0)


def values(log: eventlog.EventLog) -> list[bytes | None]:
    return [value for batch in log.topic("t").partitions[0].read(0) for value in batch.values()]


@pytest.mark.parametrize("follows", ["append", "flush", "transaction", "transaction, flush"])
def test_what_is_durable_stands_behind_no_outcome_that_is_lost(tmp_path: Path, follows: str) -> None:
    """A transaction is published, and its outcome is lost with a failed sync of the journal, which is opened again.

    What is made durable behind it survives a power cut that brings back the head from before, and with it all that the
    partition had then.
    """
    device = JournalDevice()
    head = tmp_path / "log" / "topics" / "t" / "0" / "head"
    with eventlog.open(tmp_path / "log") as log:
        log.create_topic("t").partitions[0].append([b"first"])
        commit(log, b"durable", "disk")
    other = eventlog.open(tmp_path / "log", filesystem=device)
    partition = other.topic("t").partitions[0]
    device.durable = (tmp_path / "log" / "topics" / JOURNAL / "0" / f"{0:020d}.log").stat().st_size
    shutil.copy(head, tmp_path / "head")
    log = eventlog.open(tmp_path / "log", filesystem=device)
    commit(log, b"published", "os")
    device.fails = True
    with pytest.raises(eventlog.StorageError):
        log.topic(JOURNAL).partitions[0].flush()
    with contextlib.suppress(eventlog.StorageError):
        log.close()
    log = eventlog.open(tmp_path / "log", filesystem=device)
    if follows == "append":
        assert partition.append([b"behind"], durability="disk").durable
    elif follows == "flush":
        partition.append([b"behind"])
        partition.flush()
    elif follows == "transaction":
        commit(log, b"behind", "disk")
    else:
        commit(log, b"behind", "os")
        log.topic("t").partitions[0].flush()
    shutil.copytree(tmp_path / "log", tmp_path / "cut")  # the power cut
    shutil.copy(tmp_path / "head", tmp_path / "cut" / "topics" / "t" / "0" / "head")
    with eventlog.open(tmp_path / "cut") as cut:
        assert values(cut) == [b"first", b"durable", b"published", b"behind"]
        assert cut.verify_transactions().ok
    for opened in (log, other):
        with contextlib.suppress(eventlog.StorageError):
            opened.close()


def test_outcomes_that_are_written_again_leave_no_half_of_a_transaction(tmp_path: Path) -> None:
    """A transaction of several batches has its outcome again as a whole, or not at all, wherever a crash comes."""
    device = JournalDevice()
    head = tmp_path / "log" / "topics" / "t" / "0" / "head"
    log = eventlog.open(tmp_path / "log", filesystem=device)
    log.create_topic("t").partitions[0].append([b"first"])
    commit(log, b"durable", "disk")
    shutil.copy(head, tmp_path / "head")
    with log.producer(transactional_id="id") as producer:
        producer.init_transactions()
        with producer.transaction():
            for _ in range(3):
                producer.send_many("t", [b"a", b"b"], partition=0)
    device.fails = True
    with pytest.raises(eventlog.StorageError):
        log.topic(JOURNAL).partitions[0].flush()
    other = eventlog.open(tmp_path / "log", filesystem=device)
    assert len(other.topic(JOURNAL).partitions[0].read(0)) == 1  # recovered
    device.room = 1
    with contextlib.suppress(eventlog.LogFullError):
        other.topic("t").partitions[0].flush()
    assert device.room == 0
    shutil.copytree(tmp_path / "log", tmp_path / "cut")
    shutil.copy(tmp_path / "head", tmp_path / "cut" / "topics" / "t" / "0" / "head")
    with eventlog.open(tmp_path / "cut") as cut:
        assert values(cut) == [b"first", b"durable", *[b"a", b"b"] * 3]
        assert cut.verify_transactions().ok
    device.room = 10**9
    for opened in (log, other):
        with contextlib.suppress(eventlog.StorageError):
            opened.close()


def test_outcomes_that_were_written_again_hide_none_of_those_that_were_left(tmp_path: Path) -> None:
    """Some transactions have their own outcome, some one that was written again with others, some both, or none."""
    with eventlog.open(tmp_path) as log:
        topic = log.create_topic("t")
        with log.producer(transactional_id="id") as producer:
            producer.init_transactions()
            for batches in (1, 3, 2, 1, 2):
                with producer.transaction():
                    for _ in range(batches):
                        producer.send_many("t", [b"a", b"b"], partition=0)
        own = [
            decode(key, value)
            for batch in log.topic(JOURNAL).partitions[0].read(0)
            for key, value in zip(batch.keys(), batch.values(), strict=True)
        ]
        batches_of = topic.partitions[0].read(0)
        for seed in range(300):
            chance = random.Random(seed)
            kept = [outcome for outcome in own if chance.random() < 0.5]
            places = [outcome.parts[0] for outcome in kept]
            again = []
            for _ in range(chance.randrange(3)):
                start = chance.choice(own).parts[0].base_offset
                mine = [batch for batch in batches_of if batch.base_offset >= start]
                ((_, part),) = runs(mine, "t", topic.topic_id, 0)
                places.append(part)
                again.append(own[0]._replace(parts=(part,)))
            parts = CommittedParts([*kept, *again], topic.topic_id, 0)
            for batch in batches_of:
                is_told = any(place.base_offset <= batch.base_offset < place.end_offset for place in places)
                assert parts.holds(batch) == is_told, seed
