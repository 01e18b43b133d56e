"""A device that fails is never trusted again before the log was read back from it.

The failures come from a file system object that refuses single calls, and, in another process, from the kernel's
side: strace makes a system call of a running process return EIO.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.files.filesystem import FileSystem

needs_strace = pytest.mark.skipif(
    os.environ.get("CI") != "true" and shutil.which("strace") is None, reason="strace is not installed"
)

_PRELUDE = "import sys, eventlog\nlog = eventlog.open(sys.argv[1])\npartition = log.topic('t').partitions[0]\n"


class FailingFileSystem(FileSystem):
    """Fails the n-th next call of one name, or several from then on."""

    def __init__(self) -> None:
        self._left: dict[str, int] = {}

    def fail(self, call: str, after: int = 0, *, times: int = 1, code: int = errno.EIO) -> None:
        self._left[call], self._times, self._code = after, times, code

    def _meet(self, call: str) -> None:
        left = self._left.get(call)
        if left is None:
            return
        self._left[call] = left - 1
        if left <= 0:
            if left == 1 - self._times:
                del self._left[call]
            raise OSError(self._code, os.strerror(self._code))

    def sync(self, fd: int) -> None:  # type: ignore[override]
        self._meet("sync")
        os.fdatasync(fd)

    def sync_directory(self, path: str) -> None:
        self._meet("sync_directory")
        super().sync_directory(path)

    def pwrite(self, fd: int, data: Any, position: int) -> int:  # type: ignore[override]
        self._meet("write")
        return os.pwrite(fd, data, position)

    def pwritev(self, fd: int, parts: Any, position: int) -> int:  # type: ignore[override]
        self._meet("write")
        return os.pwritev(fd, parts, position)


def _in_another_process(path: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + code, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _values(partition: eventlog.Partition) -> list[bytes | None]:
    values: list[bytes | None] = []
    while batches := partition.read(len(values)):
        for batch in batches:
            values += batch.values()
    return values


@pytest.mark.parametrize("call", ["sync", "sync_directory"])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda log, partition: partition.append([b"x"], durability="disk"), id="durable append"),
        pytest.param(lambda log, partition: (partition.append([b"x"]), partition.flush()), id="flush"),
        pytest.param(
            lambda log, partition: log.producer(durability="disk").send("t", b"x", partition=0).result(),
            id="producer",
        ),
    ],
)
def test_failed_sync(tmp_path: Path, call: str, write: Callable[[Any, Any], object]) -> None:
    """After a failed sync a partition refuses writes in every process until reopened; nothing durable is lost."""
    filesystem = FailingFileSystem()
    log = eventlog.open(tmp_path, filesystem=filesystem)
    partition = log.create_topic("t").partitions[0]
    if call == "sync":  # a directory is synced only for the first records of a segment
        assert partition.append([b"durable"], durability="disk").durable
    before = _values(partition)
    filesystem.fail(call)
    with pytest.raises(eventlog.StorageError, match="failed to sync"):
        write(log, partition)
    for durability in ("os", "disk"):
        with pytest.raises(eventlog.StorageError, match="refuses writes"):
            partition.append([b"no"], durability=durability)
    delivery = log.producer().send("t", b"no", partition=0)
    assert isinstance(delivery.exception(), eventlog.StorageError)
    assert _values(partition)[: len(before)] == before  # reading goes on
    with pytest.raises(eventlog.StorageError):
        log.close()  # it cannot bring to the device what it wrote, and says so
    with eventlog.open(tmp_path) as log:
        partition = log.topic("t").partitions[0]
        found = _values(partition)
        assert found[: len(before)] == before
        assert set(found[len(before) :]) <= {b"x"}
        assert partition.verify().ok
        result = partition.append([b"again"], durability="disk")
        assert (result.base_offset, result.durable) == (len(found), True)


def test_a_failed_sync_is_known_to_other_processes(tmp_path: Path) -> None:
    """A process that has the partition open is refused as well, until some process has opened it anew."""
    filesystem = FailingFileSystem()
    log = eventlog.open(tmp_path, filesystem=filesystem)
    partition = log.create_topic("t").partitions[0]
    partition.append([b"durable"], durability="disk")
    code = (
        "partition.append([b'other'])\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "try:\n    partition.append([b'no'])\nexcept eventlog.StorageError:\n    print('refused')\n"
        "import os; sys.stdout.flush(); os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", _PRELUDE + code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        filesystem.fail("sync")
        with pytest.raises(eventlog.StorageError):
            partition.append([b"x"], durability="disk")
        assert other.communicate("go\n", timeout=60)[0] == "refused\n"
    with pytest.raises(eventlog.StorageError):
        log.close()
    assert _in_another_process(tmp_path, "print(partition.append([b'again']).base_offset)") == "3"


def test_failed_sync_in_a_roll(tmp_path: Path) -> None:
    """A roll syncs the segment before: when that fails, it is not tried again, and the partition refuses writes."""
    filesystem = FailingFileSystem()
    log = eventlog.open(tmp_path, filesystem=filesystem)
    partition = log.create_topic("t", segment_bytes=1024).partitions[0]
    filesystem.fail("sync")
    with pytest.raises(eventlog.StorageError):
        for _ in range(50):
            partition.append([b"x" * 300])
    written = partition.log_end_offset
    assert 0 < written < 50
    with pytest.raises(eventlog.StorageError, match="refuses writes"):
        partition.append([b"y"])
    with pytest.raises(eventlog.StorageError):
        log.close()
    with eventlog.open(tmp_path) as log:
        partition = log.topic("t").partitions[0]
        assert partition.append([b"y"]).base_offset == written
        assert partition.verify().ok


@pytest.mark.parametrize("after", [0, 1])
def test_failed_write(tmp_path: Path, after: int) -> None:
    """A write that fails, of a batch or of an index entry, publishes nothing, and the next append works."""
    filesystem = FailingFileSystem()
    with eventlog.open(tmp_path, filesystem=filesystem) as log:
        partition = log.create_topic("t", index_interval_bytes=0).partitions[0]
        partition.append([b"0"])
        filesystem.fail("write", after)
        with pytest.raises(eventlog.StorageError):
            partition.append([b"no"])
        assert _values(partition) == [b"0"]
        partition.append([b"1"])
        assert _values(partition) == [b"0", b"1"]
        filesystem.fail("write", after)
        delivery = log.producer(retries=0).send("t", b"no", partition=0)
        assert isinstance(delivery.exception(), eventlog.StorageError)
        filesystem.fail("write", after)
        assert log.producer().send("t", b"2", partition=0).result().offset == 2  # tried again
    with eventlog.open(tmp_path) as log:
        partition = log.topic("t").partitions[0]
        assert _values(partition) == [b"0", b"1", b"2"]
        assert partition.verify().ok


def test_records_of_several_segments_are_written_again(tmp_path: Path) -> None:
    """After a failed sync all that was written since the last one that succeeded is written again, byte for byte."""
    filesystem = FailingFileSystem()
    log = eventlog.open(tmp_path, filesystem=filesystem)
    partition = log.create_topic("t", segment_bytes=10_000, flush_messages=1 << 40).partitions[0]
    reader = eventlog.open(tmp_path).topic("t").partitions[0]
    written = [b"%d" % number * (number * 37 % 3000) for number in range(60)]
    for value in written:
        partition.append([value])
    assert _values(reader) == written
    filesystem.fail("sync")
    with pytest.raises(eventlog.StorageError):
        partition.flush()
    with pytest.raises(eventlog.StorageError):
        log.close()
    with eventlog.open(tmp_path) as log:
        partition = log.topic("t").partitions[0]
        for value in written:
            partition.append([value], durability="disk")
        assert _values(partition) == _values(reader) == 2 * written
        assert partition.verify().ok
    with eventlog.open(tmp_path) as log:
        partition = log.topic("t").partitions[0]
        assert _values(partition) == 2 * written
        assert partition.verify().ok


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [(errno.ENOSPC, eventlog.LogFullError, "once more"), (errno.EIO, eventlog.StorageError, "Input/output")],
)
def test_what_is_in_doubt_cannot_be_written_again(tmp_path: Path, code: int, error: type[Exception], says: str) -> None:
    """A write of records that have to be written once more is no sync that has failed: the next try succeeds."""
    filesystem = FailingFileSystem()
    with eventlog.open(tmp_path, filesystem=filesystem) as log:
        partition = log.create_topic("t").partitions[0]
        partition.append([b"0"])
        filesystem.fail("write", times=2, code=code)  # first that by which others know whose sync it is
        with pytest.raises(error, match=says):
            partition.flush()
        assert not partition.is_poisoned
        assert partition.durable_end_offset == 0
        partition.flush()
        assert partition.durable_end_offset == 1
        assert partition.append([b"1"], durability="disk").base_offset == 1
    with eventlog.open(tmp_path) as log:
        assert _values(log.topic("t").partitions[0]) == [b"0", b"1"]


@needs_strace
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_failed_sync_by_the_kernel(tmp_path: Path, n: int) -> None:
    """When the n-th fdatasync of a process fails, it learns so, and what was durable before survives."""
    code = (
        "import sys, eventlog\n"
        "log = eventlog.open(sys.argv[1])\n"
        "partition = log.create_topic('t', segment_bytes=1024).partitions[0]\n"
        "try:\n"
        "    for n in range(10):\n"
        "        print(partition.append([b'%d' % n], durability='disk').last_offset, flush=True)\n"
        "except eventlog.StorageError:\n"
        "    try:\n"
        "        partition.append([b'no'])\n"
        "    except eventlog.StorageError:\n"
        "        print('refused')\n"
    )
    skipped = 2  # eventlog.json and topic.json
    done = subprocess.run(
        [
            "strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync",
            "-e", f"inject=fdatasync:error=EIO:when={skipped + n}",
            sys.executable, "-c", code, str(tmp_path),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    *acknowledged, last = done.stdout.split()
    assert last == "refused", done.stderr
    assert acknowledged == [str(number) for number in range(n - 1)]
    with eventlog.open(tmp_path) as log:
        partition = log.topic("t").partitions[0]
        found = _values(partition)
        assert found in ([b"%d" % number for number in range(n - 1)], [b"%d" % number for number in range(n)])
        assert partition.verify().ok
        assert partition.append([b"again"], durability="disk").base_offset == len(found)
