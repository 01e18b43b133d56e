"""A few scenarios of two producers, with a crash before every single step of theirs, and every kind of disk behind it.

What `test_every_crash_point` does for one commit is done here for what surrounds it: rolls, offsets, plain appends in
between, a producer that takes over from another one.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventlog.coordination import offset_store
from tests.transactions.crash_engine import PLACES, Engine
from tests.transactions.strides import steps

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # thousands of small disks
SEEDS = int(os.environ.get("EVENTLOG_CRASH_SEEDS", "1"))
A0, A1, B0 = PLACES
Script = list[tuple[Any, ...]]


def transaction(slot: int, durability: str, *sent: tuple[Any, int, int], name: str = "x") -> Script:
    """One that sends to each place so many records of a size, and commits an offset."""
    return [
        ("begin", slot, name, durability),
        *(("transact", slot, place, size, count) for place, size, count in sent),
        ("transact_offset", slot, B0),
        ("commit", slot),
    ]


def scenarios(durability: str) -> dict[str, tuple[Script, Script]]:
    """By name: what happens before, and what may be cut off at any step."""
    first = transaction(0, durability, (A0, 40, 1), (A1, 0, 2))
    return {
        "rolls": (first, [*transaction(0, durability, (A0, 400, 3), (A1, 40, 1), (B0, 400, 2)), ("close", 0)]),
        "plain appends in between": (
            [*first, ("append", 0, A0, 40, "os"), ("commit_offset", 0, A0), ("send", 0, B0, 40, 2)],
            [*transaction(0, durability, (A0, 40, 1), (B0, 0, 1)), ("append", 0, A0, 0, "disk"), ("flush", 0, B0)],
        ),
        "another one takes over": (
            [*first, *transaction(1, "os", (A1, 40, 1), (B0, 40, 1), name="y")[:-1]],
            [*transaction(0, durability, (A0, 0, 1), (A1, 0, 1), name="y"), ("abort", 1)],
        ),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _few_partitions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of the 50 partitions of committed offsets one would be used, and all be looked at, thousands of times."""
    monkeypatch.setattr(offset_store, "PARTITIONS", 1)
    logger = logging.getLogger("eventlog")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # torn tails, and what cannot be settled at once, are what this is about
    yield
    logger.setLevel(level)


def do(engine: Engine, script: Script) -> None:
    for name, *arguments in script:
        getattr(engine, name)(*arguments)


def crashed(before: Script, script: Script, torn: float, numbers: Iterator[int]) -> Iterator[Engine]:
    """Yield an engine whose first process was cut off before one of its steps, for each; at last one that was not."""
    for step in numbers:
        with tempfile.TemporaryDirectory(prefix="eventlog-", dir=MEMORY) as base:
            engine = Engine(Path(base))
            do(engine, before)
            process = engine.start(0, step, torn)
            assert process is not None
            do(engine, script)
            has_crashed = process.fs.crashed
            engine.last_step = process.fs.journal[-1]
            print(engine.last_step)
            yield engine
            if not has_crashed:
                assert step > 20
                return


def lose_all(n: int) -> int:
    return n - 1


scripts = pytest.mark.parametrize("name", scenarios("os"))
durabilities = pytest.mark.parametrize("durability", ["os", "disk"])


@scripts
@durabilities
def test_what_is_left_when_all_die(name: str, durability: str) -> None:
    """Each transaction is whole or absent, its offsets included, after a kill; a durable one also after a power cut."""
    for number, engine in enumerate(crashed(*scenarios(durability)[name], torn=0.0, numbers=steps())):
        engine.check_disk(None)
        engine.check_disk(lose_all)
        for seed in range(SEEDS):
            print("seed", number * 1000 + seed)
            engine.check_disk(random.Random(number * 1000 + seed).randrange)


@scripts
@durabilities
def test_what_a_survivor_makes_of_it(name: str, durability: str) -> None:
    """A process that lives on sees each transaction whole or not at all, goes on, and what it does lasts."""
    for number, engine in enumerate(crashed(*scenarios(durability)[name], torn=0.5, numbers=steps())):
        place = PLACES[number % 3]
        if number % 2:
            engine.append(1, place, 40, "os")  # a writer comes first, or a reader
        engine.see(1)
        do(engine, transaction(1, "disk", *((place, 40, 1) for place in PLACES), name="z"))
        engine.see(1)
        engine.check_disk(lose_all)


@durabilities
def test_what_a_survivor_has_seen_is_final(durability: str) -> None:
    """Who finds a transaction without an outcome aborts it for good: no power cut brings the outcome back that its
    process was about to write.
    """
    before, script = scenarios(durability)["another one takes over"]
    looked = 0
    for number, engine in enumerate(crashed(before, script, torn=0.0, numbers=itertools.count())):
        if engine.last_step.path.startswith("topics/__transaction_state"):
            looked += 1
            engine.see(1)
            engine.append(1, A0, 40, "os")
            for seed in range(40):
                print("seed", number * 1000 + seed)
                engine.check_disk(random.Random(number * 1000 + seed).randrange)
    assert looked
