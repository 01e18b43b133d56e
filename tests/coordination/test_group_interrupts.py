"""An interrupt before any line of joining, rebalancing, committing, evicting and closing harms nothing.

A trace function raises KeyboardInterrupt before the first line that the call runs in the files below, in the next
group before the second one, and so on until a call comes through. Each time another group is used, in which nothing has
happened yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.clock import ManualClock
from eventlog.consumer import group_reader
from eventlog.coordination import membership
from eventlog.files import file_lock
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import FileSystem
from tests.interrupting import interrupted_before_line

PARTITIONS = [TopicPartition("t", number) for number in range(4)]
COMMITTED, END = 2, 5

# Whole directories of the consumer and of the coordination, without assignors and the store of offsets; the locks.
_FOLDERS = tuple(str(Path(module.__file__ or "").parent) for module in (group_reader, membership))
_LOCKS = file_lock.__file__


# Reading itself has a test of its own, as has the store of offsets.
_LEFT_OUT = {"fetcher.py", "partition_reader.py", "consumer_metrics.py"}


def interrupted_at(number: int, call: Callable[[], Any]) -> str | None:
    return interrupted_before_line(number, call, _is_traced)


def _is_traced(code: CodeType) -> bool:
    if code.co_filename == _LOCKS:
        return True
    path = Path(code.co_filename)
    is_part = str(path.parent) in _FOLDERS and not path.name.startswith("offset_") and path.name not in _LEFT_OUT
    return is_part and code.co_name != "poll"


class Case:
    """A group of its own: ``call`` is what is interrupted, of the consumer ``victim``."""

    def __init__(self, log: eventlog.EventLog, clock: ManualClock, group: str) -> None:
        self.log = log
        self.clock = clock
        self.group = group
        with self.consumer() as first:
            first.poll()
            first.commit(dict.fromkeys(PARTITIONS, COMMITTED))
        self.consumers: list[eventlog.Consumer] = []
        self.told: dict[eventlog.Consumer, set[TopicPartition]] = {}

    def consumer(self) -> eventlog.Consumer:
        return self.log.consumer(
            "t", group=self.group, auto_offset_reset="latest", enable_auto_commit=False, max_poll_interval_ms=1000
        )

    def member(self) -> eventlog.Consumer:
        consumer = self.consumer()
        told = self.told[consumer] = set()

        class Noting(eventlog.RebalanceListener):
            def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
                told.update(partitions)

            def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
                told.difference_update(partitions)

        consumer.subscribe(["t"], listener=Noting())
        self.consumers.append(consumer)
        return consumer

    def settle(self, *consumers: eventlog.Consumer) -> None:
        """Let them poll in turn, and undo what was read. Who has not polled may not know yet that it was evicted."""
        for turn in range(4):
            for consumer in consumers:
                for record in reversed(consumer.poll()):
                    consumer.seek(TopicPartition(record.topic, record.partition), record.offset)
                every = [tp for each in consumers for tp in each._fetcher.readers]
                assert turn == 0 or len(every) == len(set(every)), "two members read one partition"

    def check_locks(self) -> None:
        lock = FileLock(FileSystem(), str(Path(self.log.path) / "groups" / self.group / "lock"))
        assert lock.acquire(blocking=False), "the group's lock is held"
        lock.close()

    def check_whole(self, *consumers: eventlog.Consumer) -> None:
        """Each partition is read by its owner, who was told, from where the group has committed."""
        self.settle(*consumers)
        fields = json.loads((Path(self.log.path) / "groups" / self.group / "state.json").read_bytes())
        owned = {tuple(member["owned"].get("t", ())) for member in fields["members"]}
        assert owned == {tuple(sorted(tp.partition for tp in consumer.assignment())) for consumer in consumers}
        assert sorted(tp for consumer in consumers for tp in consumer.assignment()) == PARTITIONS
        for consumer in consumers:
            assert self.told[consumer] == set(consumer.assignment())
            for tp in consumer.assignment():
                place = consumer.committed(tp)
                assert place is not None
                assert consumer.position(tp) == place.offset
            consumer.commit()

    def close(self) -> None:
        for consumer in self.consumers:
            consumer.close()


def _interrupt_joining(case: Case) -> tuple[eventlog.Consumer, Callable[[], Any]]:
    case.settle(case.member())
    victim = case.member()
    return victim, victim.poll


def _interrupt_giving_up(case: Case) -> tuple[eventlog.Consumer, Callable[[], Any]]:
    victim = case.member()
    case.settle(victim)
    case.member().poll()
    return victim, victim.poll


def _interrupt_taking(case: Case) -> tuple[eventlog.Consumer, Callable[[], Any]]:
    other = case.member()
    case.settle(other)
    victim = case.member()
    victim.poll()
    case.settle(other)
    return victim, victim.poll


def _interrupt_losing(case: Case) -> tuple[eventlog.Consumer, Callable[[], Any]]:
    other, victim = case.member(), case.member()
    case.settle(other, victim)
    case.clock.advance(1.1)
    case.settle(other)
    case.clock.advance(0.1)
    case.settle(other)
    assert len(other.assignment()) == 4
    return victim, victim.poll


def _interrupt_evicting(case: Case) -> tuple[eventlog.Consumer, Callable[[], Any]]:
    other, victim = case.member(), case.member()
    case.settle(other, victim)
    case.clock.advance(1.1)
    case.consumers.reverse()  # who was evicted polls first
    return victim, victim.poll


def _rewind(case: Case, consumer: eventlog.Consumer) -> None:
    for tp in consumer.assignment():
        consumer.seek(tp, COMMITTED)


@pytest.fixture
def case_of(tmp_path: Path) -> Iterator[Callable[[], Case]]:
    clock = ManualClock(start=1_700_000_000.0)
    with eventlog.open(tmp_path, clock=clock) as log:
        for partition in log.create_topic("t", partitions=len(PARTITIONS)).partitions:
            partition.append([b"x"] * END)
        numbers = iter(range(100_000))
        yield lambda: Case(log, clock, f"g{next(numbers)}")


def _every_line(case_of: Callable[[], Case], one: Callable[[Case, int], str | None]) -> int:
    number = 0
    while True:
        case = case_of()
        where = one(case, number)
        case.close()
        if where is None:
            return number
        number += 1


@pytest.mark.parametrize(
    "begin", [_interrupt_joining, _interrupt_giving_up, _interrupt_taking, _interrupt_losing, _interrupt_evicting]
)
def test_an_interrupted_poll_is_made_up_for_by_the_next(
    case_of: Callable[[], Case], begin: Callable[[Case], tuple[eventlog.Consumer, Callable[[], Any]]]
) -> None:
    """Interrupted before any line of its part in a rebalance, a member goes on with its next poll: no lock stays held,
    each partition is read by one member, from the committed offset on, and listeners are told.
    """

    def one(case: Case, number: int) -> str | None:
        victim, call = begin(case)
        where = interrupted_at(number, call)
        try:
            case.check_locks()
            if where is None:  # what the call has read was read
                _rewind(case, victim)
            case.check_whole(*reversed(case.consumers))
        except BaseException as error:
            error.add_note(f"interrupted at {where}")
            raise
        return where

    assert _every_line(case_of, one) > 100


def test_an_interrupted_commit_can_be_repeated(case_of: Callable[[], Case]) -> None:
    """It was written whole or not at all; the lock is free, and the consumer commits again."""

    def one(case: Case, number: int) -> str | None:
        victim = case.member()
        case.settle(victim)
        where = interrupted_at(number, lambda: victim.commit(dict.fromkeys(PARTITIONS, 3)))
        try:
            case.check_locks()
            places = {victim.committed(tp) for tp in PARTITIONS}
            assert places in ({OffsetAndMetadata(COMMITTED)}, {OffsetAndMetadata(3)})
            victim.commit(dict.fromkeys(PARTITIONS, 4))
            assert {victim.committed(tp) for tp in PARTITIONS} == {OffsetAndMetadata(4)}
        except BaseException as error:
            error.add_note(f"interrupted at {where}")
            raise
        return where

    assert _every_line(case_of, one) > 20


@pytest.mark.parametrize("call", ["close", "unsubscribe"])
def test_an_interrupted_close_can_be_repeated(case_of: Callable[[], Case], call: str) -> None:
    """Closed or unsubscribed again after an interrupt, a member has left, and another one takes over at once."""

    def one(case: Case, number: int) -> str | None:
        victim, other = case.member(), case.member()
        case.settle(victim, other)
        where = interrupted_at(number, getattr(victim, call))
        try:
            case.check_locks()
            getattr(victim, call)()
            case.consumers.remove(victim)
            case.clock.advance(0.06)  # who was interrupted may look dead, instead of gone: then others look around
            case.check_whole(other)
            victim.close()
        except BaseException as error:
            error.add_note(f"interrupted at {where}")
            raise
        return where

    assert _every_line(case_of, one) > 40
