"""When a log goes on in a new segment, and how little room a small one takes."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventlog
from eventlog.storage import log_writer, partition_log
from eventlog.storage.attachment import attach

BATCH = 64 + 8 + 104  # header, two offsets, a value of a hundred bytes padded to eight
VALUE = bytes(100)


def bases(log_path: Path, topic: str = "t") -> list[int]:
    return sorted(int(path.stem) for path in (log_path / "topics" / topic / "0").glob("*.log"))


def test_a_segment_holds_as_many_batches_as_fit(log: eventlog.EventLog, log_path: Path) -> None:
    """A batch that would make the segment larger than segment_bytes goes into a new one, and no earlier."""
    partition = log.create_topic("t", segment_bytes=6 * BATCH).partitions[0]
    for offset in range(14):
        assert partition.append([VALUE]).base_offset == offset
    assert bases(log_path) == [0, 6, 12]
    sizes = [path.stat().st_size for path in sorted((log_path / "topics" / "t" / "0").glob("*.log"))]
    assert sizes == [6 * BATCH, 6 * BATCH, 2 * BATCH]


def test_a_batch_larger_than_a_segment_gets_one_of_its_own(log: eventlog.EventLog, log_path: Path) -> None:
    """A single call may be larger than segment_bytes: its batches stay together in one segment."""
    partition = log.create_topic("t", segment_bytes=1024).partitions[0]
    for _ in range(3):
        partition.append([bytes(5000)])
    assert bases(log_path) == [0, 1, 2]
    assert [len(batch.values()[0] or b"") for batch in partition.read(0, 1 << 20)] == [5000] * 3


def test_a_segment_ends_with_its_time(log: eventlog.EventLog, log_path: Path) -> None:
    """A record later than the segment's first batch by more than segment_ms begins a new segment."""
    partition = log.create_topic("t", segment_ms=100).partitions[0]
    for timestamp in (1000, 1100, 1101, 1050, 1201, 1202):
        partition.append([b"x"], timestamps_ms=timestamp)
    assert bases(log_path) == [0, 2, 5]


def test_old_records_do_not_seal_segments(log: eventlog.EventLog, log_path: Path) -> None:
    """Replaying old events costs no segment each: neither with LogAppendTime, nor mixed with new ones."""
    for name, kind in (("t", "CreateTime"), ("stamped", "LogAppendTime")):
        partition = log.create_topic(name, segment_ms=1000, message_timestamp_type=kind).partitions[0]
        for n in range(5):
            partition.append([b"old", b"new"], timestamps_ms=[n, 1_000_000 + n])
        assert bases(log_path, name) == [0]


def test_relative_offsets_never_overflow(
    log: eventlog.EventLog, log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment ends before an offset relative to its base needs more room than an index entry has."""
    monkeypatch.setattr(log_writer, "_MAX_RELATIVE_OFFSET", 10)  # 2^31 records would take an hour
    partition = log.create_topic("t", index_interval_bytes=0).partitions[0]
    for _ in range(8):
        partition.append([b"x", b"y", b"z", b"w"])
    assert bases(log_path) == [0, 8, 16, 24]
    assert [record.offset for batch in partition.read(0) for record in batch.records()] == list(range(32))
    assert partition.verify().ok


def test_a_roll_changes_nothing_for_an_open_reader(log: eventlog.EventLog) -> None:
    """A cursor that waits at the end of a segment goes on in the next one, and the next."""
    partition = log.create_topic("t", segment_bytes=1024).partitions[0]
    cursor = partition.cursor(0)
    assert cursor.next_batch() is None
    for offset in range(30):
        partition.append([b"%d" % offset + VALUE])
        batch = cursor.next_batch()
        assert batch is not None
        assert (batch.base_offset, batch.values()[0]) == (offset, b"%d" % offset + VALUE)
        assert cursor.next_batch() is None


def test_two_logs_in_one_process_roll_the_same_partition(log: eventlog.EventLog, log_path: Path) -> None:
    """Writers that take turns agree on the active segment, whoever rolled last."""
    log.create_topic("t", segment_bytes=1024, index_interval_bytes=0)
    with eventlog.open(log_path) as other:
        writers = [log.topic("t").partitions[0], other.topic("t").partitions[0]]
        for offset in range(60):
            assert writers[offset * 7 % 3 % 2].append([VALUE]).base_offset == offset
        for partition in writers:
            assert [record.offset for batch in partition.read(0) for record in batch.records()] == list(range(60))
            assert partition.verify().ok
    assert len(bases(log_path)) > 5


def test_an_empty_partition_is_small_on_disk(log: eventlog.EventLog, log_path: Path) -> None:
    """A new empty partition takes less than 64 KiB of blocks with all its files, one with a few records too."""
    partitions = log.create_topic("t", partitions=2).partitions
    assert partitions[0].log_end_offset == 0
    partitions[1].append([b"hello"])
    for number in (0, 1):
        directory = log_path / "topics" / "t" / str(number)
        files = [directory, *directory.iterdir()]
        assert {path.suffix or path.name for path in files[1:]} == {".log", ".index", ".timeindex", "head", "lock"}
        assert sum(path.stat().st_blocks * 512 for path in files) < 64 * 1024


def test_an_unused_partition_takes_nothing(log: eventlog.EventLog, log_path: Path) -> None:
    """Partitions that nobody used have no file at all."""
    log.create_topic("t", partitions=1000)
    assert [path.name for path in (log_path / "topics" / "t").iterdir()] == ["topic.json"]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_seek_into_a_batch_begins_there(log: eventlog.EventLog, compression: str) -> None:
    """Reading from the middle of a batch gives the records from there on, then the following batches."""
    pytest.importorskip("cramjam")
    partition = log.create_topic("t", compression_type=compression).partitions[0]
    for start in range(0, 300, 100):
        partition.append([b"%d" % n for n in range(start, start + 100)], timestamps_ms=list(range(start, start + 100)))
    for offset in (0, 1, 99, 100, 150, 199, 299):
        batches = partition.read(offset)
        assert [value for batch in batches for value in batch.values()] == [b"%d" % n for n in range(offset, 300)]
        assert batches[0].base_offset == offset
        assert batches[0].timestamps_ms.tolist() == list(range(offset, (offset // 100 + 1) * 100))
    assert partition.read(300) == []


@pytest.mark.parametrize("offset", [-1, 4, 2**62])
def test_an_offset_out_of_range_is_told(log: eventlog.EventLog, offset: int) -> None:
    """Before the start or beyond the end there is nothing to read: an error with the range says so."""
    partition = log.create_topic("t").partitions[0]
    partition.append([b"x", b"y", b"z"])
    with pytest.raises(eventlog.OffsetOutOfRangeError, match="0 to 3") as caught:
        partition.read(offset)
    assert caught.value.offset == offset


def test_a_walk_over_a_segment_survives_that_its_mapping_is_given_back(log: eventlog.EventLog) -> None:
    """Who walks over a segment, as when an index is built anew, reaches its end although the mapping was dropped."""
    partition = log.create_topic("t").partitions[0]
    for number in range(5):
        partition.append([b"%d" % number])
    segment = partition.log.segments[0]
    segment.refresh()
    found = []
    for batch in segment.batches(0, 0):
        found.append(batch.values()[0])
        segment.forget()
    assert found == [b"0", b"1", b"2", b"3", b"4"]


def test_a_log_that_is_being_opened_gives_nothing_back(log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a partition is opened, and perhaps recovered, a thread that needs room takes none of its mappings."""
    log.create_topic("t")
    answers = []
    monkeypatch.setattr(
        partition_log, "attach", lambda log, lock: answers.append(log.try_release()) or attach(log, lock)
    )
    assert log.topic("t").partitions[0].append([b"x"]).base_offset == 0
    assert answers == [False]
