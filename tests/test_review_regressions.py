"""Defects that a review found, each told by what is true now that it is mended."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.files.filesystem import FileSystem
from eventlog.format import record_batch
from eventlog.model import TopicPartition


class FailingFileSystem(FileSystem):
    """Real files; ``on_write`` and ``on_open`` are called with the path, and may raise."""

    def __init__(self) -> None:
        self.paths: dict[int, str] = {}
        self.on_write: Callable[[str], None] = lambda path: None  # after the bytes are in the file
        self.on_open: Callable[[str], None] = lambda path: None
        self.open = self._open  # type: ignore[method-assign]
        self.pwrite = self._pwrite  # type: ignore[method-assign]
        self.pwritev = self._pwritev  # type: ignore[method-assign]

    def _open(self, path: str, *args: Any) -> int:
        self.on_open(path)
        fd = os.open(path, *args)
        self.paths[fd] = path
        return fd

    def _pwrite(self, fd: int, data: Any, position: int) -> int:
        written = os.pwrite(fd, data, position)
        self.on_write(self.paths.get(fd, ""))
        return written

    def _pwritev(self, fd: int, data: Any, position: int) -> int:
        written = os.pwritev(fd, data, position)
        self.on_write(self.paths.get(fd, ""))
        return written


def failing(name: str, code: int, times: int = 1) -> Callable[[str], None]:
    """Fail with ``code`` the first ``times`` times that a path of this end comes."""
    left = [times]

    def fail(path: str) -> None:
        if path.endswith(name) and left[0]:
            left[0] -= 1
            raise OSError(code, os.strerror(code), path)

    return fail


def values_of(partition: Any, offset: int = 0) -> list[bytes | None]:
    """Return the first byte of each value from ``offset`` on."""
    return [value[:1] for batch in partition.read(offset, 1 << 30) for value in batch.values()]


SECOND_SEGMENT = "00000000000000000001.log"
FIRST_SEGMENT = "00000000000000000000.log"


def test_a_writer_whose_roll_failed_never_writes_into_a_segment_that_another_writer_removed(log_path: Path) -> None:
    """A roll fails, and so does clearing away after it; another process rolls there: later records are all found."""
    fs = FailingFileSystem()
    with eventlog.EventLog(log_path, filesystem=fs) as first, eventlog.open(log_path) as second:
        ours = first.create_topic("t", segment_bytes=4096).partitions[0]
        theirs = second.topic("t").partitions[0]
        ours.append([b"a" * 3000])

        def fail(path: str) -> None:
            fs.on_write = lambda path: None
            fs.on_open = failing(FIRST_SEGMENT, errno.EMFILE)
            raise OSError(errno.ENOSPC, "full")

        fs.on_write = lambda path: fail(path) if path.endswith(SECOND_SEGMENT) else None
        with pytest.raises(eventlog.LogFullError):
            ours.append([b"x" * 3000])
        theirs.append([b"b" * 2000])
        ours.append([b"c" * 500])
        assert values_of(theirs) == [b"a", b"b", b"c"]


KILLED_IN_A_ROLL = """
import os, eventlog
from eventlog.files.filesystem import FileSystem
class Killed(FileSystem):
    def __init__(self): self.pwrite = self.die; self.pwritev = self.diev
    def die(self, fd, data, position):
        written = os.pwrite(fd, data, position)
        return os._exit(0) if os.readlink(f"/proc/self/fd/{fd}").endswith("1.log") else written
    def diev(self, fd, data, position):
        written = os.pwritev(fd, data, position)
        return os._exit(0) if os.readlink(f"/proc/self/fd/{fd}").endswith("1.log") else written
partition = eventlog.EventLog(ARGS[0], filesystem=Killed()).topic("t").partitions[0]
partition.append([b"unpublished" * 300])
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="finds a descriptor's path in /proc")
@pytest.mark.parametrize("size", [10, 3000])
def test_a_reader_never_sees_the_segment_of_a_roll_that_was_never_published(
    log_path: Path, run_python: Callable[..., Any], size: int
) -> None:
    """A writer is killed while it rolls; whoever searched meanwhile reads the records that were published later."""
    with eventlog.open(log_path) as log, eventlog.open(log_path) as other:
        log.create_topic("t", segment_bytes=4096).partitions[0].append([b"a" * 3000])
        reading = other.topic("t").partitions[0]
        run_python(KILLED_IN_A_ROLL, log_path)
        assert reading.offset_for_time(2**62) is None
        log.topic("t").partitions[0].append([b"b" * size])
        assert values_of(reading, 1) == [b"b"]
        assert reading.offset_for_time(0) == 0


def test_a_sync_that_found_no_free_descriptor_does_not_poison_the_partition(log_path: Path) -> None:
    """Too many open files is no failure of the device: the append is told, and the next one goes on."""
    fs = FailingFileSystem()
    with eventlog.EventLog(log_path, filesystem=fs) as log:
        partition = log.create_topic("t").partitions[0]
        partition.append([b"a"])
        fs.on_open = failing(FIRST_SEGMENT, errno.EMFILE)
        with pytest.raises(eventlog.StorageError, match="Too many open files"):
            partition.append([b"b"], durability="disk")
        assert partition.append([b"c"], durability="disk").durable


def test_a_durable_append_whose_topic_is_made_anew_meanwhile_ends(
    log_path: Path, run_python: Callable[..., Any]
) -> None:
    """A topic is deleted and made again before an append's records are synced: whoever waits is told, and ends."""
    script = """
import eventlog
log = eventlog.open(ARGS[0])
old = log.create_topic("t").partitions[0]
old.append([b"old"])
waiting = old.log.flusher
log.delete_topic("t")
log.create_topic("t").partitions[0].append([b"new"])
try:
    waiting.sync_to(1, old.log.head.life)
except eventlog.UnknownTopicError:
    answer(True)
"""
    assert run_python(script, log_path, timeout=30) is True


def test_what_a_poll_had_found_before_an_operating_system_error_is_returned(log_path: Path) -> None:
    """One partition cannot be opened for want of descriptors: the records of the other one are not passed by."""
    fs = FailingFileSystem()
    with eventlog.EventLog(log_path, filesystem=fs) as log:
        for partition in log.create_topic("t", partitions=2).partitions:
            partition.append([b"%d" % partition.number])
        consumer = log.consumer("t", auto_offset_reset="earliest")
        fs.on_open = failing(os.path.join("1", FIRST_SEGMENT), errno.EMFILE)
        found = []
        for _ in range(4):
            with contextlib.suppress(OSError):
                found += [record.value for record in consumer.poll()]
        assert sorted(found) == [b"0", b"1"]


def test_a_batch_that_could_not_be_decoded_is_read_again(log: eventlog.EventLog) -> None:
    """An error while records are made of a batch leaves the position before them."""
    log.create_topic("t").partitions[0].append([b"a", b"b"], headers=[[("h", b"1")], None])
    consumer = log.consumer("t", auto_offset_reset="earliest")
    tp = TopicPartition("t", 0)
    original = record_batch.find_columns
    try:
        record_batch.find_columns = lambda *_: (_ for _ in ()).throw(eventlog.MissingExtraError("no codec"))
        with pytest.raises(eventlog.MissingExtraError):
            consumer.poll()
    finally:
        record_batch.find_columns = original
    assert consumer.position(tp) == 0
    assert [record.value for record in consumer.poll()] == [b"a", b"b"]


def test_a_compressed_batch_is_decompressed_once_however_its_records_are_taken(
    log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that are taken one by one cost one decompression of their batch, and not one each."""
    log.create_topic("t", compression_type="gzip").partitions[0].append([b"%d" % n for n in range(100)])
    calls = []
    original = record_batch._decompressed
    monkeypatch.setattr(record_batch, "_decompressed", lambda *args: calls.append(1) or original(*args))
    consumer = log.consumer("t", auto_offset_reset="earliest")
    found = [consumer.poll(max_records=1)[0] for _ in range(100)]
    assert [(record.offset, record.value) for record in found] == [(n, b"%d" % n) for n in range(100)]
    assert len(calls) == 1


@pytest.mark.parametrize("closes", [False, True])
def test_a_producer_may_be_collected_in_the_middle_of_an_append(
    log_path: Path, run_python: Callable[..., Any], closes: bool
) -> None:
    """The collector may run while an append holds a partition: the records of a dropped producer follow it."""
    script = """
import faulthandler, gc, os, eventlog
from eventlog.files.filesystem import FileSystem
faulthandler.dump_traceback_later(30, exit=True)
class Collecting(FileSystem):
    armed = False
    def __init__(self): self.pwrite = self.collect
    def collect(self, *args):
        if self.armed: gc.collect()
        return os.pwrite(*args)
fs = Collecting()
log = eventlog.EventLog(ARGS[0], filesystem=fs)
partition = log.create_topic("t").partitions[0]
gc.disable()
log.producer(linger_ms=10**9).send("t", b"left")
partition.append([b"first"])
fs.armed = True
partition.append([b"second"])
if ARGS[1] == "True": log.close()
"""
    run_python(script, log_path, closes)
    with eventlog.open(log_path) as log:
        assert values_of(log.topic("t").partitions[0]) == [b"f", b"s", b"l"]


@pytest.mark.parametrize("readonly", [True, False])
def test_a_short_time_index_hides_no_record_where_it_cannot_be_replaced(log_path: Path, readonly: bool) -> None:
    """A read-only log, and one on a full disk, find the same record by time as one that can mend its index."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t", segment_bytes=1024, index_interval_bytes=100).partitions[0]
        for n in range(40):
            partition.append([b"x" * 100], timestamps_ms=1000 + n)
    path = log_path / "topics" / "t" / "0" / f"{0:020d}.timeindex"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:12])
    fs = FailingFileSystem()
    fs.on_write = failing(".tmp", errno.ENOSPC, times=100)
    with eventlog.EventLog(log_path, filesystem=fs, readonly=readonly) as log:
        assert [log.topic("t").partitions[0].offset_for_time(1000 + n) for n in range(40)] == list(range(40))
    assert path.read_bytes() == whole[:12]


def test_a_reader_follows_an_index_that_was_replaced(log_path: Path, run_python: Callable[..., Any]) -> None:
    """An index file gives way to a longer one: whoever has the old one mapped never reads past its end."""
    script = """
import os
from eventlog.files.filesystem import FileSystem
from eventlog.storage.offset_index import OffsetIndex
path = ARGS[0]
with open(path, "wb") as file: file.write(b"\\1" * 80)
index = OffsetIndex(FileSystem(), path)
assert len(index.entries(10)) == 10
with open(path + ".new", "wb") as file: file.write(b"\\2" * 8 * 2000)
os.rename(path + ".new", path)
answer(int(index.entries(2000)["offset"][-1]))
"""
    assert run_python(script, log_path) == 0x02020202


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_topics_that_another_process_deletes_leave_no_descriptor_behind(log_path: Path) -> None:
    """A program that writes to topics which others delete and make anew does not run out of descriptors."""
    with eventlog.open(log_path) as ours, eventlog.open(log_path) as theirs:
        before = -1
        for number in range(12):
            theirs.create_topic("t")
            ours.topic("t").partitions[0].append([b"x"])
            theirs.delete_topic("t")
            if number == 1:
                before = len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) <= before


def test_closing_a_durable_producer_ends_in_time(log_path: Path, run_python: Callable[..., Any]) -> None:
    """close(timeout) is over although the background thread waits for a partition that someone else holds."""
    script = """
import faulthandler, fcntl, os, threading, eventlog
faulthandler.dump_traceback_later(30, exit=True)
log = eventlog.open(ARGS[0])
log.create_topic("t", durability="disk")
producer = log.producer(linger_ms=1)
producer.send("t", b"x").result()
held = os.open(ARGS[0] + "/topics/t/0/lock", os.O_RDWR)
fcntl.flock(held, fcntl.LOCK_EX)
producer.send("t", b"y")
try:
    producer.close(timeout=0.2)
except eventlog.DeliveryTimeoutError:
    os.close(held)
    producer.close()
    answer(log.topic("t").partitions[0].log_end_offset)
"""
    assert run_python(script, log_path) == 2
