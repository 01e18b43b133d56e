"""Plain appends, with a crash before any step of the file system and any disk that it may leave; again and again.

The crashes are simulated (`CrashFileSystem`), so that there may be thousands of them, and what a power cut leaves is
harsher than any one file system: whatever was not synced may be there or not, in any order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import eventlog
from eventlog.testing.crash_filesystem import CrashFileSystem, SimulatedCrash

Choose = Callable[[int], int]
TOPICS = ("one", "two")
CONFIG = {"segment_bytes": 1024, "index_interval_bytes": 200}
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # thousands of small disks
EXAMPLES = int(os.environ.get("EVENTLOG_CRASH_EXAMPLES", "200"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Torn tails are what this is about."""
    logger = logging.getLogger("eventlog")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


class Expected:
    """What a topic's single partition must hold. ``records`` were tried, in order; None is one that was lost."""

    def __init__(self) -> None:
        self.created = False
        self.records: list[bytes | None] = []
        self.acknowledged = self.durable = 0  # log end offsets

    def check(self, partition: eventlog.Partition, *, killed: bool) -> None:
        """Compare, and go on from what is there: all of it is on the medium now."""
        found = read_all(partition)
        end = partition.log_end_offset
        assert all(value == self.records[offset] for offset, value in found.items()), "records that nobody wrote"
        assert end in (self.acknowledged, len(self.records)) or not killed
        must_be_there = self.acknowledged if killed else self.durable
        lost = [n for n in range(must_be_there) if self.records[n] is not None and n not in found]
        assert not lost, f"lost: {lost}, of {must_be_there}"
        known_lost = {n for n, value in enumerate(self.records[:end]) if value is None}
        if killed:
            assert found.keys() == set(range(end)) - known_lost
        report = partition.verify()
        assert not report.problems, report
        assert all(damage.base_offset >= must_be_there or known_lost for damage in report.damaged), report
        self.records = [found.get(offset) for offset in range(end)]
        self.acknowledged = self.durable = end
        self.created = True


def read_all(partition: eventlog.Partition) -> dict[int, bytes | None]:
    """Return every record by its offset; lost ones must be named by the error, with an offset to go on from."""
    found: dict[int, bytes | None] = {}
    offset = 0
    while offset < partition.log_end_offset:
        try:
            for batch in partition.read(offset):
                assert batch.base_offset == offset
                found.update(zip(batch.offsets.tolist(), batch.values(), strict=True))
                offset = batch.last_offset + 1
        except eventlog.CorruptSegmentError as error:
            assert error.next_offset is not None and error.next_offset > offset, error
            offset = error.next_offset
    assert offset == partition.log_end_offset
    return found


class Run:
    """One log through several crashes, each followed by a check of what the disk holds then."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.disks = 0
        self.fs = CrashFileSystem(self.path)
        self.created = False
        self.topics = {name: Expected() for name in TOPICS}
        self.written = 0

    @property
    def path(self) -> Path:
        return self.base / f"disk-{self.disks}"

    def work(self, operations: list[tuple[Any, ...]]) -> bool:
        """Do the operations; tell whether a crash came."""
        try:
            log = eventlog.open(self.path, filesystem=self.fs)
            self.created = True
            for name, *arguments in operations:
                if name == "reopen":
                    log.close()
                    for topic in self.topics.values():
                        topic.durable = topic.acknowledged
                    log = eventlog.open(self.path, filesystem=self.fs)
                else:
                    getattr(self, name)(log, *arguments)
        except SimulatedCrash:
            return True
        return False

    def append(self, log: eventlog.EventLog, topic: str, sizes: list[int], durability: str) -> None:
        expected = self.topics[topic]
        partition = log.create_topic(topic, exist_ok=True, **CONFIG).partitions[0]
        expected.created = True
        values = [b"%d:" % (self.written + n) + b"v" * size for n, size in enumerate(sizes)]
        self.written += len(values)
        expected.records += values
        result = partition.append(values, timestamps_ms=[1000 + self.written] * len(values), durability=durability)
        assert result.last_offset + 1 == len(expected.records)
        expected.acknowledged = len(expected.records)
        if result.durable:
            expected.durable = expected.acknowledged

    def flush(self, log: eventlog.EventLog, topic: str) -> None:
        if self.topics[topic].created:
            log.topic(topic).partitions[0].flush()
            self.topics[topic].durable = self.topics[topic].acknowledged

    def reboot(self, choose: Choose | None) -> None:
        """Go on with what a kill leaves, or with ``choose`` a power cut."""
        self.disks += 1
        if choose is None:
            self.fs.after_kill(self.path)
        else:
            self.fs.after_power_cut(self.path, choose)
        self.fs = CrashFileSystem(self.path)

    def check(self, *, killed: bool) -> None:
        """Look at it as a process does that never crashed, and at a second disk, so that this one stays as it was."""
        other = self.base / f"check-{self.disks}"
        CrashFileSystem(self.path).after_kill(other)
        fs = CrashFileSystem(other)  # which spares the real syncs
        if not self.created:
            eventlog.open(other, filesystem=fs).close()
            return
        with eventlog.open(other, filesystem=fs) as log:
            missing = {name for name, topic in self.topics.items() if topic.created} - set(log.topics())
            assert not missing
            for name in log.topics():
                self.topics[name].check(log.topic(name).partitions[0], killed=killed)
                result = log.topic(name).partitions[0].append([b"goes on"], durability="disk")
                assert result.base_offset == self.topics[name].acknowledged
        with eventlog.open(other, filesystem=fs) as log:
            for name in log.topics():
                (batch,) = log.topic(name).partitions[0].read(self.topics[name].acknowledged)
                assert batch.values() == [b"goes on"]


names = st.sampled_from(TOPICS)
sizes = st.lists(st.sampled_from([0, 30, 300, 600]), min_size=1, max_size=3)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), names, sizes, st.sampled_from(["os", "disk"])),
        st.tuples(st.just("append"), names, sizes, st.just("os")),
        st.tuples(st.just("flush"), names),
        st.tuples(st.just("reopen")),
    ),
    max_size=8,
)


@contextlib.contextmanager
def a_run() -> Iterator[Run]:
    with tempfile.TemporaryDirectory(prefix="eventlog-", dir=MEMORY) as base:
        yield Run(Path(base))


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_any_work_and_any_crash(data: st.DataObject) -> None:
    """After a kill every acknowledged record is there, after a power cut every durable one; what is read is what was
    written, the indexes fit, and the log goes on. So it is when the recovery from one crash is cut off by the next.
    """
    with a_run() as run:
        for _ in range(data.draw(st.integers(1, 3), label="crashes")):
            work = data.draw(operations, label="operations")
            torn = data.draw(st.sampled_from([0.0, 0.3, 0.9]), label="torn")
            run.fs.crash_at(data.draw(st.integers(0, 100), label="step"), torn=torn)
            run.work(work)
            cut = data.draw(st.booleans(), label="power cut")
            note("\n".join(map(str, run.fs.journal)))
            run.reboot((lambda n: data.draw(st.integers(0, n - 1))) if cut else None)
            run.check(killed=not cut)


SCRIPT: list[tuple[Any, ...]] = [
    ("append", "one", [300], "os"),
    ("append", "one", [300, 300], "disk"),
    ("append", "two", [30], "os"),
    ("append", "one", [600], "os"),
    ("append", "one", [600], "os"),
    ("flush", "two"),
    ("append", "one", [600, 30], "disk"),
    ("reopen",),
    ("append", "two", [30], "disk"),
    ("append", "one", [600], "os"),
]


def lose_all(n: int) -> int:
    return n - 1


def test_a_power_cut_while_a_log_is_created() -> None:
    """A log that is cut off at any step of its creation can be opened afterwards, as an empty one."""
    with a_run() as whole:
        whole.work([])
        steps = whole.fs.steps
    for step in range(steps + 1):
        with a_run() as run:
            run.fs.crash_at(step)
            run.work([])
            for seed in range(50):
                print("step", step, "seed", seed)
                cut = run.base / f"cut-{seed}"
                run.fs.after_power_cut(cut, random.Random(seed).randrange)
                with eventlog.open(cut, filesystem=CrashFileSystem(cut)) as log:
                    assert log.topics() == []


@pytest.mark.parametrize("cut", [None, lose_all, 1, 2, 3])
def test_a_crash_at_every_step(cut: Choose | int | None) -> None:
    """A log that is created, filled, rolled, flushed and opened again can crash before every single step of that."""
    with a_run() as whole:
        assert not whole.work(SCRIPT)
        steps = whole.fs.steps
    assert steps > 100
    for step in range(steps + 1):
        with a_run() as run:
            run.fs.crash_at(step)
            assert run.work(SCRIPT) == (step < steps)
            choose = random.Random(cut * 1000 + step).randrange if isinstance(cut, int) else cut
            print("step", step)
            run.reboot(choose)
            run.check(killed=choose is None)
