"""A sparse index gives the same answer as looking at every batch, only sooner."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventlog
from eventlog.files.filesystem import FileSystem
from eventlog.format.layouts import OFFSET_INDEX_ENTRY, TIME_INDEX_ENTRY
from eventlog.storage.offset_index import OffsetIndex
from eventlog.storage.time_index import TimeIndex
from eventlog.testing.crash_filesystem import CrashFileSystem, SimulatedCrash

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
    """The entries at or before the offset, among those that count, come from the last one to the first."""
    entries = np.cumsum(np.array(steps, dtype=np.int64).reshape(-1, 2), axis=0).tolist()
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory) / "index"
        path.write_bytes(np.array([tuple(entry) for entry in entries], dtype=OFFSET_INDEX_ENTRY).tobytes())
        index = OffsetIndex(FileSystem(), str(path))
        count = data.draw(st.one_of(st.none(), st.integers(0, len(entries))))
        counted = entries if count is None else entries[:count]
        for target in targets:
            before = [tuple(entry) for entry in counted if entry[0] <= target]
            assert list(index.entries_before(target, count)) == before[::-1]


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
    assert list(index.entries_before(100, 0)) == []
    with path.open("ab", buffering=0) as file:
        for count in range(1, 20_000, 1_900):
            entries = np.array([(n, n * 10) for n in range(1, count + 1)], dtype=OFFSET_INDEX_ENTRY).tobytes()
            file.truncate(0)
            file.write(entries + b"\1\2\3")
            assert next(index.entries_before(10**6, count)) == (count, count * 10)
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
            assert partition.log.try_release()  # mappings and descriptors, as when many partitions are open
            find_everything(partition, stamps)
            assert readonly or partition.verify().ok
        if not readonly:
            with eventlog.open(path) as log:
                report = log.topic("t").partitions[0].recovery
                assert report is not None and report.rebuilt_indexes == ()


def find_everything(partition: eventlog.Partition, times: list[int]) -> None:
    for offset in range(len(times)):
        batch = partition.read(offset, 1)[0]
        assert (batch.base_offset, batch.values()[0]) == (offset, b"%d" % offset)
    for target in range(102):
        expected = next((offset for offset, time in enumerate(times) if time >= target), None)
        assert partition.offset_for_time(target) == expected


def test_a_reader_with_an_index_of_its_own_goes_on_with_that_of_writers(tmp_path: Path) -> None:
    """A log that was opened for reading only, and keeps an index in memory, finds what writers append, and seal."""
    stamps = list(range(30))
    with eventlog.open(tmp_path) as log:
        partition = log.create_topic("t", index_interval_bytes=100, segment_bytes=8192).partitions[0]
        for n, stamp in enumerate(stamps):
            partition.append([b"%d" % n], timestamps_ms=stamp)
    index = tmp_path / "topics" / "t" / "0" / f"{0:020d}.timeindex"
    index.write_bytes(bytes(index.stat().st_size))
    with eventlog.open(tmp_path, readonly=True) as reader:
        partition = reader.topic("t").partitions[0]
        find_everything(partition, stamps)
        with eventlog.open(tmp_path) as writer:
            for n in range(30, 220):
                stamps.append(60 if n < 90 else 90)
                writer.topic("t").partitions[0].append([b"%d" % n], timestamps_ms=stamps[-1])
            assert len(partition.log.segments.bases()) > 1
            find_everything(partition, stamps)
            assert partition.log.try_release()
            find_everything(partition, stamps)


class FullFileSystem(FileSystem):
    """Has no space left: what is there may be written over, and that is all."""

    def pwritev(self, fd: int, parts: Sequence[bytes], position: int) -> int:  # type: ignore[override]
        if position + sum(map(len, parts)) > os.fstat(fd).st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwritev(fd, parts, position)

    def pwrite(self, fd: int, data: bytes, position: int) -> int:  # type: ignore[override]
        return self.pwritev(fd, [data], position)


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
@pytest.mark.parametrize("lost", ["zeroed", "missing"])
def test_a_log_with_bad_indexes_opens_on_a_full_disk(tmp_path: Path, suffix: str, lost: str) -> None:
    """Without space for new indexes everything is found, only later; with space again the log goes on as ever."""
    stamps = [100 - n for n in range(60)]
    with eventlog.open(tmp_path) as log:
        partition = log.create_topic("t", index_interval_bytes=100, segment_bytes=1 << 16).partitions[0]
        for n, stamp in enumerate(stamps):
            partition.append([b"%d" % n], timestamps_ms=stamp)
    index = tmp_path / "topics" / "t" / "0" / f"{0:020d}{suffix}"
    index.write_bytes(bytes(index.stat().st_size) if lost == "zeroed" else b"")
    with eventlog.open(tmp_path, filesystem=FullFileSystem()) as log:
        find_everything(log.topic("t").partitions[0], stamps)
    with eventlog.open(tmp_path) as log:
        partition = log.topic("t").partitions[0]
        for n in range(60, 120):
            stamps.append(n)
            partition.append([b"%d" % n], timestamps_ms=n)
        find_everything(partition, stamps)
        assert partition.verify().ok


def test_a_bad_batch_does_not_cost_a_new_index_at_each_open(tmp_path: Path) -> None:
    """An index that was built anew from a damaged segment is the one that the next opening finds right."""
    with eventlog.open(tmp_path) as log:
        partition = log.create_topic("t", index_interval_bytes=400).partitions[0]
        for n in range(60):
            partition.append([b"%d" % n * 10], timestamps_ms=n)
    segment = tmp_path / "topics" / "t" / "0" / f"{0:020d}.log"
    entries = np.frombuffer(segment.with_suffix(".index").read_bytes(), OFFSET_INDEX_ENTRY)
    raw = bytearray(segment.read_bytes())
    raw[int(entries["position"][len(entries) // 2]) + 70] ^= 1
    segment.write_bytes(raw)
    segment.with_suffix(".index").unlink()
    rebuilt = []
    for _ in range(3):
        with eventlog.open(tmp_path) as log:
            report = log.topic("t").partitions[0].recovery
            assert report is not None
            rebuilt.append(len(report.rebuilt_indexes))
    assert rebuilt == [1, 0, 0]


def test_entries_go_into_the_index_that_has_the_name(tmp_path: Path) -> None:
    """A writer that dies in a roll may have replaced the indexes, to cut off what an earlier one had left behind: who
    goes on in the segment writes into those that are there now.
    """
    fs = CrashFileSystem(tmp_path)
    partition = eventlog.open(tmp_path, filesystem=fs).create_topic(
        "t", index_interval_bytes=0, segment_bytes=4096
    ).partitions[0]  # fmt: skip
    for n in range(5):
        partition.append([b"x" * 100], timestamps_ms=1000 + n)
    index = tmp_path / "topics" / "t" / "0" / f"{0:020d}.timeindex"
    first = fs.another_process()
    one = eventlog.open(tmp_path, filesystem=first).topic("t").partitions[0]
    one.append([b"x" * 100], timestamps_ms=1005)
    with pytest.raises(SimulatedCrash):  # behind its index entries
        crash_before(first, "store", "head", lambda: one.append([b"x" * 100], timestamps_ms=1006))
    before = index.stat().st_ino
    second = fs.another_process()
    two = eventlog.open(tmp_path, filesystem=second).topic("t").partitions[0]
    assert two.log_end_offset == 6
    with pytest.raises(SimulatedCrash):
        crash_before(second, "create", f"{6:020d}.log", lambda: two.append([b"y" * 3800], timestamps_ms=2000))
    assert index.stat().st_ino != before  # or else this shows nothing
    for n in range(4):
        partition.append([b"x" * 100], timestamps_ms=9000 + n)
    assert partition.verify().ok


def crash_before(fs: CrashFileSystem, kind: str, name: str, work: Callable[[], object]) -> None:
    """Do the work up to the first step of that kind on a path that ends so."""
    real = fs.step

    def step(its_kind: str, path: str, detail: str = "") -> Any:
        if its_kind == kind and path.endswith(name):
            fs.crash_at(fs.steps)
        return real(its_kind, path, detail)

    fs.step = step  # type: ignore[method-assign]
    work()
