"""A log in a lower layer of overlayfs, as in an image: files are copied up when they are first opened for writing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.files.file_lock import FileLock, is_locked
from eventlog.files.filesystem import FileSystem

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")]

OPTIONS = ["", "metacopy=on,index=on", "xino=off"]
TOGETHER = ["same file system", "two file systems"]


@pytest.fixture(params=OPTIONS)
def options(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=TOGETHER)
def merged(request: pytest.FixtureRequest, options: str) -> Iterator[Path]:
    """A mounted overlay whose lower layer has a log with 100 records in its one partition."""
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        for name in ("lower", "layers", "merged"):
            (base / name).mkdir()
        mounted: list[Path] = []
        try:
            if request.param == TOGETHER[1]:
                _mount(mounted, "tmpfs", "tmpfs", base / "lower")
            _mount(mounted, "tmpfs", "tmpfs", base / "layers")
            for name in ("upper", "work"):
                (base / "layers" / name).mkdir()
            lower = base / "lower"
            if request.param == TOGETHER[0]:
                lower = base / "layers" / "lower"
                lower.mkdir()
            _fill(lower / "log")
            layers = f"lowerdir={lower},upperdir={base}/layers/upper,workdir={base}/layers/work"
            _mount(mounted, "overlay", "overlay", base / "merged", ",".join(filter(None, [layers, options])))
            yield base / "merged"
        finally:
            for place in reversed(mounted):
                subprocess.run(["umount", "-l", place], check=False)


def _mount(mounted: list[Path], kind: str, source: str, place: Path, options: str = "") -> None:
    command = ["mount", "-t", kind, *(["-o", options] if options else []), source, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot be mounted here: {done.stderr.strip()}")
    mounted.append(place)


def _fill(path: Path) -> None:
    with eventlog.open(path) as log:
        topic = log.create_topic("t", index_interval_bytes=0, segment_bytes=1 << 20)
        for number in range(100):
            topic.partitions[0].append([b"seed %d" % number], timestamps_ms=number)
        with log.consumer("t", group="g", auto_offset_reset="earliest") as consumer:
            consumer.poll(10)
            consumer.commit()


def _values(partition: eventlog.Partition) -> list[bytes | None]:
    return [value for batch in partition.read(0, max_bytes=1 << 24) for value in batch.values()]


def _write(log: eventlog.EventLog, count: int = 300) -> None:
    """Enough that the segment and its indexes outgrow the pages that they had in the lower layer."""
    for number in range(100, 100 + count):
        log.topic("t").partitions[0].append([b"seed %d" % number], timestamps_ms=number)


ALL = [b"seed %d" % number for number in range(400)]


def test_who_read_before_the_first_write_reads_on(merged: Path) -> None:
    """A consumer that has mapped the old files gets every later record, by offset and by time; nothing is damaged."""
    with eventlog.open(merged / "log") as log:
        consumer = log.consumer("t", auto_offset_reset="earliest")
        partition = log.topic("t").partitions[0]
        assert [record.value for record in consumer.poll(10)] == ALL[:100]
        assert partition.offset_for_time(50) == 50
        _write(log)
        assert [record.value for record in consumer.poll(10)] == ALL[100:]
        assert _values(partition) == ALL
        assert [partition.offset_for_time(ms) for ms in (0, 99, 100, 250, 399)] == [0, 99, 100, 250, 399]
        assert partition.verify().ok


def test_one_record_more_is_read(merged: Path) -> None:
    """Also one that ends within the page in which the old file ended."""
    with eventlog.open(merged / "log") as log:
        consumer = log.consumer("t", auto_offset_reset="earliest")
        assert len(consumer.poll(10)) == 100
        for number in range(100, 110):
            log.topic("t").partitions[0].append([b"seed %d" % number], timestamps_ms=number)
            assert [record.value for record in consumer.poll(10)] == [b"seed %d" % number]


def test_a_read_only_process_follows_a_writer_that_comes_later(merged: Path, run_python: Callable[..., Any]) -> None:
    """A reader that has mapped segments, indexes and the control page of the lower layer sees what another process
    writes, its topics, and reads on; and it may stay while writers go and come.
    """
    write = """
import eventlog
with eventlog.open(ARGS[0]) as log:
    for number in range(int(ARGS[1]), int(ARGS[2])):
        log.topic("t").partitions[0].append([b"seed %d" % number], timestamps_ms=number)
    log.create_topic("u" + ARGS[1])
"""
    with eventlog.open(merged / "log", readonly=True) as reader:
        consumer = reader.consumer("t", auto_offset_reset="earliest")
        partition = reader.topic("t").partitions[0]
        assert [record.value for record in consumer.poll(10)] == ALL[:100]
        assert partition.offset_for_time(50) == 50
        with eventlog.open(merged / "log") as log:
            log.topic("t").partitions[0].append([ALL[100]], timestamps_ms=100)
            assert [record.value for record in consumer.poll(60)] == ALL[100:101]
            run_python(write, merged / "log", 101, 250)
            assert [record.value for record in consumer.poll(60)] == ALL[101:250]
            assert reader.topics() == ["t", "u101"]
        with eventlog.open(merged / "log") as log:
            run_python(write, merged / "log", 250, 400)
            assert [record.value for record in consumer.poll(60)] == ALL[250:]
            assert reader.topics() == ["t", "u101", "u250"]
            assert _values(partition) == ALL and partition.verify().ok
            assert partition.offset_for_time(300) == 300
            assert log.topic("t").partitions[0].verify().ok


def test_groups_and_locks_are_one_over_both_layers(merged: Path) -> None:
    """A lock's file that is opened before it is copied up and one that is opened after it are one lock."""
    with eventlog.open(merged / "log") as log:
        with log.consumer("t", group="g", auto_offset_reset="earliest") as consumer:
            assert consumer.committed(eventlog.TopicPartition("t", 0)) == eventlog.OffsetAndMetadata(100)
            _write(log)
            assert [record.value for record in consumer.poll(10)] == ALL[100:]
        assert log.group("g").state == "empty"
    lock = merged / "log" / "groups" / "g" / "lock"
    before = os.open(lock, os.O_RDONLY)
    after = FileLock(FileSystem(), str(lock))
    after.acquire()
    try:
        assert is_locked(FileSystem(), str(lock))
        with pytest.raises(BlockingIOError):
            fcntl.flock(before, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        after.close()
        os.close(before)


def test_a_file_that_gets_another_number_is_still_the_log(merged: Path) -> None:
    """``chown`` of the whole directory copies everything up, ``eventlog.json`` too: that is no move."""
    with eventlog.open(merged / "log", readonly=True) as reader, eventlog.open(merged / "log") as log:
        consumer = reader.consumer("t", auto_offset_reset="earliest")
        assert len(consumer.poll(10)) == 100
        for found in sorted((merged / "log").rglob("*")):
            os.chown(found, 0, 0)
            found.chmod(found.stat().st_mode & 0o7777 | 0o400)
        assert reader.topics() == log.topics() == ["t"]
        _write(log, 10)
        assert [record.value for record in consumer.poll(10)] == ALL[100:110]
        assert log.create_topic("u").partitions[0].append([b"x"]).base_offset == 0
