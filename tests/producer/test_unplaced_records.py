"""Records whose partitions are computed later: none is lost, doubled, or overtaken, whatever comes in between."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FrameType
from typing import Any

import pytest

import eventlog
from eventlog.partitioners import FEW_KEYS
from tests.forking import fork
from tests.interrupting import interrupted_before_line
from tests.producer.placed import home, stored

NEVER_LINGERED = 10**9  # milliseconds
PLACING = f"{os.sep}unplaced_records.py"
names = (f"topic-{number}" for number in itertools.count())


def assert_right(
    log: eventlog.EventLog, name: str, accepted: dict[int, tuple[bytes | None, eventlog.Delivery]]
) -> None:
    """Each record is there once, where its delivery and its key say, and partitions keep the order of sends."""
    found = stored(log.topic(name))
    numbers = [[int(record.value.split()[0]) for record in records if record.value] for records in found]
    assert sorted(itertools.chain(*numbers)) == sorted(accepted)
    assert all(part == sorted(part) for part in numbers)
    for number, (key, delivery) in accepted.items():
        metadata = delivery.result()
        record = found[metadata.partition][metadata.offset]
        assert (int((record.value or b"").split()[0]), record.key) == (number, key)
        assert key is None or metadata.partition == home(key, len(found)) or delivery in EXPLICIT


EXPLICIT: set[eventlog.Delivery] = set()  # whose partition was given


class Sender:
    """Sends records of every kind by one producer; their values begin with a number that grows."""

    def __init__(self, producer: eventlog.Producer, partitions: int, seed: int) -> None:
        self.accepted: dict[int, tuple[bytes | None, eventlog.Delivery]] = {}
        self._producer = producer
        self._partitions = partitions
        self._random = random.Random(seed)

    def step(self) -> None:
        """Send some, or flush, or wait for one."""
        kind = self._random.random()
        if kind < 0.1:
            self._producer.flush()
        elif kind < 0.2 and self.accepted:
            self.accepted[self._random.choice(list(self.accepted))][1].result()
        elif kind < 0.3:
            self._send_list()
        else:
            for _ in range(self._random.choice([1, 1, 5, 2 * FEW_KEYS])):
                self._send_one()

    def _send_one(self) -> None:
        source, number = self._random, len(self.accepted)
        key = source.choice([None, b"", b"k%d" % source.randrange(40), source.randbytes(source.randrange(90))])
        value = b"%d " % number + bytes(5000 if source.random() < 0.02 else source.randrange(30))
        more: dict[str, Any] = {}
        if source.random() < 0.2:
            more["headers"] = [("name", b"%d" % number), ("none", None)]
        if source.random() < 0.1:
            more["timestamp_ms"] = number
        if source.random() < 0.1:
            more["partition"] = source.randrange(self._partitions)
        delivery = self._producer.send("t", value, key, **more)
        self.accepted[number] = key, delivery
        if "partition" in more:
            EXPLICIT.add(delivery)

    def _send_list(self) -> None:
        first = len(self.accepted)
        keys = [self._random.choice([None, b"k%d" % self._random.randrange(40)]) for _ in range(3)]
        listed = self._producer.send_many("t", [b"%d" % (first + n) for n in range(3)], keys)
        for one, key in zip(listed.results(), keys, strict=True):
            assert isinstance(one, eventlog.RecordMetadata)
            self.accepted[len(self.accepted)] = key, _Known(one)


@pytest.mark.parametrize("seed", range(12))
def test_every_way_to_send_keeps_the_order_of_a_partition(log: eventlog.EventLog, seed: int) -> None:
    """Keyed, plain, headed, large and listed records, and those with a partition, lie in the order they were sent."""
    print(f"seed {seed}")
    partitions, batch_size = (1, 2, 3, 5)[seed % 4], (1, 300, 4000)[seed % 3]
    log.create_topic("t", partitions=partitions)
    with log.producer(linger_ms=NEVER_LINGERED, batch_size=batch_size) as producer:
        sender = Sender(producer, partitions, seed)
        for _ in range(150):
            sender.step()
    assert_right(log, "t", sender.accepted)


class _Known(eventlog.Delivery):
    """The delivery of one record of a list."""

    __slots__ = ("_metadata",)

    def __init__(self, metadata: eventlog.RecordMetadata) -> None:
        self._metadata = metadata

    def result(self, timeout: float | None = None) -> eventlog.RecordMetadata:
        return self._metadata


def places_records(code: CodeType) -> bool:
    return code.co_filename.endswith(PLACING)


def test_an_interrupt_before_any_line_loses_and_doubles_nothing(log: eventlog.EventLog) -> None:
    """Wherever placing is interrupted, what was accepted is there once, in order, after the next flush."""
    for line in itertools.count():
        name = next(names)
        log.create_topic(name, partitions=3)
        accepted: list[int] = []
        with log.producer(linger_ms=NEVER_LINGERED, batch_size=400) as producer:
            send = partial(_send_both, producer, name, itertools.count(), accepted)
            send(FEW_KEYS)
            where = interrupted_before_line(line, lambda send=send: send(1), places_records)  # type: ignore[misc]
            where = where or interrupted_before_line(line, producer.flush, places_records)
            send(FEW_KEYS)
            where = where or interrupted_before_line(line, producer.flush, places_records)
            send(3)
        parts = [[int(record.value or b"") for record in records] for records in stored(log.topic(name))]
        assert all(part == sorted(set(part)) for part in parts), where
        assert set(accepted) <= {number for part in parts for number in part}, where
        if where is None:
            break
    assert line > 10


def _send_both(producer: eventlog.Producer, name: str, numbers: Iterator[int], accepted: list[int], count: int) -> None:
    """Send records with a key and without, whose values say in which order; note those that were accepted."""
    for _ in range(count):
        number = next(numbers)
        producer.send(name, b"%d" % number, b"k%d" % (number % 50))
        accepted.append(number)
        producer.send(name, b"%d" % next(numbers))


def test_a_handler_may_send_and_flush_in_the_middle_of_placing(log: eventlog.EventLog) -> None:
    """What a handler sends, or flushes, before any line that places records, is there once, as is all else."""
    values = itertools.count()
    for line in itertools.count():
        name = next(names)
        log.create_topic(name, partitions=3)
        with log.producer(linger_ms=NEVER_LINGERED) as producer:
            sent = []

            def send(count: int) -> None:
                for _ in range(count):
                    number = next(values)
                    sent.append((number, producer.send(name, b"%d" % number, b"k%d" % (number % 50))))  # noqa: B023

            send(2 * FEW_KEYS)

            def handler() -> None:
                send(FEW_KEYS if line % 2 else 1)  # noqa: B023
                sent[0][1].result()  # noqa: B023

            called = before_line(line, producer._pool.place_all, handler, PLACING)
            producer.flush()
            found = sorted(int(record.value or b"") for records in stored(log.topic(name)) for record in records)
            assert found == sorted(number for number, _ in sent)
            assert all(delivery.done() for _, delivery in sent)
        if not called:
            break
    assert line > 10


@pytest.mark.parametrize("steps", range(0, 240, 60))
def test_records_keep_their_keys_whatever_else_places_records_meanwhile(log: eventlog.EventLog, steps: int) -> None:
    """What another thread sends and places, between any two bytecodes of placing, costs no later record its key."""
    for number in range(steps, steps + 60):
        name = next(names)
        topic = log.create_topic(name)
        with log.producer(linger_ms=NEVER_LINGERED) as producer:

            def send(count: int) -> None:
                for _ in range(count):
                    producer.send(name, b"value", b"key")  # noqa: B023

            def meanwhile() -> None:
                send(6)
                producer._pool.place_all()

            send(FEW_KEYS)
            before_line(number, producer._pool.place_all, meanwhile, PLACING, event="opcode")
            producer.flush()
            send(6)
        keys = [record.key for batch in topic.partitions[0].read(0, 1 << 30) for record in batch.records()]
        assert set(keys) == {b"key"}, number


def before_line(
    number: int, call: Callable[[], Any], handler: Callable[[], Any], file: str, event: str = "line"
) -> bool:
    """Run the call, and the handler before its line of this number in ``file``; tell whether there is such a line.

    With ``event="opcode"`` it is bytecodes that are counted.
    """
    left, called = number, False

    def on_line(frame: FrameType, seen: str, _: Any) -> Any:
        nonlocal left, called
        if seen == event and not called:
            left -= 1
            if left < 0:
                called = True
                sys.settrace(None)
                handler()
        return on_line

    def on_call(frame: FrameType, seen: str, _: Any) -> Any:
        frame.f_trace_opcodes = event == "opcode"
        return on_line if frame.f_code.co_filename.endswith(file) and not called else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        call()
    finally:
        sys.settrace(before)
    return called


def test_threads_keep_their_order(log: eventlog.EventLog) -> None:
    """Threads that send to the same partitions lose nothing, and each one's records keep their order."""
    log.create_topic("t", partitions=3)
    with log.producer(linger_ms=1, batch_size=2000) as producer:

        def send(thread: int) -> None:
            for number in range(2000):
                key = None if number % 7 == 0 else b"k%d" % (number % 60)
                producer.send("t", b"%d %d" % (thread, number), key)
                if number % 500 == 0:
                    producer.flush()

        threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    seen = defaultdict(list)
    for partition, records in enumerate(stored(log.topic("t"))):
        for record in records:
            thread_number, number = map(int, (record.value or b"").split())
            seen[thread_number, partition].append(number)
    assert all(part == sorted(part) for part in seen.values())
    for thread_number in range(4):
        assert sorted(n for (one, _), part in seen.items() if one == thread_number for n in part) == list(range(2000))


@contextlib.contextmanager
def held(log: eventlog.EventLog, name: str) -> Iterator[None]:
    """Hold every partition of the topic, as a writer in another process would."""
    with contextlib.ExitStack() as stack:
        for partition in log.topic(name).partitions:
            assert partition.log_end_offset >= 0  # the first use makes the directory
            fd = os.open(os.path.join(log.path, "topics", name, str(partition.number), "lock"), os.O_RDWR)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield


def test_keyed_records_do_not_outgrow_buffer_memory(log: eventlog.EventLog) -> None:
    """While nothing can be written, sends are refused once ``buffer_memory`` is used up; what was taken is written."""
    log.create_topic("t", partitions=2)
    accepted: dict[int, tuple[bytes | None, eventlog.Delivery]] = {}
    with log.producer(buffer_memory=300_000, batch_size=1000, max_block_ms=1, linger_ms=NEVER_LINGERED) as producer:
        with held(log, "t"), pytest.raises(eventlog.BufferExhaustedError):
            for number in range(10_000):
                key = b"k%d" % (number % 100)
                accepted[number] = key, producer.send("t", b"%d " % number + bytes(200), key)
        assert 300_000 / 250 <= len(accepted) <= 300_000 / 200 + 100
    assert_right(log, "t", accepted)


def test_keys_use_new_partitions_at_once(log: eventlog.EventLog) -> None:
    """What is sent after a topic has grown is placed by the new number of partitions."""
    topic = log.create_topic("t", partitions=1)
    with log.producer(linger_ms=NEVER_LINGERED) as producer:
        first = [producer.send("t", b"", b"k%d" % number) for number in range(20)]
        producer.flush()
        topic.add_partitions(7)
        sent = {b"k%d" % number: producer.send("t", b"", b"k%d" % number) for number in range(200)}
        assert {key: delivery.result().partition for key, delivery in sent.items()} == {
            key: home(key, 7) for key in sent
        }
        assert {delivery.result().partition for delivery in first} == {0}


def test_callbacks_and_descriptions_of_unplaced_records(log: eventlog.EventLog) -> None:
    """A callback is called once, with the record's own place; a delivery says for what it waits."""
    log.create_topic("t", partitions=5)
    told: list[Any] = []
    with log.producer(linger_ms=NEVER_LINGERED) as producer:
        deliveries = [producer.send("t", b"%d" % number, b"k%d" % number) for number in range(20)]
        assert re.fullmatch(r"<\w+Delivery waiting for t(-\d)?>", repr(deliveries[0]))
        assert "20 records waiting" in repr(producer)
        for delivery in deliveries[::2]:
            delivery.add_callback(lambda metadata, error: told.append((metadata, error)))
    assert sorted(told) == sorted((delivery.result(), None) for delivery in deliveries[::2])


def test_a_forked_child_has_no_part_in_them(log: eventlog.EventLog) -> None:
    """The parent writes what it sent; its child sends what it wants to, and cannot wait for the parent's."""
    log.create_topic("t", partitions=3)
    producer = log.producer(linger_ms=NEVER_LINGERED)
    waiting = [producer.send("t", b"parent", b"k%d" % number) for number in range(30)]

    def child() -> None:
        with pytest.raises(eventlog.ClosedError):
            waiting[0].result()
        for number in range(30):
            producer.send("t", b"child", b"k%d" % number)
        producer.close()

    assert fork(child) == 0
    producer.close()
    values = [record.value for records in stored(log.topic("t")) for record in records]
    assert (values.count(b"parent"), values.count(b"child")) == (30, 30)
    assert all(delivery.done() for delivery in waiting)


def test_serializers_of_keys_are_always_called(log: eventlog.EventLog) -> None:
    """Text is encoded, bytes go through a callable, and None stays None: also where the topic is known already."""
    log.create_topic("t", partitions=3)
    with log.producer(key_serializer="str") as producer:
        for number in range(100):
            producer.send("t", b"%d" % number, f"k{number}")
        with pytest.raises(eventlog.SerializationError):
            producer.send("t", b"", b"bytes")
    with log.producer(key_serializer=lambda key: key[::-1]) as producer:
        for number in range(100):
            producer.send("t", b"%d" % number, b"abc"[: number % 3 + 1])
    keys = [record.key for records in stored(log.topic("t")) for record in records]
    assert set(keys) == {b"k%d" % number for number in range(100)} | {b"a", b"ba", b"cba"}
