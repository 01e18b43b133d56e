"""Appends of idempotent producers: a repeated one is acknowledged where it lies, whoever repeats it, and whenever."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.files.filesystem import FileSystem
from eventlog.format.filenames import producer_snapshot_offset
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.model import AppendResult
from eventlog.storage.producer_sequences import ProducerSequences
from tests.forking import fork

RunPython = Callable[..., Any]
FIRST = ProducerStamp(41, 0, 0)


def write(partition: eventlog.Partition, stamp: ProducerStamp, values: list[bytes], **options: Any) -> AppendResult:
    """Append as this producer, through the door that a server would use: nobody knows where the id was made."""
    durability = options.pop("durability", None)
    batches = partition.encode(values, stamp=stamp, **options)
    return partition.log.writer.append(batches, durability, stamp)


def values_of(partition: eventlog.Partition) -> list[bytes | None]:
    return [value for batch in partition.read(0, 1 << 30) for value in batch.values()]


def snapshots(partition: eventlog.Partition) -> list[int]:
    names = os.listdir(partition.log.directory)
    return sorted(offset for offset in map(producer_snapshot_offset, names) if offset is not None)


@pytest.fixture
def partition(log: eventlog.EventLog) -> eventlog.Partition:
    return log.create_topic("t", segment_bytes=4096, index_interval_bytes=256).partitions[0]


def test_a_repeated_batch_is_acknowledged_where_it_lies(partition: eventlog.Partition) -> None:
    """Each of the last five batches can come again, others' records between them: nothing is written twice."""
    stamps = [FIRST.after(2 * number) for number in range(6)]
    for number, stamp in enumerate(stamps):
        assert write(partition, stamp, [b"%d" % number] * 2, timestamps_ms=number).base_offset == 3 * number
        partition.append([b"another's"])
    end = partition.log_end_offset
    for number in range(1, 6):
        again = write(partition, stamps[number], [b"%d" % number] * 2, timestamps_ms=number)
        assert again == AppendResult(3 * number, 3 * number + 1, number, False)
    with pytest.raises(eventlog.OutOfOrderSequenceError):
        write(partition, stamps[0], [b"0"] * 2)
    assert partition.log_end_offset == end
    assert partition.verify().ok


def test_a_repeated_append_of_many_batches_is_one(partition: eventlog.Partition) -> None:
    """An append that was split into more than five batches is known again as a whole."""
    values = [os.urandom(400) for _ in range(5000)]
    batches = partition.encode(values, stamp=FIRST)
    assert len(batches) == 2  # max_message_bytes
    small = [partition.encode(values[n : n + 10], stamp=FIRST.after(n))[0] for n in range(0, 100, 10)]
    result = partition.log.writer.append(small, None, FIRST)
    assert (result.base_offset, result.last_offset) == (0, 99)
    partition.append([b"another's"])
    assert partition.log.writer.append(small, None, FIRST)[:2] == (0, 99)
    assert partition.log_end_offset == 101


def test_a_repeated_batch_is_made_durable(log: eventlog.EventLog, partition: eventlog.Partition) -> None:
    """Who repeats a batch with durability="disk" gets what that promises, however it was written at first."""
    assert not write(partition, FIRST, [b"a"]).durable
    assert write(partition, FIRST, [b"a"], durability="disk").durable
    assert partition.durable_end_offset == 1 == partition.log_end_offset


def test_gaps_and_old_epochs_write_nothing(partition: eventlog.Partition) -> None:
    """A missing record and a fenced epoch are errors with coordinates, and the log stays as it is."""
    write(partition, FIRST, [b"a", b"b"])
    with pytest.raises(eventlog.OutOfOrderSequenceError, match="sequence 3 of producer 41 where 2 belongs") as caught:
        write(partition, FIRST.after(3), [b"d"])
    assert (caught.value.topic, caught.value.partition) == ("t", 0)
    write(partition, ProducerStamp(41, 1, 0), [b"new"])
    with pytest.raises(eventlog.ProducerFencedError):
        write(partition, FIRST.after(2), [b"c"])
    with pytest.raises(eventlog.OutOfOrderSequenceError):
        write(partition, ProducerStamp(41, 2, 1), [b"c"])
    assert values_of(partition) == [b"a", b"b", b"new"]
    write(partition, ProducerStamp(41, 1, 1), [b"goes on"])


def test_the_sequence_wraps_within_an_append(partition: eventlog.Partition) -> None:
    """Behind 2**31 - 1 comes 0, and both sides of it are known again after a reopening."""
    stamp = ProducerStamp(41, 0, 2**31 - 2)
    write(partition, stamp, [b"a", b"b", b"c"])
    write(partition, ProducerStamp(41, 0, 1), [b"d"])
    partition.log.writer._sequences = ProducerSequences(partition.log)  # as if nobody had asked yet
    assert write(partition, stamp, [b"a", b"b", b"c"])[:2] == (0, 2)
    assert write(partition, ProducerStamp(41, 0, 1), [b"d"])[:2] == (3, 3)
    assert write(partition, ProducerStamp(41, 0, 2), [b"e"])[:2] == (4, 4)


@pytest.mark.parametrize("is_own", [True, False])
def test_an_append_that_had_no_time_to_note_its_end(partition: eventlog.Partition, is_own: bool) -> None:
    """When an append ends right behind its publishing, the log itself tells the next one that the batch is there."""

    def append(stamp: ProducerStamp) -> AppendResult:
        return partition.log.writer.append(partition.encode([b"v"], stamp=stamp), None, stamp, is_own=is_own)

    append(FIRST)
    partition.log.writer._sequences.published = -1
    assert append(FIRST).base_offset == 0
    partition.append([b"another's"])
    append(FIRST.after(1))
    partition.log.writer._sequences.published = -1
    assert append(FIRST.after(2)).base_offset == 3
    partition.log.writer._sequences.published = -1
    with pytest.raises(eventlog.OutOfOrderSequenceError):
        append(FIRST.after(4))


def test_a_producer_of_this_process_is_known_to_others_through_what_it_wrote(
    log: eventlog.EventLog, partition: eventlog.Partition, run_python: RunPython
) -> None:
    """A producer's own batches, over many segments, are all known when somebody from elsewhere asks about them."""
    stamp, offsets = FIRST, []
    for number in range(30):
        batches = partition.encode([b"%d" % number] * 2 + [b"x" * 300], stamp=stamp)
        offsets.append(partition.log.writer.append(batches, None, stamp, is_own=True).base_offset)
        if number in (7, 8, 20):
            partition.append([b"another's"])
        if number == 12:
            write(partition, ProducerStamp(42, 0, 0), [b"from elsewhere"])
        stamp = stamp.after(3)
    assert len(partition.log.segments.bases()) > 2
    for number in (21, 25, 29, 28):
        values = [b"%d" % number] * 2 + [b"x" * 300]
        assert write(partition, FIRST.after(3 * number), values).base_offset == offsets[number]
    table = partition.log.writer._sequences._table
    table.check()
    assert table.states[41].next_sequence == 90
    assert run_python(REPEAT, log.path, 87, 88, 89, 90) == [*range(offsets[29], offsets[29] + 4)]


def test_log_append_time(log: eventlog.EventLog) -> None:
    """A repeated batch is acknowledged with the time that the log gave it at first."""
    partition = log.create_topic("t", message_timestamp_type="LogAppendTime").partitions[0]
    first = write(partition, FIRST, [b"a"], timestamps_ms=5)
    assert first.timestamp_ms > 5
    assert write(partition, FIRST, [b"a"], timestamps_ms=5) == first
    assert values_of(partition) == [b"a"]


# --- by others, and later ---

REPEAT = """
import eventlog
from eventlog.format.producer_stamp import ProducerStamp
partition = eventlog.open(ARGS[0]).topic("t").partitions[0]
results = []
for number in map(int, ARGS[1:]):
    stamp = ProducerStamp(41, 0, number)
    result = partition.log.writer.append(partition.encode([b"%d" % number], stamp=stamp), None, stamp)
    results.append(result.base_offset)
answer(results)
"""
KILLED = """
import os, signal, eventlog
from eventlog.format.producer_stamp import ProducerStamp
partition = eventlog.open(ARGS[0]).topic("t").partitions[0]
for number in range(int(ARGS[1])):
    stamp = ProducerStamp(41, 0, number)
    partition.log.writer.append(partition.encode([b"%d" % number], stamp=stamp), None, stamp)
    partition.append([b"another's" * 50])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_another_process_knows_what_this_one_wrote(
    log: eventlog.EventLog, partition: eventlog.Partition, run_python: RunPython
) -> None:
    """Two processes that pass on one producer's batches write each once, in turn, and both notice a gap."""
    for number in range(5):
        write(partition, FIRST.after(number), [b"%d" % number])
    assert run_python(REPEAT, log.path, 2, 3, 4, 5, 6) == [2, 3, 4, 5, 6]
    assert write(partition, FIRST.after(5), [b"5"]).base_offset == 5
    assert write(partition, FIRST.after(7), [b"7"]).base_offset == 7
    assert run_python(REPEAT, log.path, 6, 7, 8) == [6, 7, 8]
    with pytest.raises(eventlog.OutOfOrderSequenceError):
        write(partition, FIRST.after(10), [b"10"])
    assert values_of(partition) == [b"%d" % number for number in range(9)]


@pytest.mark.parametrize("segment_bytes", [1 << 30, 2048])
@pytest.mark.parametrize("harm", ["none", "deleted", "damaged", "emptied", "of another log"])
def test_after_a_kill_everything_is_known(log_path: Path, run_python: RunPython, segment_bytes: int, harm: str) -> None:
    """A killed writer's batches are known to the next one, from snapshots and headers, or without any snapshot."""
    with eventlog.open(log_path) as log:
        log.create_topic("t", segment_bytes=segment_bytes, index_interval_bytes=256)
    run_python(KILLED, log_path, 30, status=-signal.SIGKILL)
    directory = log_path / "topics" / "t" / "0"
    found = sorted(directory.glob("*.snapshot"))
    assert len(found) == (2 if segment_bytes == 2048 else 0)
    for path in found:
        if harm == "deleted":
            path.unlink()
        elif harm == "damaged":
            content = bytearray(path.read_bytes())
            content[-3] ^= 1
            path.write_bytes(content)
        elif harm == "emptied":
            path.write_bytes(b"")
    if harm == "of another log" and found:
        found[0].write_bytes(found[1].read_bytes())
        found[1].unlink()
    assert run_python(REPEAT, log_path, 25, 26, 27, 28, 29, 30) == [50, 52, 54, 56, 58, 60]


def test_closing_and_opening_changes_nothing(log_path: Path) -> None:
    """What was written before the log was closed is known after it was opened, over and over."""
    for turn in range(4):
        with eventlog.open(log_path) as log:
            partition = log.create_topic("t", segment_bytes=2048, exist_ok=True).partitions[0]
            for number in range(max(0, turn * 10 - 5), turn * 10 + 10):
                result = write(partition, FIRST.after(number), [b"%d" % number])
                assert result.base_offset == number
            assert partition.log_end_offset == turn * 10 + 10
            assert partition.verify().ok


# --- snapshots ---


def test_a_sealed_segment_leaves_a_snapshot_and_the_newest_two_stay(partition: eventlog.Partition) -> None:
    """A snapshot appears, named by the offset it is true at, when a segment is sealed; the older ones go."""
    bases = set()
    for number in range(40):
        write(partition, FIRST.after(number), [b"x" * 500])
        bases.update(partition.log.segments.bases())
        assert set(snapshots(partition)) <= bases
        assert len(snapshots(partition)) <= 2
    assert snapshots(partition) == sorted(bases)[-2:]


def test_who_has_no_use_for_snapshots_writes_none(log: eventlog.EventLog, partition: eventlog.Partition) -> None:
    """Appends without a producer's id, and a producer that this process made, cause no file and no reading."""
    with log.producer() as producer:
        for _ in range(30):
            partition.append([b"x" * 500])
            producer.send_many("t", [b"y" * 500])
    assert len(partition.log.segments.bases()) > 3
    assert snapshots(partition) == []


def test_a_snapshot_of_records_that_are_gone_does_not_count(log_path: Path) -> None:
    """After a power cut others' records may have the offsets that a snapshot tells of: then the log itself is asked."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t", segment_bytes=2048).partitions[0]
        for number in range(20):
            write(partition, FIRST.after(number), [b"x" * 500])
        kept = {offset: Path(partition.log.directory, f"{offset:020d}.snapshot").read_bytes()
                for offset in snapshots(partition)}  # fmt: skip
        directory = Path(partition.log.directory)
    for path in directory.iterdir():
        path.unlink()
    with eventlog.open(log_path) as log:  # the same offsets, other records
        partition = log.topic("t").partitions[0]
        for _ in range(20):
            partition.append([b"z" * 500])
        for offset, content in kept.items():
            Path(partition.log.directory, f"{offset:020d}.snapshot").write_bytes(content)
        assert write(partition, FIRST, [b"new"]).base_offset == 20


def test_a_full_disk_keeps_no_snapshot_and_harms_nothing(log_path: Path) -> None:
    """A snapshot that cannot be written is left out; the append that seals the segment succeeds."""

    class NoSnapshots(FileSystem):
        def replace_file(self, path: str, content: Any, *, durable: bool = True) -> None:
            if ".snapshot" in path:
                raise OSError(errno.ENOSPC, "full", path)
            super().replace_file(path, content, durable=durable)

    with eventlog.EventLog(log_path, filesystem=NoSnapshots()) as log:
        partition = log.create_topic("t", segment_bytes=2048).partitions[0]
        for number in range(20):
            assert write(partition, FIRST.after(number), [b"x" * 500]).base_offset == number
        assert len(partition.log.segments.bases()) > 3 and snapshots(partition) == []


def test_long_reading_leaves_a_snapshot(log: eventlog.EventLog) -> None:
    """Whoever had to read thousands of headers spares the next one from it."""
    partition = log.create_topic("t").partitions[0]
    for _ in range(5000):
        partition.append([b"x"])
    write(partition, FIRST, [b"a"])
    assert snapshots(partition) == [5000]
    partition.log.writer._sequences = ProducerSequences(partition.log)
    assert write(partition, FIRST, [b"a"]).base_offset == 5000


def test_damage_hides_only_what_it_hits(log_path: Path) -> None:
    """A batch that cannot be read is passed by: what its producer wrote behind it is known, and is gone on with."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t").partitions[0]
        for number in range(6):
            write(partition, FIRST.after(number), [b"%d" % number])
            partition.append([b"another's"])
        partition.flush()
        segment = Path(partition.log.directory, f"{0:020d}.log")
        position = partition.read(4)[0].position
    content = bytearray(segment.read_bytes())
    content[position + 8 : position + 21] = bytes(13)  # its length, its magic and its checksum
    segment.write_bytes(content)
    with eventlog.open(log_path) as log:
        partition = log.topic("t").partitions[0]
        assert write(partition, FIRST.after(5), [b"5"]).base_offset == 10
        assert write(partition, FIRST.after(6), [b"6"]).base_offset == 12
        assert write(partition, FIRST.after(1), [b"1"]).base_offset == 2
        assert not partition.verify().ok


# --- expiry ---


def test_a_producer_is_forgotten_after_a_day(log_path: Path) -> None:
    """Who was silent for a day may begin anywhere, as in Kafka; who was heard of is held to its sequence."""
    clock = eventlog.ManualClock(1_700_000_000)
    day = 24 * 3600
    with eventlog.EventLog(log_path, clock=clock) as log:
        partition = log.create_topic("t", segment_bytes=1024).partitions[0]
        write(partition, FIRST, [b"a"])
        write(partition, ProducerStamp(42, 0, 0), [b"a"])
        clock.advance(day - 1)
        write(partition, ProducerStamp(42, 0, 1), [b"b"])
    with eventlog.EventLog(log_path, clock=clock) as log:
        partition = log.topic("t").partitions[0]
        clock.advance(2)
        with pytest.raises(eventlog.OutOfOrderSequenceError):
            write(partition, ProducerStamp(42, 0, 7), [b"x"])
        assert write(partition, FIRST.after(7), [b"x"]).base_offset == 3


def test_segments_of_long_ago_are_not_read(log_path: Path) -> None:
    """A log of many old segments is not read for producers that nobody remembers anyway."""
    clock = eventlog.ManualClock(1_700_000_000)
    reads: list[str] = []

    class Watching(FileSystem):
        def __init__(self) -> None:
            self.open = self._open  # type: ignore[method-assign]

        def _open(self, path: str, *args: Any) -> int:
            if path.endswith(".log"):
                reads.append(os.path.basename(path))
            return os.open(path, *args)

    with eventlog.EventLog(log_path, clock=clock) as log:
        partition = log.create_topic("t", segment_bytes=1024).partitions[0]
        for _ in range(20):
            partition.append([b"x" * 500])
        clock.advance(2 * 24 * 3600)
        for _ in range(4):
            partition.append([b"x" * 500])
    with eventlog.EventLog(log_path, clock=clock, filesystem=Watching()) as log:
        partition = log.topic("t").partitions[0]
        partition.append([b"x"])
        reads.clear()
        write(partition, FIRST, [b"a"])
        assert len(partition.log.segments.bases()) > 20
        assert set(reads) <= {f"{offset:020d}.log" for offset in range(18, 30)}


# --- forks ---


def test_a_forked_child_reads_what_its_parent_wrote(partition: eventlog.Partition) -> None:
    """Parent and child pass on the same producer's batches: what the other one wrote is known to each."""
    write(partition, FIRST, [b"a"])

    def in_child() -> None:
        assert write(partition, FIRST, [b"a"]).base_offset == 0
        assert write(partition, FIRST.after(1), [b"b"]).base_offset == 1

    assert fork(in_child) == 0
    assert write(partition, FIRST.after(1), [b"b"]).base_offset == 1
    assert write(partition, FIRST.after(2), [b"c"]).base_offset == 2
    assert values_of(partition) == [b"a", b"b", b"c"]
