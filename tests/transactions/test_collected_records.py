"""Records that an open transaction collects: each has the place, the order, the outcome and the errors of any other."""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import eventlog
from eventlog.partitioners import FEW_KEYS
from tests.interrupting import called_before_line, interrupted_before_line
from tests.producer.placed import home, stored

FILES = ("transaction.py", "transaction_manager.py", "collected_records.py", "transaction_sends.py", "placing.py")

UNSEEN = (  # between plain stores no signal is looked for
    "self._encoded += count",
    "self._sealed, self.waiting = sealed, []",
)


@pytest.fixture
def producer(log: eventlog.EventLog) -> Iterator[eventlog.Producer]:
    with log.producer(transactional_id="id") as made:
        made.init_transactions()
        yield made


class Sent:
    """What was sent by `send_any`: the arguments, and the delivery."""

    def __init__(self, number: int, key: bytes | None, more: dict[str, Any], delivery: eventlog.Delivery) -> None:
        self.number, self.key, self.more, self.delivery = number, key, more, delivery


def send_any(producer: eventlog.Producer, source: random.Random, partitions: int, number: int) -> Sent:
    """Send a record of any kind; its value begins with the number."""
    key = source.choice([None, b"", b"k%d" % source.randrange(40), source.randbytes(source.randrange(90))])
    value = b"%d " % number + bytes(70_000 if source.random() < 0.01 else source.randrange(30))
    more: dict[str, Any] = {}
    if source.random() < 0.2:
        more["headers"] = [("name", b"%d" % number), ("none", None)]
    if source.random() < 0.1:
        more["timestamp_ms"] = number
    if source.random() < 0.1:
        more["partition"] = source.randrange(partitions)
    return Sent(number, key, more, producer.send("t", value, key, **more))


@pytest.mark.parametrize("seed", range(12))
def test_every_way_to_send_keeps_the_order_of_a_partition(
    log: eventlog.EventLog, producer: eventlog.Producer, seed: int
) -> None:
    """Keyed, plain, headed, large and listed records, and those with a partition, lie in the order they were sent."""
    print(f"seed {seed}")
    source, partitions = random.Random(seed), (1, 2, 3, 5)[seed % 4]
    log.create_topic("t", partitions=partitions, max_message_bytes=80_000)
    numbers, committed, aborted, listed = itertools.count(), [], [], []
    for _ in range(12):
        producer.begin_transaction()
        sent: list[Sent] = []
        lists: list[tuple[list[int], eventlog.ManyDelivery]] = []
        for _ in range(source.randrange(30)):
            if source.random() < 0.1:
                some = list(itertools.islice(numbers, 3))
                keys = [source.choice([None, b"k%d" % source.randrange(40)]) for _ in some]
                lists.append((some, producer.send_many("t", [b"%d" % n for n in some], keys)))
            for _ in range(source.choice([1, 1, 2 * FEW_KEYS])):
                sent.append(send_any(producer, source, partitions, next(numbers)))
        if source.random() < 0.3:
            producer.abort_transaction()
            aborted += sent
        else:
            producer.commit_transaction()
            committed += sent
            listed += lists
    found = stored(log.topic("t"))
    order = [[int((record.value or b"").split()[0]) for record in part] for part in found]
    assert all(part == sorted(part) for part in order)
    assert sorted(itertools.chain(*order)) == sorted(
        [one.number for one in committed] + [number for some, _ in listed for number in some]
    )
    for one in committed:
        metadata = one.delivery.result()
        record = found[metadata.partition][metadata.offset]
        assert (int((record.value or b"").split()[0]), record.key) == (one.number, one.key)
        assert list(record.headers) == one.more.get("headers", [])
        assert record.timestamp_ms == metadata.timestamp_ms == one.more.get("timestamp_ms", metadata.timestamp_ms)
        if "partition" in one.more or one.key is not None:
            assert metadata.partition == one.more.get("partition", home(one.key or b"", partitions))
    for some, many in listed:
        for number, result in zip(some, many.results(), strict=True):
            assert isinstance(result, eventlog.RecordMetadata)
            assert order[result.partition][result.offset] == number
    assert all(isinstance(one.delivery.exception(), eventlog.TransactionAbortedError) for one in aborted)


def test_records_without_a_key_fill_a_batch_before_they_move_on(tmp_path: Path) -> None:
    """Within one transaction they are spread over the partitions, a batch of ``batch_size`` bytes to each in turn."""
    with (
        eventlog.open(tmp_path / "log") as log,
        log.producer(transactional_id="id", batch_size=1000) as producer,
    ):
        log.create_topic("t", partitions=4)
        with producer.transaction():
            sent = [producer.send("t", bytes(100)) for _ in range(400)]
        runs = [len(list(run)) for _, run in itertools.groupby(sent, lambda one: one.result().partition)]
        assert sum(runs) == 400
        assert set(runs) == {10}
        assert {one.result().partition for one in sent} == {0, 1, 2, 3}


def test_round_robin_takes_the_partitions_in_turn(log: eventlog.EventLog) -> None:
    """Records without a key go to one partition after the other, those with one to theirs."""
    log.create_topic("t", partitions=3)
    with log.producer(transactional_id="id", partitioner="round_robin") as producer, producer.transaction():
        sent = [producer.send("t", b"", b"key" if number % 2 else None) for number in range(60)]
    places = [one.result().partition for one in sent]
    assert [(after - before) % 3 for before, after in itertools.pairwise(places[::2])] == [1] * 29
    assert set(places[1::2]) == {home(b"key", 3)}


# --- errors stay where they were ---


def begun(log: eventlog.EventLog, producer: eventlog.Producer, topic: str = "t") -> list[eventlog.Delivery]:
    """Open a transaction that knows the topic already."""
    if topic not in log.topics():
        log.create_topic(topic, partitions=3)
    producer.begin_transaction()
    return [producer.send(topic, b"%d" % number, b"key") for number in range(3)]


@pytest.mark.parametrize("key", [None, b"key"])
def test_a_send_without_a_transaction_is_refused(
    log: eventlog.EventLog, producer: eventlog.Producer, key: bytes | None
) -> None:
    """After the commit, or the abort, a topic that was known is none that may be sent to."""
    for end in (producer.commit_transaction, producer.abort_transaction):
        begun(log, producer)
        end()
        with pytest.raises(eventlog.IllegalStateError):
            producer.send("t", b"none", key)
    assert [record.value for part in stored(log.topic("t")) for record in part] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("key", [None, b"key"])
def test_a_fenced_producer_is_told_by_its_next_send(
    log: eventlog.EventLog, producer: eventlog.Producer, key: bytes | None
) -> None:
    """Another producer has begun: the very next send raises, and what was collected has failed."""
    sent = begun(log, producer)
    with log.producer(transactional_id="id") as other:
        other.init_transactions()
        with pytest.raises(eventlog.ProducerFencedError):
            producer.send("t", b"fenced", key)
    assert all(isinstance(one.exception(), eventlog.ProducerFencedError) for one in sent)
    assert not any(stored(log.topic("t")))


@pytest.mark.parametrize("key", [None, b"key"])
def test_a_transaction_that_is_too_old_is_told_by_its_next_send(log_path: Path, key: bytes | None) -> None:
    """Behind ``transaction_timeout_ms`` a send raises, to a topic that is known as well."""
    clock = eventlog.ManualClock(start=1000.0)
    with (
        eventlog.open(log_path, clock=clock) as log,
        log.producer(transactional_id="id", transaction_timeout_ms=1000) as producer,
    ):
        producer.init_transactions()
        begun(log, producer)
        clock.advance(0.999)
        producer.send("t", b"in time", key)
        clock.advance(0.002)
        with pytest.raises(eventlog.TransactionTimeoutError):
            producer.send("t", b"late", key)
        producer.abort_transaction()


@pytest.mark.parametrize("key", [None, b"k"])
def test_what_does_not_fit_into_buffer_memory_is_refused_and_the_others_stay(
    log: eventlog.EventLog, key: bytes | None
) -> None:
    """The record that would be too much is refused at its send, and no other."""
    log.create_topic("t", partitions=3)
    with log.producer(transactional_id="id", buffer_memory=10_000) as producer:
        with producer.transaction():
            size = 64 + 100 + len(key or b"")
            for _ in range(10_000 // size):
                producer.send("t", bytes(100), key)
            for _ in range(3):
                with pytest.raises(eventlog.BufferExhaustedError, match="holds"):
                    producer.send("t", bytes(100), key)
        assert sum(map(len, stored(log.topic("t")))) == 10_000 // size


def test_a_record_that_failed_is_told_by_the_next_send(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """Once a record was too large, nothing more is taken, and the commit fails, until the transaction is aborted."""
    begun(log, producer)
    with pytest.raises(eventlog.RecordTooLargeError):
        producer.send("t", bytes(2 << 20), b"key")
    for key in (None, b"key"):
        with pytest.raises(eventlog.TransactionAbortableError):
            producer.send("t", b"more", key)
    with pytest.raises(eventlog.TransactionAbortableError):
        producer.commit_transaction()
    producer.abort_transaction()
    assert not any(stored(log.topic("t")))


def test_a_deleted_topic_is_told_by_the_next_send(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """The topic is gone: a send to it raises, so does the commit; to abort is possible."""
    begun(log, producer)
    log.delete_topic("t")
    for key in (None, b"key"):
        with pytest.raises(eventlog.UnknownTopicError):
            producer.send("t", b"more", key)
    with pytest.raises(eventlog.UnknownTopicError):
        producer.commit_transaction()
    producer.abort_transaction()
    begun(log, producer, "other")
    producer.commit_transaction()


def test_a_topic_that_was_made_anew_is_another_one(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """What was collected for the topic that is gone never gets into the one that has its name now."""
    begun(log, producer)
    log.delete_topic("t")
    log.create_topic("t", partitions=3)
    with pytest.raises(eventlog.EventLogError):
        producer.send("t", b"new", b"key")
    with pytest.raises(eventlog.EventLogError):
        producer.commit_transaction()
    producer.abort_transaction()
    assert not any(stored(log.topic("t")))
    begun(log, producer)
    producer.commit_transaction()
    assert sum(map(len, stored(log.topic("t")))) == 3


def test_serializers_are_always_called(log: eventlog.EventLog) -> None:
    """Text is encoded, what cannot be is refused at the send: also where the topic is known already."""
    log.create_topic("t", partitions=3)
    with (
        log.producer(transactional_id="id", key_serializer="str", value_serializer="json") as producer,
        producer.transaction(),
    ):
        for number in range(50):
            producer.send("t", {"n": number}, f"k{number}" if number % 3 else None)
        with pytest.raises(eventlog.SerializationError):
            producer.send("t", {}, b"bytes")
        with pytest.raises(eventlog.SerializationError):
            producer.send("t", {1, 2}, "k")
    found = [record for part in stored(log.topic("t")) for record in part]
    assert {record.value for record in found} == {b'{"n":%d}' % number for number in range(50)}
    assert {record.key for record in found} == {b"k%d" % n for n in range(50) if n % 3} | {None}


def test_callbacks_and_descriptions(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """A delivery says for what it waits; nothing is told before the end, and then each callback once."""
    sent = begun(log, producer)
    told: list[Any] = []
    for one in sent:
        one.add_callback(lambda metadata, error: told.append((metadata, error)))
    assert "waiting for t" in repr(sent[-1])
    with pytest.raises(eventlog.IllegalStateError, match="waits for its transaction"):
        sent[-1].result()
    assert not told
    producer.commit_transaction()
    assert told == [(one.result(), None) for one in sent]
    sent, told = begun(log, producer), []
    for one in sent:
        one.add_callback(lambda metadata, error: told.append((metadata, error)))
    producer.abort_transaction()
    assert [metadata for metadata, _ in told] == [None] * 3
    assert all(isinstance(error, eventlog.TransactionAbortedError) for _, error in told)


# --- whatever comes in between ---


def is_ours(code: CodeType) -> bool:
    return code.co_filename.endswith(FILES) and "eventlog" in code.co_filename


class Reader:
    """Tells what has come since it was asked last."""

    def __init__(self, topic: eventlog.Topic) -> None:
        self._cursors = [partition.cursor(0) for partition in topic.partitions]

    def news(self) -> list[bytes]:
        """The values, sorted."""
        found: list[bytes] = []
        for cursor in self._cursors:
            while (batch := cursor.next_batch()) is not None:
                found += [value or b"" for value in batch.values()]
        return sorted(found)


@pytest.mark.parametrize("end", ["commit_transaction", "abort_transaction"])
def test_a_handler_may_send_before_any_line_of_the_end(
    log: eventlog.EventLog, producer: eventlog.Producer, end: str
) -> None:
    """What a signal handler sends in the middle of a commit or an abort is taken and has an outcome, or is refused."""
    reader = Reader(log.create_topic("t", partitions=3))
    for line in itertools.count():
        producer.begin_transaction()
        accepted = {b"%d" % n: producer.send("t", b"%d" % n, b"k%d" % n) for n in range(FEW_KEYS)}
        refused: list[bytes] = []

        def handler() -> None:
            for value in (b"from the handler", b"and another"):
                try:
                    accepted[value] = producer.send("t", value, b"key")  # noqa: B023
                except (eventlog.ReentrantCallError, eventlog.IllegalStateError):
                    refused.append(value)  # noqa: B023

        where: list[str] = []
        called_before_line(line, getattr(producer, end), is_ours, handler, where)
        assert all(one.done() for one in accepted.values()), where
        assert reader.news() == (sorted(accepted) if end == "commit_transaction" else []), (where, refused)
        if not where:
            break
    assert line > 20


def test_an_interrupt_before_any_line_of_the_commit_leaves_all_or_nothing(
    log: eventlog.EventLog, producer: eventlog.Producer
) -> None:
    """Wherever the commit is interrupted, it can be done when it is called again; nothing is lost, or there twice."""
    topic = log.create_topic("t", partitions=3)
    reader = Reader(topic)
    for line in itertools.count():
        producer.begin_transaction()
        sent = [producer.send("t", b"%03d" % n, b"k%d" % n if n % 2 else None) for n in range(2 * FEW_KEYS)]
        where = interrupted_before_line(line, producer.commit_transaction, is_ours, UNSEEN)
        with contextlib.suppress(eventlog.IllegalStateError):  # it was committed
            if line % 2:
                sent.append(producer.send("t", b"%03d" % len(sent), b"key"))
            producer.commit_transaction()
        assert reader.news() == [b"%03d" % n for n in range(len(sent))], where
        for number, one in enumerate(sent):
            place = one.result()
            batch = topic.partitions[place.partition].read(place.offset)[0]
            assert batch.from_offset(place.offset).values()[0] == b"%03d" % number, where
        if where is None:
            break
    assert line > 20


def test_threads_send_while_transactions_end(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """A record that was accepted is in one transaction, and has its outcome; one that was refused is nowhere."""
    log.create_topic("t", partitions=3)
    accepted: list[list[tuple[int, eventlog.Delivery]]] = [[] for _ in range(3)]
    is_over = threading.Event()

    def send(thread: int) -> None:
        for number in range(10_000):
            if is_over.is_set():
                break
            with contextlib.suppress(eventlog.IllegalStateError):
                key = None if number % 5 == 0 else b"k%d" % (number % 50)
                accepted[thread].append((number, producer.send("t", b"%d %d" % (thread, number), key)))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for number in range(150):
            producer.begin_transaction()
            (producer.abort_transaction if number % 4 == 1 else producer.commit_transaction)()
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    found = stored(log.topic("t"))
    seen: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, part in enumerate(found):
        for record in part:
            thread_number, number = map(int, (record.value or b"").split())
            seen[thread_number, place].append(number)
    assert all(part == sorted(set(part)) for part in seen.values())
    taken = [committed(found, b"%d %d" % (n, number), one) for n, sent in enumerate(accepted) for number, one in sent]
    assert sum(taken) == sum(map(len, found))


def committed(found: list[list[eventlog.Record]], value: bytes, delivery: eventlog.Delivery) -> bool:
    """Tell whether the record was committed, and is where its delivery says."""
    assert delivery.done()
    if isinstance(delivery.exception(), eventlog.TransactionAbortedError):
        return False
    metadata = delivery.result()
    assert found[metadata.partition][metadata.offset].value == value
    return True
