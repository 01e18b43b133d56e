"""What can be called when, and what a transaction's end means for deliveries and callbacks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import eventlog
from eventlog import IllegalStateError, TopicPartition
from eventlog.clock import ManualClock
from eventlog.model import GroupMetadata
from tests.forking import fork
from tests.transactions.helpers import create_topics, everything, send_everywhere, transact, values

Call = Callable[[eventlog.Producer], object]

CALLS: dict[str, Call] = {
    "init": lambda producer: producer.init_transactions(),
    "begin": lambda producer: producer.begin_transaction(),
    "send": lambda producer: producer.send("b", b"x"),
    "send_many": lambda producer: producer.send_many("b", [b"x"]),
    "send_offsets": lambda producer: producer.send_offsets_to_transaction(
        {TopicPartition("b", 0): 0}, GroupMetadata("g")
    ),
    "commit": lambda producer: producer.commit_transaction(),
    "abort": lambda producer: producer.abort_transaction(),
}
POSSIBLE = {
    "new": {"init"},
    "ready": {"begin"},
    "open": {"send", "send_many", "send_offsets", "commit", "abort"},
}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log") as opened:
        create_topics(opened)
        yield opened


@pytest.fixture
def producer(log: eventlog.EventLog) -> Iterator[eventlog.Producer]:
    with log.producer(transactional_id="t") as made:
        yield made


def brought_to(producer: eventlog.Producer, state: str) -> eventlog.Producer:
    if state != "new":
        producer.init_transactions()
    if state == "open":
        producer.begin_transaction()
    return producer


# --- states ---


@pytest.mark.parametrize("state", POSSIBLE)
@pytest.mark.parametrize("call", CALLS)
def test_each_call_in_each_state(producer: eventlog.Producer, state: str, call: str) -> None:
    """What does not fit the state raises IllegalStateError with a hint, and the state stays what it was."""
    brought_to(producer, state)
    if call in POSSIBLE[state]:
        CALLS[call](producer)
        return
    with pytest.raises(IllegalStateError) as raised:
        CALLS[call](producer)
    assert raised.value.hint
    for possible in sorted(POSSIBLE[state] - {"commit", "abort"}):
        CALLS[possible](producer)


@pytest.mark.parametrize("call", [name for name in CALLS if not name.startswith("send")] + ["send_offsets"])
def test_a_producer_without_transactional_id_has_no_transactions(log: eventlog.EventLog, call: str) -> None:
    """Each method of transactions raises IllegalStateError, which says what is missing."""
    with log.producer() as plain, pytest.raises(IllegalStateError, match="transactional_id"):
        CALLS[call](plain)


@pytest.mark.parametrize("state", ["new", "ready", "open"])
@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_possible_after_close(
    log: eventlog.EventLog, producer: eventlog.Producer, state: str, call: str
) -> None:
    """A closed producer answers every call with ClosedError, and what was open is aborted."""
    brought_to(producer, state)
    sent = producer.send("b", b"x") if state == "open" else None
    producer.close()
    with pytest.raises(eventlog.ClosedError):
        CALLS[call](producer)
    assert values(log, "b") == []
    assert sent is None or isinstance(sent.exception(), eventlog.TransactionAbortedError)
    producer.close()


def test_a_producer_commits_and_aborts_in_any_order(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """Exactly the records of committed transactions are there, in the order of the commits."""
    producer.init_transactions()
    for number in range(12):
        producer.begin_transaction()
        send_everywhere(producer, b"%d" % number)
        (producer.abort_transaction if number % 3 == 1 else producer.commit_transaction)()
    expected = [b"%d" % number for number in range(12) if number % 3 != 1]
    assert all(found == expected for found in everything(log).values())


def test_an_empty_transaction_leaves_no_trace(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """Begin and commit, or abort, with nothing in between writes nothing, and can be repeated."""
    producer.init_transactions()
    journal = log.topic("__transaction_state").partitions[0]
    for end in (producer.commit_transaction, producer.abort_transaction) * 2:
        producer.begin_transaction()
        end()
    with producer.transaction():
        pass
    assert journal.log_end_offset == 0
    assert set(map(len, everything(log).values())) == {0}


def test_flush_ends_no_transaction(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """`flush` writes nothing of an open transaction, which goes on."""
    brought_to(producer, "open")
    first = producer.send("b", b"1")
    producer.flush()
    assert (values(log, "b"), first.done()) == ([], False)
    producer.send("b", b"2")
    producer.commit_transaction()
    assert values(log, "b") == [b"1", b"2"]


def test_an_open_transaction_is_aborted_with_the_log(tmp_path: Path) -> None:
    """Closing the log with a transaction open aborts it."""
    with eventlog.open(tmp_path) as log:
        create_topics(log)
        producer = brought_to(log.producer(transactional_id="t"), "open")
        sent = send_everywhere(producer, b"x")
    assert all(isinstance(delivery.exception(), eventlog.TransactionAbortedError) for delivery in sent)
    with eventlog.open(tmp_path) as log:
        assert set(map(len, everything(log).values())) == {0}


# --- the context manager ---


def test_the_block_commits_at_its_end(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """``with producer.transaction()`` begins, and commits at its end; it inits before the first time."""
    for number in range(3):
        assert [delivery.result().offset for delivery in transact(producer, b"x")] == [number] * 3


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_error_aborts_the_block(
    log: eventlog.EventLog, producer: eventlog.Producer, error: type[BaseException]
) -> None:
    """Whatever leaves the block aborts the transaction and goes on; the next one commits."""
    with pytest.raises(error), producer.transaction():
        sent = send_everywhere(producer, b"no")
        raise error
    assert all(isinstance(delivery.exception(), eventlog.TransactionAbortedError) for delivery in sent)
    transact(producer, b"yes")
    assert all(found == [b"yes"] for found in everything(log).values())


def test_the_block_may_end_its_transaction_itself(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """After a commit or an abort within the block its end does nothing; of several the last is committed."""
    with producer.transaction():
        producer.send("b", b"1")
        producer.commit_transaction()
    with producer.transaction():
        producer.send("b", b"no")
        producer.abort_transaction()
    with producer.transaction():
        producer.send("b", b"2")
        producer.commit_transaction()
        producer.begin_transaction()
        producer.send("b", b"3")
    with pytest.raises(ValueError, match="mine"), producer.transaction():
        producer.send("b", b"4")
        producer.commit_transaction()
        raise ValueError("mine")
    assert values(log, "b") == [b"1", b"2", b"3", b"4"]


def test_blocks_do_not_nest(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """A block within a block raises IllegalStateError; if the outer one catches it, its transaction goes on."""
    with producer.transaction():
        producer.send("b", b"1")
        with pytest.raises(IllegalStateError), producer.transaction():
            raise AssertionError("not reached")
        producer.send("b", b"2")
    assert values(log, "b") == [b"1", b"2"]


# --- deliveries ---


@pytest.mark.parametrize("many", [False, True])
def test_a_delivery_before_the_end(producer: eventlog.Producer, many: bool) -> None:
    """While the transaction is open a delivery is not done, and asking for its outcome raises IllegalStateError."""
    brought_to(producer, "open")
    delivery = producer.send_many("b", [b"1", b"2"]) if many else producer.send("b", b"1")
    assert not delivery.done()
    for ask in (delivery.result, delivery.exception, *([delivery.results] if many else [])):  # type: ignore[union-attr]
        with pytest.raises(IllegalStateError, match="waits for its transaction"):
            ask()
    assert "waiting" in repr(delivery)


def test_a_delivery_after_the_commit(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """Each delivery tells where its record lies, and when it was sent."""
    log.topic("a").partitions[1].append([b"before"] * 3)
    with producer.transaction():
        one = producer.send("a", b"1", partition=1, timestamp_ms=7)
        many = producer.send_many("a", [b"2", b"3"], partition=1, timestamps_ms=[8, 9])
        last = producer.send("a", b"4", partition=1, timestamp_ms=10)
    found = [one.result(), *many.results(), last.result()]
    assert [(m.topic, m.partition, m.offset, m.timestamp_ms, m.durable) for m in found] == [  # type: ignore[union-attr]
        ("a", 1, 3 + place, 7 + place, False) for place in range(4)
    ]
    assert many.result() == found[2]
    assert one.exception() is None
    assert all(delivery.done() for delivery in (one, many, last))


def test_a_delivery_after_an_abort(producer: eventlog.Producer) -> None:
    """Each delivery has failed with TransactionAbortedError."""
    brought_to(producer, "open")
    one, many = producer.send("a", b"1"), producer.send_many("a", [b"2", b"3"], [b"k", b"l"])
    producer.abort_transaction()
    assert all(isinstance(result, eventlog.TransactionAbortedError) for result in many.results())
    for delivery in (one, many):
        assert delivery.done()
        assert isinstance(delivery.exception(), eventlog.TransactionAbortedError)
        with pytest.raises(eventlog.TransactionAbortedError):
            delivery.result()


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_callbacks_are_called_at_the_end(producer: eventlog.Producer, end: str) -> None:
    """Each callback is called once, when the transaction ends, in the order in which they were added; an error in one
    harms nothing, and a callback may begin the next transaction.
    """
    told: list[tuple[str, bool, type | None]] = []

    def note(name: str) -> eventlog.producer.delivery.Callback:
        def callback(metadata: eventlog.RecordMetadata | None, error: BaseException | None) -> None:
            told.append((name, metadata is not None, None if error is None else type(error)))
            if name == "2":
                raise ValueError
            if name == "3":
                producer.begin_transaction()

        return callback

    brought_to(producer, "open")
    one, many = producer.send("b", b"1"), producer.send_many("b", [b"2", b"3"])
    many.add_callback(note("1"))
    one.add_callback(note("2"))
    one.add_callback(note("3"))
    assert told == []
    CALLS[end](producer)
    expected = (True, None) if end == "commit" else (False, eventlog.TransactionAbortedError)
    assert told == [(name, *expected) for name in "123"]
    one.add_callback(note("4"))
    assert told[3:] == [("4", *expected)]
    producer.commit_transaction()


# --- time ---


def test_a_transaction_may_not_be_open_for_too_long(tmp_path: Path) -> None:
    """After transaction_timeout_ms every call but abort raises TransactionTimeoutError; the next transaction begins
    with all its time.
    """
    clock = ManualClock(start=1_700_000_000.0)
    with eventlog.open(tmp_path, clock=clock) as log:
        create_topics(log)
        producer = brought_to(log.producer(transactional_id="t", transaction_timeout_ms=1000), "open")
        sent = producer.send("b", b"no")
        clock.advance(1.0)
        producer.send("b", b"no")
        clock.advance(0.001)
        for name in ("send", "send_many", "send_offsets", "commit"):
            with pytest.raises(eventlog.TransactionTimeoutError, match="1000 ms") as raised:
                CALLS[name](producer)
            assert "abort_transaction" in raised.value.hint
        producer.abort_transaction()
        assert isinstance(sent.exception(), eventlog.TransactionAbortedError)
        producer.begin_transaction()
        clock.advance(0.9)
        producer.send("b", b"yes")
        producer.commit_transaction()
        with pytest.raises(eventlog.TransactionTimeoutError), producer.transaction():
            producer.send("b", b"no")
            clock.advance(1.1)
        assert values(log, "b") == [b"yes"]


# --- threads and processes ---


def test_threads_send_into_one_transaction(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """What several threads send is committed as one transaction, each thread's records in its order."""
    brought_to(producer, "open")

    def send(thread: int) -> None:
        for number in range(100):
            if number % 10:
                producer.send("b", b"%d-%d" % (thread, number))
            else:
                producer.send_many("b", [b"%d-%d" % (thread, number)])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(log, "b") == []
    producer.commit_transaction()
    found = values(log, "b")
    for number in range(4):
        mine = [value for value in found if value is not None and value.startswith(b"%d-" % number)]
        assert mine == [b"%d-%d" % (number, place) for place in range(100)]
    assert len(found) == 400


def test_a_forked_child_has_no_part_in_it(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """In a forked child the producer raises ClosedError, and the child's end neither commits nor aborts anything."""
    brought_to(producer, "open")
    producer.send("b", b"1")

    def in_child() -> None:
        for call in CALLS.values():
            with pytest.raises(eventlog.ClosedError):
                call(producer)
        producer.close()

    assert fork(in_child) == 0
    producer.send("b", b"2")
    producer.commit_transaction()
    assert values(log, "b") == [b"1", b"2"]


def test_a_forked_child_may_have_one_of_its_own(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """A child that makes a producer of the same id fences its parent's."""
    brought_to(producer, "open")

    def in_child() -> None:
        with log.producer(transactional_id="t") as own:
            transact(own, b"child")

    assert fork(in_child) == 0
    with pytest.raises(eventlog.ProducerFencedError):
        producer.commit_transaction()
    assert all(found == [b"child"] for found in everything(log).values())
