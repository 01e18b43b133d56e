"""The head of another partition in a partition's place, as a misdirected write, a copy or a restore may put it."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import crc32c
import pytest

import eventlog
from eventlog.format import layouts as L

COUNTS = {("short", 0): 3, ("short", 1): 40, ("long", 0): 200}


@pytest.fixture
def closed(log_path: Path) -> Path:
    """A closed log of partitions of different lengths, the longest of several segments."""
    with eventlog.open(log_path) as log:
        log.create_topic("short", partitions=2)
        log.create_topic("long", segment_bytes=1024)
        for (topic, number), count in COUNTS.items():
            for place in range(0, count, 10):
                log.topic(topic).partitions[number].append([b"%d" % n for n in range(place, min(place + 10, count))])
    return log_path


def head(path: Path, place: tuple[str, int]) -> Path:
    return path / "topics" / place[0] / str(place[1]) / "head"


def values(log: eventlog.EventLog, place: tuple[str, int]) -> list[bytes | None]:
    partition = log.topic(place[0]).partitions[place[1]]
    assert partition.verify().damaged == ()
    found: list[bytes | None] = []
    while len(found) < partition.log_end_offset:
        found += [value for batch in partition.read(len(found)) for value in batch.values()]
    return found


@pytest.mark.parametrize(("mine", "other"), [*itertools.permutations(COUNTS, 2)])
@pytest.mark.parametrize("readonly", [True, False])
def test_it_says_nothing_of_where_the_log_ends(
    closed: Path, mine: tuple[str, int], other: tuple[str, int], readonly: bool
) -> None:
    """The log ends where its records end, all of them are read, and the next offset is the one behind them."""
    shutil.copy(head(closed, other), head(closed, mine))
    with eventlog.open(closed, readonly=readonly) as log:
        for place, count in COUNTS.items():
            assert values(log, place) == [b"%d" % number for number in range(count)]
        if not readonly:
            assert log.topic(mine[0]).partitions[mine[1]].append([b"next"]).base_offset == COUNTS[mine]


def test_a_recovery_point_of_earlier_versions(closed: Path) -> None:
    """A checksum without the partition still counts: the log is opened without a scan of all that it holds."""
    path = head(closed, ("long", 0))
    raw = bytearray(path.read_bytes())
    for point in L.HEAD_RECOVERY_POINTS:
        start, end = point * 8, point * 8 + L.END_SLOT.size
        L.SLOT_CHECKSUM.pack_into(raw, end, crc32c.crc32c(bytes(raw[start:end])))
    path.write_bytes(raw)
    with eventlog.open(closed, readonly=True) as log:
        partition = log.topic("long").partitions[0]
        assert partition.verify().problems == () and partition.log_end_offset == 200
