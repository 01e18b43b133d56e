"""However the steps of several processes fall together, on a device that fails: no durable acknowledgement is lost.

The schedules are made line by line (``scheduler.py``), on what Linux does with a failed write-back (``kernel.py``).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.storage.flusher import Flusher
from eventlog.storage.head import Head
from eventlog.storage.marked_sync import MarkedSync
from eventlog.storage.sync_marks import SyncMarks
from tests.schedules.scenario import World
from tests.schedules.scheduler import Strategy
from tests.schedules.strategies import OneStop, Random, TwoStops

SYNC_FILES = frozenset({"flusher.py", "marked_sync.py", "sync_marks.py", "writer_lives.py", "head.py"})
RECOVERY_FILES = frozenset({"flusher.py", "marked_sync.py", "head.py", "recovery.py", "partition_log.py"})
_FLUSH_LINES = 100  # that a flush runs in these files, at most, unless it waits
Build = Callable[[World], None]


def crowd(world: World) -> None:
    """Two processes, one of them with two threads, append and flush."""
    x, y = world.process("X"), world.process("Y")
    world.start(x, [lambda: x.append(b"record x1"), lambda: x.append_and_flush(b"record x2")], "X1")
    world.start(y, [lambda: y.append(b"record y1"), lambda: y.append(b"record y2"), lambda: y.append(b"record y3")])
    world.start(x, [lambda: x.append(b"record x3")], "X2")


def one_waits_and_one_recovers(world: World) -> None:
    """X appends; Y's sync fails, it opens the log again, and appends."""
    x, y = world.process("X"), world.process("Y")
    world.start(x, [lambda: x.append(b"record x")])
    world.start(y, [lambda: y.append(b"record y1"), lambda: y.append(b"record y2"), lambda: y.append(b"record y3")])


def one_is_told_and_one_opens(world: World) -> None:
    """X has published a record. Y's sync fails, and with it that one is lost; X opens its descriptor, and flushes."""
    x, y = world.process("X"), world.process("Y")
    x.log.create_topic("other").partitions[0].append([b"its number is claimed"], durability="disk")
    offset = x.partition.append([b"record x"]).base_offset

    def flush() -> None:
        x.partition.flush()
        world.acknowledged(offset, b"record x", "X")

    world.start(y, [lambda: y.append(b"record y")])
    world.start(x, [flush])


def one_recovers_and_one_flushes(world: World) -> None:
    """X's sync fails, and with it several records are lost; it opens the log again. Y flushes, and appends."""
    x, y = world.process("X"), world.process("Y")
    for value in (b"lost 1", b"lost 2", b"lost 3"):
        x.partition.append([value])
    y.partition.read(0)
    world.start(x, [lambda: x.append(b"record x1"), lambda: x.append(b"record x2")])

    def flush() -> None:
        y.partition.flush()

    world.start(y, [flush, lambda: y.append(b"record y1"), lambda: y.append(b"record y2")])


def run(path: Path, build: Build, strategy: Strategy, failing: set[int], **more: Any) -> None:
    path.mkdir()
    world = World(path, strategy, failing, **more)
    try:
        world.run(build)
    finally:
        world.close()


def run_at_random(path: Path, seed: int) -> None:
    """One schedule: who is stopped where, or killed; which write-backs fail; whether the cache keeps the rest."""
    print(f"seed {seed}")
    chosen = random.Random(seed)
    failing = set(chosen.sample(range(6), chosen.choice([1, 1, 2])))
    run(path, crowd, Random(seed, kills=chosen.random() < 0.3), failing, drops=chosen.random() < 0.5)


def run_at_each_line(path: Path, build: Build, *, kills: bool = False, first: int = 1, stride: int = 1) -> None:
    """Stop, or kill, the first process before each line that has to do with its sync, or before some of them."""
    for line in itertools.count(first, stride):
        strategy = OneStop(line, kills=kills)
        print(f"line {line}")
        run(path / str(line), build, strategy, {0}, drops=build is one_waits_and_one_recovers, watched=SYNC_FILES)
        if not strategy.was_reached:
            assert line > first
            return


def run_with_two_stops(path: Path, build: Build, strides: tuple[int, int]) -> None:
    """Stop the first process before some lines, and each time the second one before some of its lines."""
    starts = [random.randrange(1, stride + 1) for stride in strides]
    for first in itertools.count(starts[0], strides[0]):
        for second in range(starts[1], _FLUSH_LINES, strides[1]):
            strategy = TwoStops(first, second)
            print(f"lines {first} and {second}")
            run(path / f"{first}-{second}", build, strategy, {0}, drops=True, watched=RECOVERY_FILES)
            if not strategy.was_reached[0]:
                return
            if not strategy.was_reached[1]:
                break


@pytest.mark.parametrize("block", range(4))
def test_random_schedules(tmp_path: Path, block: int) -> None:
    """Whatever the order of steps, failures and kills, what was acknowledged is there, before and after a power cut."""
    for seed in range(20 * block, 20 * block + 20):
        run_at_random(tmp_path / str(seed), seed)


SYSTEMATIC = [
    pytest.param(one_waits_and_one_recovers, False, id="stopped-while-another-recovers"),
    pytest.param(one_is_told_and_one_opens, False, id="stopped-when-told"),
    pytest.param(one_is_told_and_one_opens, True, id="killed-when-told"),
]


@pytest.mark.parametrize(("build", "kills"), SYSTEMATIC)
def test_a_stop_or_a_kill_before_any_line(tmp_path: Path, build: Build, kills: bool) -> None:
    """Wherever in its sync a process stops, and whatever the other one does meanwhile, no acknowledgement is wrong."""
    run_at_each_line(tmp_path, build, kills=kills, first=random.randrange(1, 5), stride=4)


def test_a_flush_in_the_middle_of_a_recovery(tmp_path: Path) -> None:
    """What a flush has read before a recovery is through is never taken for the durable end of the life that begins."""
    run_with_two_stops(tmp_path, one_recovers_and_one_flushes, strides=(37, 3))


@pytest.mark.soak
def test_a_flush_in_the_middle_of_a_recovery_everywhere(tmp_path: Path) -> None:
    """The same with many more stops."""
    run_with_two_stops(tmp_path, one_recovers_and_one_flushes, strides=(5, 1))


@pytest.mark.soak
@pytest.mark.parametrize(("build", "kills"), SYSTEMATIC)
def test_a_stop_or_a_kill_before_every_line(tmp_path: Path, build: Build, kills: bool) -> None:
    """The same before every line."""
    run_at_each_line(tmp_path, build, kills=kills)


@pytest.mark.soak
@pytest.mark.parametrize("block", range(10))
def test_many_random_schedules(tmp_path: Path, block: int) -> None:
    """The same for many seeds."""
    for seed in range(1000 + 200 * block, 1200 + 200 * block):
        run_at_random(tmp_path / str(seed), seed)


# --- defects that must be found ---


def without_lives(patch: pytest.MonkeyPatch) -> None:
    """Who waits is told by whatever durable end the head has now."""
    real = Flusher.sync_to
    patch.setattr(Head, "was_durable", lambda head, life, end_offset: head.durable_end >= end_offset)
    patch.setattr(
        Flusher, "sync_to", lambda flusher, end_offset, life: real(flusher, end_offset, flusher._log.head.life)
    )


def without_a_look_after_the_sync(patch: pytest.MonkeyPatch) -> None:
    """A sync that succeeds counts, also if another process was told of an error meanwhile."""
    real = MarkedSync.make_sure

    def make_sure(sync: Any) -> None:
        sync.refuse_unless_alive = lambda: None
        try:
            real(sync)
        finally:
            del sync.refuse_unless_alive

    patch.setattr(MarkedSync, "make_sure", make_sure)


def without_waiting(patch: pytest.MonkeyPatch) -> None:
    """Who opens a descriptor does not look which syncs are under way."""
    patch.setattr(MarkedSync, "look", lambda sync: None)


def without_the_dead(patch: pytest.MonkeyPatch) -> None:
    """A sync of a dead process counts as one that has ended well."""
    real = SyncMarks.wait
    patch.setattr(SyncMarks, "wait", lambda marks, seen, seconds: marks.living(real(marks, seen, seconds)))


@pytest.mark.parametrize(
    ("defect", "build", "kills"),
    [
        (without_lives, one_waits_and_one_recovers, False),
        (without_a_look_after_the_sync, one_is_told_and_one_opens, False),
        (without_waiting, one_is_told_and_one_opens, False),
        (without_the_dead, one_is_told_and_one_opens, True),
    ],
)
def test_a_defect_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: Callable[..., None], build: Build, kills: bool
) -> None:
    """A stop or a kill at some line shows what each step is for."""
    defect(monkeypatch)
    with pytest.raises((AssertionError, eventlog.EventLogError), match="acknowledged"):
        run_at_each_line(tmp_path, build, kills=kills, stride=4)
