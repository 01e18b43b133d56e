"""Whole batches of another partition, where batches of just these offsets belong, are not taken for its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import eventlog
from tests.damage.model import read_all

SECTOR = 512
RECORDS = 64


def value(topic: str, partition: int, offset: int) -> bytes:
    return f"{topic}-{partition} {offset:03d}".encode()


@pytest.fixture
def directory(log_path: Path) -> Path:
    """Partitions with records of one size: batches lie at the same places in each, with the same offsets."""
    with eventlog.open(log_path) as log:
        for topic in ("a", "b"):
            for partition in log.create_topic(topic, partitions=2).partitions:
                for offset in range(RECORDS):
                    partition.append([value(topic, partition.number, offset)], timestamps_ms=offset)
    return log_path / "topics"


def segment(directory: Path, topic: str, partition: int) -> Path:
    return directory / topic / str(partition) / f"{0:020d}.log"


def a_file(source: Path, target: Path) -> set[int]:
    shutil.copy(source, target)
    return set(range(RECORDS))


def a_sector(source: Path, target: Path) -> set[int]:
    before = target.read_bytes()
    after = before[: 2 * SECTOR] + source.read_bytes()[2 * SECTOR : 3 * SECTOR] + before[3 * SECTOR :]
    target.write_bytes(after)
    size = len(before) // RECORDS
    places = [slice(offset * size, (offset + 1) * size) for offset in range(RECORDS)]
    return {offset for offset, place in enumerate(places) if before[place] != after[place]}


@pytest.mark.parametrize("came", [a_file, a_sector])
@pytest.mark.parametrize(("topic", "partition"), [("a", 1), ("b", 0)])
def test_what_came_from_another_partition_is_damage(
    directory: Path, log_path: Path, came: Callable[[Path, Path], set[int]], topic: str, partition: int
) -> None:
    """Not one of its records is returned, `verify` says the same, all others are there, and appends go on."""
    lost = came(segment(directory, topic, partition), segment(directory, "a", 0))
    for readonly in (True, False):
        with eventlog.open(log_path, readonly=readonly) as log:
            damaged = log.topic("a").partitions[0]
            found = read_all(damaged)
            assert found.values == {offset: value("a", 0, offset) for offset in range(RECORDS) if offset not in lost}
            assert found.lost == lost
            report = damaged.verify()
            told = {offset for one in report.damaged for offset in range(one.base_offset, one.next_offset or RECORDS)}
            assert told == lost
    with eventlog.open(log_path) as log:
        assert log.topic("a").partitions[0].append([b"new"]).base_offset == RECORDS
        assert log.topic(topic).partitions[partition].read(0)[0].values() == [value(topic, partition, 0)]


def test_a_lost_topic_file_loses_no_record(directory: Path, log_path: Path) -> None:
    """Records are bound to the topic's name: with a `topic.json` that has another id they are all still read."""
    path = directory / "a" / "topic.json"
    with eventlog.open(log_path.with_name("other")) as other:
        other.create_topic("a", partitions=2)
    shutil.copy(log_path.with_name("other") / "topics" / "a" / "topic.json", path)
    with eventlog.open(log_path) as log:
        found = read_all(log.topic("a").partitions[0])
        assert found.values == {offset: value("a", 0, offset) for offset in range(RECORDS)}
