"""A sparse index gives the same answer as looking at every batch, only sooner."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventlog
from eventlog.files.filesystem import FileSystem
from eventlog.format.layouts import OFFSET_INDEX_ENTRY, TIME_INDEX_ENTRY
from eventlog.storage.offset_index import OffsetIndex
from eventlog.storage.time_index import TimeIndex

MEMORY = tempfile.gettempdir()


@given(
    steps=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 500)), max_size=60),
    targets=st.lists(st.integers(0, 4000), min_size=1, max_size=20),
    data=st.data(),
)
@settings(max_examples=60)
def test_an_offset_lookup_finds_the_nearest_entry_before(
    steps: list[tuple[int, int]], targets: list[int], data: st.DataObject
) -> None:
    """The last entry at or before the offset, among those that count; (0, 0) when there is none."""
    entries = np.cumsum(np.array(steps, dtype=np.int64).reshape(-1, 2), axis=0).tolist()
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory) / "index"
        path.write_bytes(np.array([tuple(entry) for entry in entries], dtype=OFFSET_INDEX_ENTRY).tobytes())
        index = OffsetIndex(FileSystem(), str(path))
        count = data.draw(st.one_of(st.none(), st.integers(0, len(entries))))
        counted = entries if count is None else entries[:count]
        for target in targets:
            before = [tuple(entry) for entry in counted if entry[0] <= target]
            assert index.lookup(target, count) == (before[-1] if before else (0, 0))


@given(
    steps=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=60),
    targets=st.lists(st.integers(0, 4000), min_size=1, max_size=20),
)
@settings(max_examples=60)
def test_a_time_lookup_skips_only_what_is_earlier(steps: list[tuple[int, int]], targets: list[int]) -> None:
    """The candidate lies right behind the last entry whose running maximum is earlier than the time."""
    entries = np.cumsum(np.array(steps, dtype=np.int64).reshape(-1, 2), axis=0).tolist()
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory) / "timeindex"
        path.write_bytes(np.array([tuple(entry) for entry in entries], dtype=TIME_INDEX_ENTRY).tobytes())
        index = TimeIndex(FileSystem(), str(path))
        assert index.largest() == (entries[-1][0] if entries else None)
        for target in targets:
            earlier = [offset for timestamp, offset in entries if timestamp < target]
            assert index.first_candidate(target) == (earlier[-1] + 1 if earlier else 0)


def test_an_index_follows_its_growing_file(tmp_path: Path) -> None:
    """Entries that are appended after the index was mapped are found, a half-written last one is not."""
    path = tmp_path / "index"
    path.write_bytes(b"")
    index = OffsetIndex(FileSystem(), str(path))
    assert index.lookup(100, 0) == (0, 0)
    with path.open("ab", buffering=0) as file:
        for count in range(1, 20_000, 1_900):
            entries = np.array([(n, n * 10) for n in range(1, count + 1)], dtype=OFFSET_INDEX_ENTRY).tobytes()
            file.truncate(0)
            file.write(entries + b"\1\2\3")
            assert index.lookup(10**6, count) == (count, count * 10)
            assert len(index.entries(count + 5)) == count


def batches_of(partition: eventlog.Partition) -> list[tuple[int, int]]:
    """Segment base and position of each batch, from a plain read in order."""
    return [(batch.base_offset, batch.position) for batch in partition.read(0, 1 << 30)]


@pytest.mark.parametrize("interval", [0, 100, 1000, 4096, 10**6])
def test_an_index_is_as_sparse_as_asked(log: eventlog.EventLog, log_path: Path, interval: int) -> None:
    """One entry for each batch that begins the interval or more behind the last indexed one, and no other."""
    partition = log.create_topic("t", index_interval_bytes=interval).partitions[0]
    for n in range(100):
        partition.append([bytes(n * 7 % 90)] * (n % 4 + 1), timestamps_ms=n)
    expected, last = [], 0
    for base, position in batches_of(partition):
        if position and position - last >= interval:
            expected.append((base, position))
            last = position
    raw = (log_path / "topics" / "t" / "0" / f"{0:020d}.index").read_bytes()
    assert np.frombuffer(raw, OFFSET_INDEX_ENTRY).tolist() == expected


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=40),
    stamps=st.lists(st.integers(0, 100), min_size=240, max_size=240),
    interval=st.sampled_from([0, 150, 600, 4096]),
    reopened=st.booleans(),
)
@settings(max_examples=30)
def test_every_offset_and_time_is_found(sizes: list[int], stamps: list[int], interval: int, reopened: bool) -> None:
    """Each offset gives its own record, also from the middle of a batch, and each time the first record at or after."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        times: list[int] = []
        with eventlog.open(Path(directory) / "log") as log:
            partition = log.create_topic("t", segment_bytes=1024, index_interval_bytes=interval).partitions[0]
            for size in sizes:
                batch = stamps[len(times) : len(times) + size]
                partition.append([b"%d" % n for n in range(len(times), len(times) + size)], timestamps_ms=batch)
                times += batch
            if not reopened:
                find_everything(partition, times)
        if reopened:
            with eventlog.open(Path(directory) / "log") as log:
                find_everything(log.topic("t").partitions[0], times)


@given(
    stamps=st.lists(st.integers(0, 100), min_size=6, max_size=60),
    suffix=st.sampled_from([".index", ".timeindex"]),
    lost=st.data(),
    readonly=st.booleans(),
)
@settings(max_examples=60)
def test_what_a_power_cut_leaves_of_an_index(
    stamps: list[int], suffix: str, lost: st.DataObject, readonly: bool
) -> None:
    """Whatever stands in the active segment's indexes, all is found once the log is opened again, and verifies."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory) / "log"
        with eventlog.open(path) as log:
            partition = log.create_topic("t", index_interval_bytes=100).partitions[0]
            for n, stamp in enumerate(stamps):
                partition.append([b"%d" % n], timestamps_ms=stamp)
        index = path / "topics" / "t" / "0" / f"{0:020d}{suffix}"
        raw = bytearray(index.read_bytes())
        start = lost.draw(st.integers(0, len(raw)), label="lost from")
        stop = lost.draw(st.integers(start, len(raw)), label="to")
        before = lost.draw(st.one_of(st.just(bytes(stop - start)), st.binary(min_size=stop - start)), label="instead")
        raw[start:stop] = before[: stop - start]
        index.write_bytes(raw)
        with eventlog.open(path, readonly=readonly) as log:
            partition = log.topic("t").partitions[0]
            find_everything(partition, stamps)
            assert readonly or partition.verify().ok


def find_everything(partition: eventlog.Partition, times: list[int]) -> None:
    for offset in range(len(times)):
        batch = partition.read(offset, 1)[0]
        assert (batch.base_offset, batch.values()[0]) == (offset, b"%d" % offset)
    for target in range(102):
        expected = next((offset for offset, time in enumerate(times) if time >= target), None)
        assert partition.offset_for_time(target) == expected
