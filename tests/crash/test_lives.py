"""An acknowledgement as durable counts only for the life of the log in which its records were published.

The device fails one sync, and drops what it could not write, as ext4 does when it has no block for it; then it works
again. Two open logs play two processes: locks and mapped pages do not know the difference.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import eventlog
from eventlog.files.filesystem import FileSystem

PATIENCE = 60.0  # seconds: more than any machine needs


class Device(FileSystem):
    """Knows what of each segment is on it. A sync that fails, when asked to, drops the rest."""

    def __init__(self, durable: dict[int, bytes]) -> None:
        self.durable = durable  # by inode; shared by all processes
        self.fails = 0
        self.keeps = False
        self.hold: threading.Event | None = None  # a sync waits for it
        self.is_waiting = threading.Event()

    def sync(self, fd: int) -> None:  # type: ignore[override]
        if self.hold is not None:
            self.is_waiting.set()
            assert self.hold.wait(PATIENCE)
        found, path = os.fstat(fd), os.readlink(f"/proc/self/fd/{fd}")
        if self.fails:
            self.fails -= 1
            if not self.keeps:
                with open(path, "r+b") as file:
                    os.pwrite(file.fileno(), self.durable.get(found.st_ino, b"").ljust(found.st_size, b"\0"), 0)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(fd)
        self.durable[found.st_ino] = Path(path).read_bytes()


class Two:
    """Processes X and Y, and what X's threads were told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        durable: dict[int, bytes] = {}
        self.x_device, self.y_device = Device(durable), Device(durable)
        self.x_log = eventlog.open(path, filesystem=self.x_device)
        self.x = self.x_log.create_topic("t").partitions[0]
        self.x.append([b"a"], durability="disk")
        self.answers: dict[bytes, object] = {}
        self._threads: list[threading.Thread] = []

    def start(self, value: bytes) -> None:
        """Append durably in a thread of X, and return when the record is published."""
        end = self.x.log_end_offset

        def append() -> None:
            try:
                self.answers[value] = self.x.append([value], durability="disk").base_offset
            except eventlog.EventLogError as error:
                self.answers[value] = error

        thread = threading.Thread(target=append)
        self._threads.append(thread)
        thread.start()
        while self.x.log_end_offset == end:
            threading.Event().wait(0.001)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def y_fails_and_opens_again(self, *values: bytes) -> eventlog.Partition:
        """Y's sync fails; it opens the log again, as the error's hint says, and appends."""
        log = eventlog.open(self.path, filesystem=self.y_device)
        self.y_device.fails = 1
        with pytest.raises(eventlog.StorageError, match="failed to sync"):
            log.topic("t").partitions[0].append([b"y"], durability="disk")
        with pytest.raises(eventlog.StorageError):
            log.close()
        self.y_log = eventlog.open(self.path, filesystem=self.y_device)
        partition = self.y_log.topic("t").partitions[0]
        for value in values:
            assert partition.append([value], durability="disk").durable
        return partition

    def check(self) -> list[bytes | None]:
        """Return what the log holds, to which every acknowledgement must fit."""
        with eventlog.open(self.path) as log:
            held = [value for batch in log.topic("t").partitions[0].read(0) for value in batch.values()]
        for value, answer in self.answers.items():
            if isinstance(answer, int):
                assert held[answer] == value
        return held

    def close(self) -> None:
        for log in (self.x_log, self.y_log):
            with contextlib.suppress(eventlog.StorageError):
                log.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path / "log")
    yield made
    made.close()


@pytest.mark.parametrize("second_works", [False, True])
def test_no_two_processes_have_a_durable_acknowledgement_for_one_offset(two: Two, second_works: bool) -> None:
    """X's records are gone, and Y's have their offsets: no thread of X that waits is told that all is well."""
    two.x_device.hold = threading.Event()
    two.start(b"x1")
    assert two.x_device.is_waiting.wait(PATIENCE)
    two.start(b"x2")
    partition = two.y_fails_and_opens_again(b"z1", b"z2", b"z3")
    assert partition.log_end_offset == 4
    go, two.x_device.hold = two.x_device.hold, None
    two.x_device.fails = 0 if second_works else 1
    go.set()
    two.join()
    assert all(isinstance(answer, eventlog.StorageError) for answer in two.answers.values())
    two.check()


@pytest.mark.parametrize(
    "flush", [lambda log, partition: partition.flush(), lambda log, partition: log.flush()], ids=["partition", "log"]
)
def test_a_flush_does_not_call_durable_what_is_gone(two: Two, flush: Callable[..., None]) -> None:
    """X has appended without waiting for the device; then Y recovers the partition. X's next flush says so, once."""
    two.x.append([b"x"])
    two.y_fails_and_opens_again(b"z")
    with pytest.raises(eventlog.StorageError, match="recovered"):
        flush(two.x_log, two.x)
    flush(two.x_log, two.x)
    assert two.x.append([b"again"], durability="disk").base_offset == 2
    assert two.check() == [b"a", b"z", b"again"]


def test_a_flush_after_an_append_in_the_next_life_still_tells_of_the_last_one(two: Two) -> None:
    """What X wrote after the recovery does not make its flush forget what it wrote before."""
    two.x.append([b"x"])
    two.y_fails_and_opens_again(b"z")
    two.x.append([b"next"])
    with pytest.raises(eventlog.StorageError, match="recovered"):
        two.x.flush()
    two.x.flush()
    assert two.check() == [b"a", b"z", b"next"]


def test_what_was_flushed_before_a_recovery_is_not_in_doubt_after_it(two: Two) -> None:
    """X's records were on the device before Y's sync failed: neither its flush nor its next append complains."""
    two.x.append([b"x"])
    two.x.flush()
    two.y_fails_and_opens_again(b"z")
    two.x.flush()
    two.x.append([b"next"], durability="disk")
    two.y_log.close()
    two.y_fails_and_opens_again(b"z")
    two.x.flush()
    assert two.check() == [b"a", b"x", b"z", b"next", b"z"]


def test_what_a_failed_sync_has_left_in_the_cache_is_not_lost(two: Two) -> None:
    """Where the kernel keeps what it could not write, recovery writes it once more, for the next sync."""
    two.x.append([b"x"])
    two.y_device.keeps = True
    partition = two.y_fails_and_opens_again(b"z")
    assert partition.durable_end_offset == 4
    assert two.check() == [b"a", b"x", b"y", b"z"]
