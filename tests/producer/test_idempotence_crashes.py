"""Idempotent appends through kills, interrupts and a disk that is really full: exactly one copy at the end."""

from __future__ import annotations

import errno
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.files.filesystem import FileSystem
from eventlog.format.producer_stamp import ProducerStamp
from tests.forking import fork
from tests.interrupting import Interrupter, typical_seconds

_IS_ROOT = os.geteuid() == 0 and sys.platform == "linux"
FIRST = ProducerStamp(41, 0, 0)
BATCHES = [[b"%d-" % number + b"x" * 300, b"%d" % number] for number in range(5)]
SMALL = {"segment_bytes": 1024, "index_interval_bytes": 64}


class StoppingFileSystem(FileSystem):
    """Real files; ``stop`` is called before (or, for writes, in the middle of) the n-th call that changes anything."""

    def __init__(self, at: int, stop: Callable[[], None]) -> None:
        self.left = at
        self._stop = stop
        self.pwrite = self._pwrite  # type: ignore[method-assign]
        self.pwritev = self._pwritev  # type: ignore[method-assign]
        self.rename = self._changing(os.rename)  # type: ignore[method-assign]
        self.unlink = self._changing(os.unlink)  # type: ignore[method-assign]
        self.open = self._changing(os.open)  # type: ignore[method-assign]

    def _is_time(self) -> bool:
        self.left -= 1
        return self.left == -1

    def _changing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any) -> Any:
            if self._is_time():
                self._stop()
            return call(*args)

        return changed

    def _pwrite(self, fd: int, data: Any, position: int) -> int:
        if self._is_time():
            os.pwrite(fd, bytes(data)[: len(data) // 2], position)
            self._stop()
        written = os.pwrite(fd, data, position)
        if self._is_time():
            self._stop()
        return written

    def _pwritev(self, fd: int, data: Any, position: int) -> int:
        return self._pwrite(fd, b"".join(data), position)


def write_all(path: Path, filesystem: FileSystem | None = None) -> list[int]:
    """Append every batch of the producer, whatever was appended before; return the base offsets."""
    log = eventlog.EventLog(path, filesystem=filesystem)
    partition = log.topic("t").partitions[0]
    stamp, offsets = FIRST, []
    for values in BATCHES:
        batches = partition.encode(values, stamp=stamp)
        offsets.append(partition.log.writer.append(batches, None, stamp).base_offset)
        stamp = stamp.after(len(values))
    log.close()
    return offsets


def killed_at(path: Path, step: int) -> bool:
    """Append them all in a child that is killed at this step; False when it ended before."""

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    status = fork(lambda: write_all(path, StoppingFileSystem(step, kill)))
    assert status in (0, -signal.SIGKILL)
    return status != 0


def assert_one_copy(path: Path) -> None:
    with eventlog.open(path) as log:
        partition = log.topic("t").partitions[0]
        batches = partition.read(0, 1 << 30)
        assert [value for batch in batches for value in batch.values()] == [v for values in BATCHES for v in values]
        assert [batch.base_sequence for batch in batches] == [batch.base_offset for batch in batches]
        assert partition.verify().ok


@pytest.mark.parametrize("kills", [1, 2])
def test_killed_at_every_step_and_repeated_by_the_next_process(tmp_path: Path, kills: int) -> None:
    """Whoever repeats a killed program's appends from the first one on writes only what is missing.

    The kills come before each open, rename and removal, in the middle of each write and behind it, snapshots included;
    with two, the program that repeats is killed as well, a few steps later.
    """
    step = 0
    while True:
        path = tmp_path / str(step)
        with eventlog.open(path) as log:
            log.create_topic("t", **SMALL)
        died = killed_at(path, step)
        if kills == 2:
            killed_at(path, step // 2 + 3)
        assert write_all(path) == [2 * number for number in range(len(BATCHES))]
        assert write_all(path) == [2 * number for number in range(len(BATCHES))]
        assert_one_copy(path)
        if not died:
            break
        step += 2 * kills - 1
    assert step > 40  # there are so many


# --- interrupts ---


class FlakyFileSystem(FileSystem):
    """Real files; a share of the writes fails."""

    def __init__(self, chance: random.Random) -> None:
        self.share = 0.0
        self._chance = chance
        self.pwrite = self._pwrite  # type: ignore[method-assign]
        self.pwritev = self._pwritev  # type: ignore[method-assign]

    def _pwrite(self, fd: int, data: Any, position: int) -> int:
        if self._chance.random() < self.share:
            raise OSError(errno.ENOSPC, "full")
        return os.pwrite(fd, data, position)

    def _pwritev(self, fd: int, data: Any, position: int) -> int:
        return self._pwrite(fd, b"".join(data), position)


class Sender:
    """Sends records one by one, flushes, waits, and sends lists; each call may be interrupted."""

    def __init__(self, producer: eventlog.Producer, interrupter: Interrupter, longest: float) -> None:
        self.accepted: dict[bytes, eventlog.Delivery] = {}
        self.lists: dict[bytes, bool] = {}  # and whether their call returned
        self._producer = producer
        self._interrupter = interrupter
        self._longest = longest

    def step(self, number: int) -> None:
        value = b"%d" % number
        if number % 10 == 9:
            many, _ = self._interrupter.call(lambda: self._producer.send_many("t", [value] * 2), self._longest)
            self.lists[value] = many is not None
            return
        delivery, _ = self._interrupter.call(lambda: self._producer.send("t", value), self._longest / 2)
        if number % 3 == 0:
            self._interrupter.call(self._producer.flush, self._longest)
        if delivery is not None:
            self.accepted[value] = delivery
            if number % 7 == 0:
                self._interrupter.call(delivery.result, self._longest)

    def check(self, partition: eventlog.Partition, first: int) -> None:
        """Each accepted record is there once, in order, where its delivery says; a list once or not at all."""
        values = [value for batch in partition.read(0, 1 << 30) for value in batch.values()]
        for value, delivery in self.accepted.items():
            assert values[delivery.result().offset] == value
        for value, returned in self.lists.items():
            assert values.count(value) in ((2,) if returned else (0, 2))
        singles = [value for value in values[first:] if value is not None and value not in self.lists]
        assert singles == sorted(set(singles), key=int)
        assert set(self.accepted) <= set(singles)


@pytest.mark.timeout(300, method="thread")  # the other method would take the alarm signal for itself
def test_interrupts_and_failures_together(
    tmp_path: Path, interrupter: Interrupter, caplog: pytest.LogCaptureFixture
) -> None:
    """Writes fail and calls are interrupted, both at random moments: one copy of each record that was accepted."""
    caplog.set_level(logging.ERROR, logger="eventlog")  # an interrupt within `logging` leaves its locks taken
    logging.getLogger("eventlog").warning("not shown")
    flaky = FlakyFileSystem(random.Random(19700101))
    with eventlog.EventLog(tmp_path / "log", filesystem=flaky) as log:
        partition = log.create_topic("t", segment_bytes=8192, index_interval_bytes=512).partitions[0]
        with log.producer(batch_size=400, linger_ms=1, retry_backoff_ms=0) as producer:
            longest = 3 * typical_seconds(lambda: producer.send("t", b"warm").result(), 50)
            sender = Sender(producer, interrupter, longest)
            flaky.share = 0.2
            for number in interrupter.rounds(1500):
                sender.step(number)
        flaky.share = 0.0
        sender.check(partition, 50)
        assert partition.verify().ok


# --- a disk that is really full ---

FULL = r"""
import os, subprocess, sys, time, eventlog
mount = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], check=True)
with eventlog.open(os.path.join(mount, "log")) as log:
    partition = log.create_topic("t", segment_bytes=16384).partitions[0]
    with log.producer(linger_ms=1, retry_backoff_ms=1) as producer:
        producer.send("t", b"before").result()
        ballast = os.open(os.path.join(mount, "ballast"), os.O_CREAT | os.O_WRONLY)
        size = 0
        try:
            while True:
                size += os.pwrite(ballast, b"b" * 4096, size)
        except OSError:
            pass
        sent = [producer.send("t", b"%d" % n + b"x" * 3000) for n in range(20)]
        cause, deadline = None, time.monotonic() + 30
        while cause is None and time.monotonic() < deadline:  # until it was tried
            try:
                sent[-1].result(0.2)
                raise SystemExit("there was room")
            except eventlog.DeliveryTimeoutError as error:
                cause = error.__cause__
        assert isinstance(cause, eventlog.LogFullError), cause
        assert not sent[-1].done()
        os.unlink(os.path.join(mount, "ballast"))
        os.close(ballast)
        assert [one.result(30).offset for one in sent] == list(range(1, 21))
    values = [value for batch in partition.read(0, 1 << 30) for value in batch.values()]
    assert values == [b"before"] + [b"%d" % n + b"x" * 3000 for n in range(20)]
    assert partition.verify().ok
"""


@pytest.mark.root
@pytest.mark.skipif(not _IS_ROOT and os.environ.get("CI") != "true", reason="needs root and a file system of its own")
def test_a_full_disk_that_is_freed(tmp_path: Path) -> None:
    """Sends into a full file system wait; once there is room again, each record is there once, in order."""
    assert _IS_ROOT, "a file system of its own needs root"
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", FULL, str(tmp_path)],
        capture_output=True, text=True, timeout=100, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
