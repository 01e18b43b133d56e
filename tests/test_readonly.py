"""A log that is opened for reading only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog

WRITE_AND_DIE = """
import os, eventlog
log = eventlog.open(ARGS[0])
partition = log.create_topic("t", exist_ok=True).partitions[0]
for value in ARGS[1:]:
    partition.append([value.encode()])
os._exit(0)  # neither a close nor a sync
"""
OPEN_TO_WRITE = """
import eventlog
with eventlog.open(ARGS[0]) as log:
    partition = log.topic("t").partitions[0]
    values = [v.decode() for batch in partition.read(0) for v in batch.values()]
    answer([partition.recovery is not None, partition.log_end_offset, values])
"""


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below ``root`` with its bytes and its time of change."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def cut_last_batch(log_path: Path, size: int) -> None:
    """What a power cut may do to an unsynced segment."""
    segment = log_path / "topics" / "t" / "0" / f"{0:020d}.log"
    os.truncate(segment, segment.stat().st_size - size)


def test_reading_only_changes_no_byte(log_path: Path, run_python: Callable[..., Any]) -> None:
    """A log opened with readonly=True is read, verified and closed without one byte or one file being changed."""
    run_python(WRITE_AND_DIE, log_path, "a", "b")
    with open(log_path / "topics" / "t" / "0" / f"{0:020d}.log", "ab") as segment:
        segment.write(b"torn")
    before = contents(log_path)
    with eventlog.open(log_path, readonly=True) as log:
        partition = log.topic("t").partitions[0]
        assert [batch.values() for batch in partition.read(0)] == [[b"a"], [b"b"]]
        assert partition.verify().ok
        assert partition.recovery is not None and partition.recovery.torn_bytes == 4
        with pytest.raises(eventlog.ReadOnlyLogError):
            partition.append([b"c"])
        with pytest.raises(eventlog.ReadOnlyLogError):
            log.create_topic("u")
        with pytest.raises(eventlog.ReadOnlyLogError, match="can be written"):
            log.producer()
    assert contents(log_path) == before


@pytest.mark.parametrize("make", [False, True], ids=["no directory", "empty directory"])
def test_reading_only_creates_no_log(log_path: Path, make: bool) -> None:
    """Where no log lies, readonly=True is NotALogError, and nothing is created."""
    if make:
        log_path.mkdir()
    with pytest.raises(eventlog.NotALogError):
        eventlog.open(log_path, readonly=True)
    assert not log_path.exists() or list(log_path.iterdir()) == []


def test_a_lone_reader_keeps_no_session_open(log_path: Path, run_python: Callable[..., Any]) -> None:
    """A writer that comes after a power cut recovers the partition, even while a reader has the log open already."""
    run_python(WRITE_AND_DIE, log_path, "a", "b", "c")
    cut_last_batch(log_path, 8)
    with eventlog.open(log_path, readonly=True) as reader:
        assert reader.topic("t").partitions[0].log_end_offset == 2
        assert run_python(OPEN_TO_WRITE, log_path) == [True, 2, ["a", "b"]]


def test_a_reader_follows_a_writer(log: eventlog.EventLog, log_path: Path) -> None:
    """A read-only opening beside a writer sees what the writer publishes from then on."""
    partition = log.create_topic("t").partitions[0]
    partition.append([b"a"])
    with eventlog.open(log_path, readonly=True) as reader:
        seen = reader.topic("t").partitions[0]
        assert seen.log_end_offset == 1
        partition.append([b"b"])
        assert [batch.values() for batch in seen.read(0)] == [[b"a"], [b"b"]]
        log.create_topic("u")
        assert reader.topics() == ["t", "u"]


def test_a_copy_without_its_control_files_can_be_read(log_path: Path, run_python: Callable[..., Any]) -> None:
    """A backup that left out locks, head and control page reads back whole."""
    run_python(WRITE_AND_DIE, log_path, "a", "b")
    for name in ("lock", "session.lock", "control", "topics/t/0/lock", "topics/t/0/head"):
        (log_path / name).unlink()
    with eventlog.open(log_path, readonly=True) as log:
        assert [batch.values() for batch in log.topic("t").partitions[0].read(0)] == [[b"a"], [b"b"]]


def test_verification_sees_a_damaged_head(log_path: Path, run_python: Callable[..., Any]) -> None:
    """A flipped bit in the recovery point on disk is a problem in the report, although no record is lost."""
    run_python(OPEN_TO_WRITE.replace("log.topic", "log.create_topic"), log_path)
    head = log_path / "topics" / "t" / "0" / "head"
    raw = bytearray(head.read_bytes())
    raw[32 * 8] ^= 1
    head.write_bytes(raw)
    with eventlog.open(log_path, readonly=True) as log:
        report = log.topic("t").partitions[0].verify()
    assert not report.ok and not report.damaged
    assert "recovery point" in report.problems[0]


def test_a_lone_reader_follows_the_writers_that_come_later(log_path: Path, run_python: Callable[..., Any]) -> None:
    """Who opened a log for reading while nobody had it open sees what later writers append, and new topics."""
    run_python(WRITE_AND_DIE, log_path, "a")
    with eventlog.open(log_path, readonly=True) as reader:
        consumer = reader.consumer("t", auto_offset_reset="earliest")
        assert [record.value for record in consumer.poll()] == [b"a"]
        assert consumer.poll() == []
        with eventlog.open(log_path) as writer:
            writer.topic("t").partitions[0].append([b"b"])
            assert [record.value for record in consumer.poll()] == [b"b"]
            assert reader.topic("t").partitions[0].log_end_offset == 2
            writer.create_topic("u").partitions[0].append([b"c"])
            assert reader.topic("u").partitions[0].read(0)[0].values() == [b"c"]
            writer.topic("t").partitions[0].append([b"d"])
            assert [record.value for record in consumer.poll(timeout=10)] == [b"d"]
