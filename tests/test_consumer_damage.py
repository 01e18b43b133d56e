"""A consumer that meets damage loses nothing of what can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import TopicPartition


def damage_second_batch(path: Path, partition: int) -> None:
    """Flip a bit in the value of a partition's second batch; the two are of equal size."""
    segment = path / "topics" / "t" / str(partition) / f"{0:020d}.log"
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 3 + 72] ^= 1
    segment.write_bytes(raw)


@pytest.fixture
def damaged(log: eventlog.EventLog, log_path: Path) -> eventlog.EventLog:
    """Topic t with two partitions of three batches each; the middle one of partition 0 is damaged."""
    topic = log.create_topic("t", partitions=2)
    for partition, name in zip(topic.partitions, (b"a", b"b"), strict=True):
        for number in b"012":
            partition.append([name + bytes([number])])
    damage_second_batch(log_path, 0)
    return log


@pytest.mark.parametrize("method", ["poll", "poll_batches"])
def test_records_before_damage_are_returned_first(damaged: eventlog.EventLog, method: str) -> None:
    """A poll that meets damage returns what it has; the next one raises, and behind a seek everything else comes."""
    consumer = damaged.consumer("t", auto_offset_reset="earliest")
    values: list[Any] = []
    errors = 0
    for _ in range(12):  # more than enough: what is not there by then is lost
        try:
            found = getattr(consumer, method)()
            values += [v for item in found for v in (item.values() if method == "poll_batches" else [item.value])]
        except eventlog.CorruptSegmentError as error:
            errors += 1
            assert (error.topic, error.partition, error.base_offset, error.next_offset) == ("t", 0, 1, 2)
            consumer.seek(TopicPartition("t", 0), error.next_offset)
    assert sorted(values) == [b"a0", b"a2", b"b0", b"b1", b"b2"]
    assert errors == 1


def test_damage_in_one_partition_keeps_no_other_back(damaged: eventlog.EventLog) -> None:
    """Whoever goes on polling over the error gets all records of the other partitions."""
    consumer = damaged.consumer("t", auto_offset_reset="earliest")
    values: list[Any] = []
    for _ in range(8):
        try:
            values += [record.value for record in consumer.poll(max_records=1)]
        except eventlog.CorruptSegmentError as error:
            assert error.partition == 0
    assert sorted(values) == [b"a0", b"b0", b"b1", b"b2"]


def test_a_body_that_does_not_decode_names_its_place(log_path: Path) -> None:
    """Without the CRC, damage shows in decoding: CorruptSegmentError says where, and reading goes on behind it."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t").partitions[0]
        partition.append([b"a" * 40, b"b" * 40])
        partition.append([b"c"])
    segment = log_path / "topics" / "t" / "0" / f"{0:020d}.log"
    content = bytearray(segment.read_bytes())
    content[64 + 8 : 64 + 12] = (2**30).to_bytes(4, "little")  # the last value offset of the first batch
    segment.write_bytes(content)
    with eventlog.open(log_path) as log, log.consumer("t", auto_offset_reset="earliest", check_crcs=False) as consumer:
        with pytest.raises(eventlog.CorruptSegmentError) as caught:
            consumer.poll()
        assert (caught.value.base_offset, caught.value.next_offset, caught.value.position) == (0, 2, 0)
        consumer.seek(eventlog.TopicPartition("t", 0), 2)
        assert [record.value for record in consumer.poll()] == [b"c"]
