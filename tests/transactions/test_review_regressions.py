"""What a review of transactions has found: each was wrong once."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import eventlog
from eventlog.errors import IllegalStateError, LogFullError, ProducerFencedError, StorageError, UnknownTopicError
from eventlog.files.filesystem import Buffer, FileSystem
from eventlog.format.filenames import LOG, segment_name
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.model import AppendResult
from eventlog.producer.delivery import FullDelivery
from eventlog.storage.partition_log import PartitionLog
from eventlog.testing.crash_filesystem import CrashFileSystem
from eventlog.testing.power_cut import lay_out
from eventlog.testing.simulated_disk import SimulatedFile
from eventlog.topics import topic_files
from eventlog.topics.internal import TRANSACTIONS_TOPIC
from tests.transactions.helpers import values


def test_a_lost_outcome_takes_no_sealed_segment_along(tmp_path: Path) -> None:
    """A roll brings the journal to the device before a segment becomes one that no recovery looks at again.

    A power cut that keeps all of a partition, and of the journal only what was synced, takes none of the records.
    """
    fs = CrashFileSystem(tmp_path / "log")
    log = eventlog.open(tmp_path / "log", filesystem=fs)
    partition = log.create_topic("a", segment_bytes=1024).partitions[0]
    partition.append([b"first"])
    partition.flush()
    with log.producer(transactional_id="id") as producer, producer.transaction():
        producer.send("a", b"of a transaction")
    plain = [b"%03d" % number + b"." * 300 for number in range(12)]
    for value in plain:
        partition.append([value])

    def content(file: SimulatedFile) -> bytes:
        return file.durable if TRANSACTIONS_TOPIC in file.path and file.path.endswith(LOG) else file.content()

    lay_out(fs.disk.top, str(tmp_path / "cut"), lambda directory: directory.names, content)
    with eventlog.open(tmp_path / "cut") as found:
        assert values(found) == [b"first", b"of a transaction", *plain]


class FullJournal(FileSystem):
    """No space is left for the journal while it ``is_full``."""

    is_full = False

    def pwrite(self, fd: int, data: Buffer, position: int) -> int:
        self._refuse(fd)
        return super().pwrite(fd, data, position)

    def pwritev(self, fd: int, parts: Sequence[Buffer], position: int) -> int:  # type: ignore[override]
        self._refuse(fd)
        return super().pwritev(fd, parts, position)

    def _refuse(self, fd: int) -> None:
        if self.is_full and TRANSACTIONS_TOPIC in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_the_next_block_ends_what_the_last_one_could_not(tmp_path: Path) -> None:
    """A block that could neither commit nor abort leaves a transaction to the next block, which aborts it first.

    While that is impossible still, the next block does not begin either; within a block, another one is refused.
    """
    fs = FullJournal()
    with eventlog.open(tmp_path, filesystem=fs) as log:
        log.create_topic("a")
        producer = log.producer(transactional_id="id")
        producer.init_transactions()
        fs.is_full = True
        for value in (b"1", b"2"):
            with pytest.raises(LogFullError), producer.transaction():
                producer.send("a", value)
        fs.is_full = False
        with producer.transaction():
            delivery = producer.send("a", b"3")
            with pytest.raises(IllegalStateError), producer.transaction():
                raise AssertionError
        assert delivery.result().offset == 0
        assert values(log) == [b"3"]


def opened(tmp_path: Path) -> tuple[eventlog.EventLog, eventlog.Producer]:
    log = eventlog.open(tmp_path)
    log.create_topic("a")
    producer = log.producer(transactional_id="id")
    producer.init_transactions()
    producer.begin_transaction()
    return log, producer


@pytest.mark.parametrize("call", ["send", "send_many", "send_offsets_to_transaction"])
def test_who_is_fenced_while_sending_calls_back(tmp_path: Path, call: str) -> None:
    """Callbacks are told that their records will never be written by the very call that finds out."""
    log, producer = opened(tmp_path)
    told: list[BaseException | None] = []
    producer.send("a", b"1").add_callback(lambda _, error: told.append(error))
    log.producer(transactional_id="id").init_transactions()
    arguments = {"send": ("a", b"2"), "send_many": ("a", [b"2"])}.get(call, ({}, eventlog.GroupMetadata("g")))
    with pytest.raises(ProducerFencedError):
        getattr(producer, call)(*arguments)
    assert [type(error) for error in told] == [ProducerFencedError]
    log.close()


@pytest.mark.parametrize("is_kept_first", [False, True])
def test_a_callback_that_comes_with_the_end_is_called_once(tmp_path: Path, is_kept_first: bool) -> None:
    """A callback that is added while another thread ends the transaction is called, and only once.

    Whether it is kept before the others are called, or behind that.
    """
    log, producer = opened(tmp_path)

    class Meanwhile(list):  # type: ignore[type-arg]
        """Callbacks, one of which comes when the transaction ends."""

        def append(self, entry: object) -> None:
            if is_kept_first:
                super().append(entry)
            producer.commit_transaction()
            if not is_kept_first:
                super().append(entry)

    assert producer._transactions is not None
    producer._transactions._transaction._callbacks = Meanwhile()
    delivery = producer.send("a", b"1")
    told: list[str] = []
    delivery.add_callback(lambda *_: told.append("called"))
    assert told == ["called"]
    log.close()


class FaultyDevice(FileSystem):
    """Has no space left while it ``is_full``, and syncs nothing while it ``is_broken``."""

    is_full = is_broken = False

    def pwritev(self, fd: int, parts: Sequence[Buffer], position: int) -> int:  # type: ignore[override]
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().pwritev(fd, parts, position)

    def sync(self, fd: int) -> None:  # type: ignore[override]
        if self.is_broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(fd)


def test_what_was_published_before_a_recovery_acknowledges_nothing(tmp_path: Path) -> None:
    """A producer's repeated attempt is written if the first one failed, whatever was published there once.

    Here a failed sync has lost records, so that offsets are given out anew, and others get them first. The next flush
    tells of the loss, once.
    """
    fs = FaultyDevice()
    with eventlog.open(tmp_path, filesystem=fs) as log:
        partition = log.create_topic("a").partitions[0]

        def append(producer_id: int, *values: bytes) -> AppendResult:
            stamp = ProducerStamp(producer_id, 0, 0)
            return partition.log.writer.append(partition.encode(values, stamp=stamp), None, stamp, is_own=True)

        append(1, b"first")
        append(2, b"lost", b"lost")
        lost = partition.read(1)[0]
        fs.is_broken = True
        with pytest.raises(StorageError):
            partition.flush()
        fs.is_broken = False
        with (tmp_path / "topics" / "a" / "0" / segment_name(0, LOG)).open("r+b") as segment:
            segment.seek(lost.position)
            segment.write(bytes(lost.size))
        with eventlog.open(tmp_path) as other:
            assert other.topic("a").partitions[0].log_end_offset == 1
            partition.append([b"second"])
            fs.is_full = True
            with pytest.raises(LogFullError):
                append(3, b"tried again")
            fs.is_full = False
            other.topic("a").partitions[0].append([b"another"])
            assert append(3, b"tried again").base_offset == 3
        assert values(log) == [b"first", b"second", b"another", b"tried again"]
        with pytest.raises(StorageError, match="was recovered before"):
            partition.flush()
        partition.flush()
        assert partition.durable_end_offset == 4


def test_a_partition_that_is_opened_while_its_topic_is_made_anew_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody writes to a topic under the id of the one before: recovery would find no transaction of that id.

    The topic is deleted and made anew between the last look at its id and the first at the partition's files.
    """
    with eventlog.open(tmp_path) as log, eventlog.open(tmp_path) as other:
        log.create_topic("a")
        producer = log.producer(transactional_id="id")
        producer.init_transactions()

        def opened_late(*arguments: object) -> PartitionLog:
            other.delete_topic("a")
            other.create_topic("a")
            monkeypatch.undo()
            return PartitionLog(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(topic_files, "PartitionLog", opened_late)
        with pytest.raises(UnknownTopicError), producer.transaction():
            producer.send("a", b"1")
        with producer.transaction():
            producer.send("a", b"2")
        assert values(other) == [b"2"]


def waiting(value: bytes) -> FullDelivery:
    delivery = FullDelivery()
    delivery.key, delivery.value, delivery.headers = None, value, None
    delivery.stamp, delivery.timestamp_ms = 0.0, 0
    return delivery


def test_a_refused_record_takes_no_room(log: eventlog.EventLog) -> None:
    """What is sent to a topic that was deleted meanwhile is refused, and leaves the transaction as large as before."""
    gone = log.create_topic("gone")
    log.create_topic("a")
    with log.producer(transactional_id="id", buffer_memory=1000) as producer, producer.transaction():
        manager = producer._transactions
        assert manager is not None
        log.delete_topic("gone")
        for _ in range(10):
            with pytest.raises(UnknownTopicError):
                manager.send(gone, 0, waiting(b"x" * 500))
        producer.send("a", b"y" * 500)
    assert values(log, "a") == [b"y" * 500]
