"""What a durable transaction has consumed survives a power cut with it: nothing is taken for processed that is not."""

from __future__ import annotations

from pathlib import Path

import eventlog
from eventlog import TopicPartition
from eventlog.testing.crash_filesystem import CrashFileSystem

SOURCE = TopicPartition("source", 0)


def lose_all(n: int) -> int:
    return n - 1


def test_the_inputs_of_a_durable_transaction_are_on_the_device_with_their_offsets(tmp_path: Path) -> None:
    """A record that comes after the cut is not passed over because of the offset of one that the cut has taken."""
    fs = CrashFileSystem(tmp_path / "log")
    log = eventlog.open(tmp_path / "log", filesystem=fs)
    log.create_topic("source").partitions[0].append([b"in"], durability="os")
    log.create_topic("sink")
    consumer = log.consumer(group="g", enable_auto_commit=False, auto_offset_reset="earliest")
    consumer.assign([SOURCE])
    producer = log.producer(transactional_id="id", durability="disk")
    with producer.transaction():
        (record,) = consumer.poll(timeout=10)
        producer.send("sink", record.value, partition=0)
        producer.send_offsets_to_transaction({SOURCE: record.offset + 1}, consumer.group_metadata())
    fs.after_power_cut(tmp_path / "cut", lose_all)
    with eventlog.open(tmp_path / "cut") as log:
        assert log.topic("sink").partitions[0].log_end_offset == 1
        with log.consumer(group="g") as again:
            committed = again.committed(SOURCE)
        assert committed is not None
        assert committed.offset <= log.topic("source").partitions[0].log_end_offset
