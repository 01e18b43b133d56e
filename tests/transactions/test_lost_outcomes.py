"""A journal whose device fails forgets no outcome that anything durable stands behind."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest

import eventlog
from eventlog.files.filesystem import FileSystem

JOURNAL = "__transaction_state"


class JournalDevice(FileSystem):
    """Fails to sync the journal, once, and drops what it could not write."""

    def __init__(self) -> None:
        self.fails = False
        self.durable = 0

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


def commit(log: eventlog.EventLog, value: bytes, durability: str) -> None:
    with log.producer(transactional_id="id", durability=durability) as producer:
        producer.init_transactions()
        with producer.transaction():
            producer.send("t", value, partition=0)


def values(log: eventlog.EventLog) -> list[bytes | None]:
    return [value for batch in log.topic("t").partitions[0].read(0) for value in batch.values()]


@pytest.mark.parametrize("follows", ["append", "flush", "transaction"])
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
    else:
        commit(log, b"behind", "disk")
    shutil.copytree(tmp_path / "log", tmp_path / "cut")  # the power cut
    shutil.copy(tmp_path / "head", tmp_path / "cut" / "topics" / "t" / "0" / "head")
    with eventlog.open(tmp_path / "cut") as cut:
        assert values(cut) == [b"first", b"durable", b"published", b"behind"]
        assert cut.verify_transactions().ok
    for opened in (log, other):
        with contextlib.suppress(eventlog.StorageError):
            opened.close()
