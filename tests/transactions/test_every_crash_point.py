"""A process may die before any single step of its transactions; whoever comes next finds each whole, or not at all.

The crashes are simulated (`CrashFileSystem`), so that every step has its turn, and that a power cut may leave whatever
POSIX allows.
"""

from __future__ import annotations

import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.model import TopicPartition
from tests.transactions.ledger import (
    GROUP,
    INPUT,
    JOURNAL,
    PARTS,
    PLAIN,
    Choose,
    Ledger,
    check_clean,
    read_all,
    reopened,
)
from tests.transactions.strides import steps

Script = Sequence[tuple[Any, ...]]
COMMIT: Script = [("commit",)]
FAILED_WRITE: Script = [("fail", "debits"), ("commit",)]
FAILED_OUTCOME: Script = [("fail", JOURNAL), ("commit",)]
FLUSHES: Script = [("flush", "debits", 0), ("commit",), ("flush", "credits", 0), ("flush", "debits", 1)]
SCRIPTS = {"commit": COMMIT, "failed write": FAILED_WRITE, "failed outcome": FAILED_OUTCOME, "flushes": FLUSHES}
BEFORE: Script = [("commit",), ("flush", "debits", 0), ("commit",)]
scripts = pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # no test here needs a device, and all are many
durabilities = pytest.mark.parametrize("durability", ["os", "disk"])


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What cannot be settled at once is logged, and is what this is about."""
    logger = logging.getLogger("eventlog")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def keep_all(_: int) -> int:
    return 0


def lose_all(n: int) -> int:
    return n - 1


def crashes(durability: str, script: Script, *, others: bool = False, torn: float = 0.0) -> Iterator[Crash]:
    """Yield a ledger that crashed, for steps of the script behind some other work; at last one that did not."""
    for step in steps():
        with tempfile.TemporaryDirectory(prefix="eventlog-", dir=IN_MEMORY, ignore_cleanup_errors=True) as base:
            crash = Crash(Path(base), durability, others=others)
            crash.ledger.fs.crash_at(crash.ledger.fs.steps + step, torn=torn)
            print("crash before step", crash.ledger.fs.steps + step)
            has_crashed = crash.ledger.work(script)
            yield crash
            if not has_crashed:
                return


class Crash:
    """A ledger that was at work, and with ``others`` a process that had the log open, and lives."""

    def __init__(self, base: Path, durability: str, *, others: bool) -> None:
        self.ledger = Ledger(base, durability)
        assert not self.ledger.work(BEFORE)
        self.other = self.ledger.another_process() if others else None
        if self.other is not None:
            self.ledger.check(self.other)  # it has the partitions open, and thinks that it knows their ends

    @property
    def survivor(self) -> eventlog.EventLog:
        assert self.other is not None
        return self.other


@pytest.mark.parametrize(
    ("durability", "script", "torn"),
    [
        pytest.param("os", COMMIT, 0.0, id="os"),
        pytest.param("disk", COMMIT, 0.0, id="disk"),
        pytest.param("os", COMMIT, 0.7, id="torn"),
        pytest.param("os", FAILED_WRITE, 0.0, id="failed write"),
        pytest.param("os", FAILED_OUTCOME, 0.0, id="failed outcome"),
        pytest.param("os", FLUSHES, 0.0, id="flushes"),
    ],
)
def test_all_processes_are_killed(durability: str, script: Script, torn: float) -> None:
    """When the log is opened again, each transaction is in all partitions, offsets included, or in none.

    Committed ones are there, aborted ones are not, and a second opening finds the same.
    """
    for crash in crashes(durability, script, torn=torn):
        ledger = crash.ledger
        with ledger.reboot() as log:
            there = ledger.check(log)
            check_clean(log)
        with reopened(log.path) as log:
            assert ledger.check(log) == there
            ledger.take_over(log)
            ledger.commit()
            assert ledger.check(log) == [*there, ledger.tried[-1]]


# --- a process that lives on ---


def by_reading(crash: Crash) -> None:
    for topic, number in PARTS:
        read_all(crash.survivor.topic(topic).partitions[number])


def by_polling(crash: Crash) -> None:
    consumer = crash.survivor.consumer(auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, number) for topic, number in PARTS])
    values = []
    while records := consumer.poll():
        values += [record.value for record in records]
    for number in crash.ledger.committed:
        assert values.count(b"%02d first" % number) == len(PARTS)


def by_asking_for_offsets(crash: Crash) -> None:
    crash.survivor.consumer(group=GROUP, enable_auto_commit=False).committed(INPUT)


def by_appending(crash: Crash) -> None:
    for topic, number in reversed(PARTS):
        crash.survivor.topic(topic).partitions[number].append([PLAIN])


def by_producing(crash: Crash) -> None:
    with crash.survivor.producer() as producer:
        for topic, number in PARTS:
            producer.send(topic, PLAIN, partition=number)


def by_the_next_transaction(crash: Crash) -> None:
    crash.ledger.take_over(crash.survivor)
    crash.ledger.commit()


def by_nothing(crash: Crash) -> None:
    pass


WAYS = [by_reading, by_polling, by_asking_for_offsets, by_appending, by_producing, by_the_next_transaction, by_nothing]


@pytest.mark.parametrize(
    ("way", "durability"),
    [(way, "os") for way in WAYS] + [(by_reading, "disk")],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_another_process_goes_on(way: Callable[[Crash], None], durability: str) -> None:
    """Whoever comes to a partition next, in whichever way, settles what a killed process left there.

    It finds the transaction whole or not at all; so it stays when all others look, and after a kill of everybody.
    """
    for crash in crashes(durability, COMMIT, others=True):
        ledger, log = crash.ledger, crash.survivor
        way(crash)
        there = ledger.check(log)
        assert ledger.check(log) == there
        ledger.take_over(log)
        ledger.commit()
        there.append(ledger.tried[-1])
        assert ledger.check(log) == there
        with ledger.reboot() as log:
            assert ledger.check(log) == there
            check_clean(log)


@pytest.mark.parametrize("script", [FAILED_WRITE, FAILED_OUTCOME], ids=["failed write", "failed outcome"])
def test_another_process_goes_on_behind_failures(script: Script) -> None:
    """A killed process that had failed to write before leaves no more than others do: nothing of what was aborted."""
    for crash in crashes("os", script, others=True):
        there = crash.ledger.check(crash.survivor)
        by_appending(crash)
        assert crash.ledger.check(crash.survivor) == there


@durabilities
@pytest.mark.parametrize("place", [PARTS[0], PARTS[-1]], ids=str)
def test_who_has_settled_one_partition_dies_too(durability: str, place: tuple[str, int]) -> None:
    """What was found in one partition holds for all, whoever dies next, and however little was settled by then."""
    for crash in crashes(durability, COMMIT, others=True, torn=1.0):
        ledger = crash.ledger
        last = ledger.tried[-1]
        values = read_all(crash.survivor.topic(place[0]).partitions[place[1]])
        with ledger.reboot() as log:
            there = ledger.check(log)
            assert (last in there) == (b"%02d second" % last in values)


# --- power cuts ---


def cuts(step: int, script: Script) -> list[Choose]:
    """Ways to lose what was not synced: nothing, everything, some of it; for the longer scripts one of these."""
    ways: list[Choose] = [keep_all, lose_all, random.Random(step).randrange, random.Random(1000 + step).randrange]
    return ways if script is COMMIT else [ways[step % 3]]


@scripts
def test_a_power_cut_behind_durable_transactions(script: Script) -> None:
    """With durability="disk" a power cut leaves what a kill leaves: whole transactions, all acknowledged ones."""
    for step, crash in enumerate(crashes("disk", script)):
        for choose in cuts(step, script):
            with crash.ledger.reboot(choose) as log:
                there = crash.ledger.check(log)
                crash.ledger.check_no_damage(log)
            with reopened(log.path) as log:
                assert crash.ledger.check(log) == there


def test_a_power_cut_while_another_process_settles() -> None:
    """Who settles a durable transaction leaves it whole or absent, too, when the power is cut before all is settled."""
    for step, crash in enumerate(crashes("disk", COMMIT, others=True, torn=1.0)):
        crash.survivor.topic("credits").partitions[0].append([PLAIN])
        for choose in cuts(step, COMMIT):
            with crash.ledger.reboot(choose) as log:
                crash.ledger.check(log)


@scripts
def test_a_power_cut_behind_transactions_that_were_not_synced(script: Script) -> None:
    """With durability="os" a power cut may take what was not flushed, but shows nothing of an aborted transaction.

    What was flushed is there, although the journal was not synced with each commit.
    """
    for step, crash in enumerate(crashes("os", script)):
        for choose in cuts(step, script):
            with crash.ledger.reboot(choose) as log:
                crash.ledger.check_what_is_left(log)
