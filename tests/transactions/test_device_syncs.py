"""How often a transaction waits for the device: for each partition once, and once for its outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog
from eventlog import TopicPartition
from eventlog.files.filesystem import FileSystem

PARTITIONS = 4


class CountsSyncs(FileSystem):
    """The real file system; ``syncs`` counts what goes to the device, files and directories."""

    def __init__(self) -> None:
        self.syncs = 0

    def sync(self, fd: int) -> None:
        self.syncs += 1
        super().sync(fd)

    def sync_directory(self, path: str) -> None:
        self.syncs += 1
        super().sync_directory(path)


@pytest.fixture
def device() -> CountsSyncs:
    return CountsSyncs()


@pytest.fixture
def log(tmp_path: Path, device: CountsSyncs) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log", filesystem=device) as log:
        log.create_topic("t", partitions=PARTITIONS)
        yield log


def transact(producer: eventlog.Producer) -> None:
    with producer.transaction():
        for number in range(PARTITIONS):
            producer.send_many("t", [b"value"] * 250, partition=number)


def test_a_durable_transaction_syncs_each_partition_and_the_journal_once(
    log: eventlog.EventLog, device: CountsSyncs
) -> None:
    """One sync for each partition, as a durable append has, and one for the outcome; whoever wrote there before."""
    producer = log.producer(transactional_id="id", durability="disk")
    transact(producer)  # the files are new: their directories are synced as well
    with log.producer(durability="os") as plain:
        for _ in range(3):
            before = device.syncs
            transact(producer)
            assert device.syncs - before == PARTITIONS + 1
            plain.send_many("t", [b"in between"], partition=1)


def test_a_durable_transaction_with_offsets_syncs_one_partition_more(
    log: eventlog.EventLog, device: CountsSyncs
) -> None:
    """Offsets of a group lie in one partition, whatever topics they are of."""
    log.create_topic("source", partitions=2)
    log.producer(durability="os").send_many("source", [b"a", b"b"], partition=0)
    consumer = log.consumer(group="g", enable_auto_commit=False)
    consumer.assign([TopicPartition("source", 0), TopicPartition("source", 1)])
    producer = log.producer(transactional_id="id", durability="disk")

    def transact_with_offsets() -> None:
        with producer.transaction():
            producer.send_many("t", [b"value"] * 250, partition=0)
            offsets = {TopicPartition("source", 0): 1, TopicPartition("source", 1): 0}
            producer.send_offsets_to_transaction(offsets, consumer.group_metadata())

    transact_with_offsets()
    before = device.syncs
    transact_with_offsets()
    assert device.syncs - before == 3


def test_a_transaction_that_is_not_durable_syncs_nothing(log: eventlog.EventLog, device: CountsSyncs) -> None:
    """With ``durability="os"`` nobody waits for the device, not for the outcome either."""
    producer = log.producer(transactional_id="id", durability="os")
    producer.init_transactions()
    before = device.syncs
    for _ in range(3):
        transact(producer)
    assert device.syncs == before


def test_a_durable_append_behind_an_os_transaction_brings_its_outcome_to_the_device_once(
    log: eventlog.EventLog, device: CountsSyncs
) -> None:
    """What is acknowledged as durable survives with the transaction before it: one more sync, the first time."""
    durable = log.producer(durability="disk")
    durable.send_many("t", [b"first"], partition=0)
    transact(log.producer(transactional_id="other", durability="disk"))
    transact(log.producer(transactional_id="id", durability="os"))
    taken = []
    for _ in range(2):
        before = device.syncs
        durable.send_many("t", [b"value"], partition=0)
        taken.append(device.syncs - before)
    assert taken == [2, 1]
