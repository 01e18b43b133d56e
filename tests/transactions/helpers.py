"""What the tests of transactions share."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any

import eventlog
from eventlog import TopicPartition
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import FileSystem
from eventlog.storage.partition_log import PartitionLog
from eventlog.storage.prepared_append import PreparedAppend

PLACES = [TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)]


def create_topics(log: eventlog.EventLog) -> None:
    """Make topic ``a`` of two partitions, and ``b`` of one."""
    log.create_topic("a", partitions=2)
    log.create_topic("b")


def values(log: eventlog.EventLog, topic: str = "a", partition: int = 0) -> list[bytes | None]:
    """Return all values of a partition, having checked that offsets are dense."""
    found: list[bytes | None] = []
    read_from = log.topic(topic).partitions[partition]
    while batches := read_from.read(len(found)):
        for batch in batches:
            assert batch.base_offset == len(found)
            found += batch.values()
    assert read_from.log_end_offset == len(found)
    return found


def everything(log: eventlog.EventLog) -> dict[TopicPartition, list[bytes | None]]:
    """Return the values of `PLACES`."""
    return {tp: values(log, *tp) for tp in PLACES}


def send_everywhere(producer: eventlog.Producer, value: bytes) -> list[eventlog.Delivery]:
    """Send the value to each of `PLACES`."""
    return [producer.send(tp.topic, value, partition=tp.partition) for tp in PLACES]


def transact(producer: eventlog.Producer, value: bytes) -> list[eventlog.Delivery]:
    """Commit the value to each of `PLACES` in one transaction."""
    with producer.transaction():
        return send_everywhere(producer, value)


def check_clean(log: eventlog.EventLog) -> None:
    """Every partition that was used, internal ones too, verifies without a finding."""
    for name in log.topics(include_internal=True):
        for partition in log.topic(name).partitions:
            if partition.was_used:
                report = partition.verify()
                assert report.ok, report


def lock_files(log: eventlog.EventLog) -> Iterator[Path]:
    """Yield every lock that a commit takes: of partitions, of transactional ids, of groups."""
    root = Path(log.path)
    for pattern in ("topics/*/*/lock", "transactions/*/lock", "groups/*/lock"):
        yield from root.glob(pattern)


def check_locks_are_free(log: eventlog.EventLog) -> None:
    """Nobody holds a lock that a commit takes."""
    fs = FileSystem()
    for path in lock_files(log):
        lock = FileLock(fs, str(path))
        assert lock.acquire(blocking=False), f"{path} is held"
        lock.close()


def poll_all(consumer: eventlog.Consumer) -> list[eventlog.Record]:
    """Poll until nothing more comes."""
    found: list[eventlog.Record] = []
    while records := consumer.poll():
        found += records
    return found


def offsets_of(records: Iterable[eventlog.Record]) -> list[int]:
    return [record.offset for record in records]


class StoppedCommit:
    """A commit in a thread of its own, held at one of its steps until `go_on` is called."""

    def __init__(self, commit: Callable[[], Any]) -> None:
        self._reached, self._may_go = threading.Event(), threading.Event()
        self._commit = commit
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._commit()
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        """Called by the step: tell that it was reached, and wait."""
        self._reached.set()
        assert self._may_go.wait(60)

    def start(self) -> None:
        self._thread.start()
        assert self._reached.wait(60), self.error

    def go_on(self) -> None:
        self._may_go.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


@contextmanager
def commit_stopped_before(
    step: str, place: TopicPartition, commit: Callable[[], Any], monkeypatch: Any
) -> Iterator[StoppedCommit]:
    """Run ``commit`` up to a step (write, sync, publish, ...) of one partition; it goes on when the block ends."""
    stopped = StoppedCommit(commit)
    real = getattr(PreparedAppend, step)

    def patched(append: PreparedAppend, *arguments: Any, **more: Any) -> Any:
        if (append.log.topic, append.log.partition) == place:
            stopped.stop()
        return real(append, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(PreparedAppend, step, patched)
        try:
            stopped.start()
            yield stopped
        finally:
            stopped.go_on()


def wait_for_commits(monkeypatch: Any) -> None:
    """Let nobody give up who waits for a commit to be over: a machine that stands still has not stopped its process."""
    patient = partialmethod(PartitionLog.settled_end_offset, patience=300.0)
    monkeypatch.setattr(PartitionLog, "settled_end_offset", patient)


class FailingSync(FileSystem):
    """Fails to sync the files below one directory."""

    below = "?"

    def sync(self, fd: int) -> None:  # type: ignore[override]
        if self.below in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(fd)
