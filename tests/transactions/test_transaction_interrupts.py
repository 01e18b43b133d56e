"""An interrupt in a transaction leaves it whole or absent everywhere, no lock held, and the next one works.

Once by a real timer's signal at random moments of a call, drawn from a seeded generator, and once, by a trace function,
before each line that the call runs in the files that deal with transactions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import IllegalStateError, OffsetAndMetadata, TopicPartition
from eventlog.model import GroupMetadata
from tests.interrupting import Interrupter, interrupted_before_line, typical_seconds
from tests.transactions.helpers import PLACES, check_clean, check_locks_are_free, create_topics

pytestmark = [
    pytest.mark.timeout(300, method="thread"),  # the other method would take the alarm signal for itself
    # Python swallows an interrupt that arrives within a finalizer.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
TP = TopicPartition("in", 0)
ROUNDS = 600

_TRACED = {
    "producer/transaction.py", "producer/transaction_manager.py", "producer/transactional.py",
    "coordination/transaction_commit.py", "coordination/transaction_coordinator.py",
    "coordination/transaction_journal.py", "coordination/transaction_offsets.py",
    "coordination/transactional_id.py", "storage/prepared_append.py", "storage/log_end.py", "storage/head.py",
    "storage/writer_files.py", "files/file_lock.py",
}  # fmt: skip
# None comes between a plain store and the call that follows.
_UNSEEN = ("self._end._mutex.release()", "self._mutex.release()")


def interrupted_at(number: int, call: Callable[[], Any]) -> str | None:
    return interrupted_before_line(
        number, call, lambda code: "/".join(Path(code.co_filename).parts[-2:]) in _TRACED, _UNSEEN
    )


class Case:
    """A log, and a producer whose transactions are numbered: ``number`` is that of the next one."""

    def __init__(self, log: eventlog.EventLog, durability: str = "os") -> None:
        self.log, self.durability = log, durability
        create_topics(log)
        log.create_topic("in").partitions[0].append([b"x"] * 10_000)
        self.number = 0
        self.producer = self.new_producer()
        self.producer.init_transactions()
        self.transact()

    def new_producer(self) -> eventlog.Producer:
        return self.log.producer(transactional_id="t", durability=self.durability)

    def fill(self) -> list[eventlog.Delivery]:
        sent: list[eventlog.Delivery] = []
        for tp in PLACES:
            sent.append(self.producer.send(tp.topic, b"%d" % self.number, partition=tp.partition))
            sent.append(self.producer.send_many(tp.topic, [b"%d" % self.number], partition=tp.partition))
        self.producer.send_offsets_to_transaction({TP: self.number}, GroupMetadata("g"))
        return sent

    def transact(self) -> None:
        with self.producer.transaction():
            sent = self.fill()
        assert {delivery.result().offset // 2 for delivery in sent} == {self.number}
        self.number += 1

    def is_whole(self, newest: int = 3) -> int:
        """Return the number of transactions that are there; the newest are whole everywhere, and so are offsets."""
        ends = {self.log.topic(tp.topic).partitions[tp.partition].log_end_offset for tp in PLACES}
        assert len(ends) == 1, ends
        count = ends.pop() // 2
        first = max(0, count - newest)
        expected = [b"%d" % number for number in range(first, count) for _ in range(2)]
        for tp in PLACES:
            batches = self.log.topic(tp.topic).partitions[tp.partition].read(2 * first, 1 << 30)
            assert [value for batch in batches for value in batch.values()] == expected
        with self.log.consumer(group="g") as consumer:
            assert consumer.committed(TP) == OffsetAndMetadata(count - 1)
        return count

    def settle(self, sent: list[eventlog.Delivery]) -> None:
        """After an interrupt: end the transaction, if it is still open, and see that the deliveries tell the truth."""
        check_locks_are_free(self.log)
        count = self.is_whole()
        assert count in (self.number, self.number + 1)
        ends = [self.producer.commit_transaction, self.producer.abort_transaction]
        for end in ends if self.number % 2 else reversed(ends):
            with contextlib.suppress(IllegalStateError):  # it is over, or its abort has begun
                end()
        count = self.is_whole()
        for delivery in sent:
            assert delivery.done()
            error = delivery.exception()
            assert (error is None) == (count > self.number), error
            assert error is not None or delivery.result().offset // 2 == self.number
        self.number = count
        self.transact()
        check_locks_are_free(self.log)


def every_line(case: Case, one: Callable[[int], str | None]) -> int:
    """Interrupt before each line until a call comes through, with durable ones each fifth; return their number."""
    for number in range(0, 100_000, 1 if case.durability == "os" else 5):
        where = None
        try:
            where = one(number)
        except BaseException as error:
            error.add_note(f"line {number}")
            raise
        if where is None:
            return number
    raise AssertionError("no end")


@pytest.fixture(params=["os", "disk"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with eventlog.open(tmp_path / "log") as log:
        made = Case(log, request.param)
        yield made
        count = made.is_whole(1 << 30)
        check_clean(log)
    with eventlog.open(tmp_path / "log") as made.log:
        assert made.is_whole(1 << 30) == count
        check_clean(made.log)
    del made.log, made.producer  # a closed log unmaps its files when it is forgotten


@pytest.mark.parametrize("end", ["commit_transaction", "abort_transaction"])
def test_an_end_that_is_interrupted_before_any_line(case: Case, end: str) -> None:
    """Interrupted anywhere, a commit has happened everywhere or nowhere; an abort too. The same call, or the other
    one, ends the transaction, deliveries tell what became of it, and the next transaction works.
    """

    def one(number: int) -> str | None:
        case.producer.begin_transaction()
        sent = case.fill()
        where = interrupted_at(number, getattr(case.producer, end))
        try:
            if where is None:
                count = case.is_whole()
                assert (count > case.number) == (end == "commit_transaction")
                case.number = count
            else:
                case.settle(sent)
        except BaseException as error:
            error.add_note(f"interrupted at {where}")
            raise
        return where

    assert every_line(case, one) > (100 if end == "commit_transaction" else 10)


def test_a_block_that_is_interrupted_before_any_line(case: Case) -> None:
    """Interrupted anywhere in its beginning, in a send or in its end, a block has committed or aborted: the next one
    begins at once.
    """

    def one(number: int) -> str | None:
        def block() -> None:
            with case.producer.transaction():
                case.fill()

        where = interrupted_at(number, block)
        try:
            check_locks_are_free(case.log)
            count = case.is_whole()
            assert count in (case.number, case.number + 1)
            case.number = count
            if where is not None:
                case.transact()
        except BaseException as error:
            error.add_note(f"interrupted at {where}")
            raise
        return where

    assert every_line(case, one) > 150


def test_an_init_that_is_interrupted_before_any_line(case: Case) -> None:
    """Interrupted anywhere, init_transactions can be called again, by the same producer or by another one."""

    def one(number: int) -> str | None:
        producer = case.new_producer()
        where = interrupted_at(number, producer.init_transactions)
        try:
            check_locks_are_free(case.log)
            if where is not None and number % 2:
                with contextlib.suppress(IllegalStateError):
                    producer.init_transactions()
            elif where is not None:
                producer.close()
                producer = case.new_producer()
                producer.init_transactions()
            case.producer.close()
            case.producer = producer
            case.transact()
        except BaseException as error:
            error.add_note(f"interrupted at {where}")
            raise
        return where

    assert every_line(case, one) > 20


# --- at random moments ---


def test_interrupts_at_random_moments(interrupter: Interrupter, case: Case) -> None:
    """Whenever a signal interrupts a commit, all of the above holds."""
    longest = 2 * typical_seconds(case.transact, 20)
    for _ in interrupter.rounds(ROUNDS if case.durability == "os" else ROUNDS // 5):
        case.producer.begin_transaction()
        sent = case.fill()
        if interrupter.call(case.producer.commit_transaction, longest)[1] is not None:
            case.settle(sent)
        else:
            case.number += 1
    assert case.is_whole() == case.number
