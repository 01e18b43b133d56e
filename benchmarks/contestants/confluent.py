"""confluent-kafka against the mock cluster that is built into librdkafka: no broker, no network, no disk."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.workloads import PER_CALL, Work, calls, expect, timed, times_us, transactions, values

TOPIC = "bench"
FLUSH_SECONDS = 60.0
READ_SECONDS = 60.0  # a hard end: the mock cluster is no broker, and may stop delivering
JOIN_SECONDS = 30.0
TURN_SECONDS = 0.002
PREFETCH_SECONDS = 0.3  # more than librdkafka needs to fetch one pass into its queue
PER_PASS = 20_000  # the mock cluster keeps a few megabytes of a partition: more would be dropped unread

PRODUCER = {
    "bootstrap.servers": "mock:9092",  # replaced by the mock cluster
    "test.mock.num.brokers": 1,
    "queue.buffering.max.messages": 10_000_000,
    "queue.buffering.max.kbytes": 2_097_151,
    "log_level": 3,  # errors only: starting a mock cluster is a notice
}
CONSUMER = {
    "group.id": "bench",
    "enable.auto.commit": False,
    "fetch.wait.max.ms": 10,  # a seek back waits for a fetch that is under way: keep that wait short
    "log_level": 3,
}


def _producer() -> Producer:
    """A producer that has met its cluster: connecting is not part of any work."""
    producer = Producer(PRODUCER)
    producer.produce(TOPIC, b"first", None, 0)
    expect(producer.flush(FLUSH_SECONDS), 0)
    return producer


@timed
def produce(directory: Path, amount: int) -> Iterator[Work]:
    """``produce`` one by one, then ``flush``."""
    producer = _producer()
    items = values(amount)

    def work() -> int:
        send = producer.produce
        for value in items:
            send(TOPIC, value, None, 0)
        return amount - producer.flush(FLUSH_SECONDS)

    yield work


@timed
def produce_batch(directory: Path, amount: int) -> Iterator[Work]:
    """``produce_batch`` of 1,000, then ``flush``; its dictionaries built beforehand."""
    producer = _producer()
    batches = calls([{"value": value} for value in values(amount)])

    def work() -> int:
        for batch in batches:
            producer.produce_batch(TOPIC, batch, 0)
        return amount - producer.flush(FLUSH_SECONDS)

    yield work


@timed
def transact(directory: Path, amount: int) -> Iterator[Work]:
    """Transactions of 1,000 by ``produce`` into 4 partitions, which a topic of the mock cluster has."""
    producer = Producer({**PRODUCER, "transactional.id": TOPIC})
    producer.init_transactions(FLUSH_SECONDS)
    all_parts = transactions(values(amount))

    def write(parts: list[list[bytes]]) -> None:
        send = producer.produce
        producer.begin_transaction()
        for number, part in enumerate(parts):
            for value in part:
                send(TOPIC, value, None, number)
        producer.commit_transaction(FLUSH_SECONDS)

    def work() -> int:
        for parts in all_parts:
            write(parts)
        return amount

    write(all_parts[0])  # meets the coordinator
    yield work


def _servers(producer: Producer) -> str:
    """Where the mock cluster listens that lives in this producer."""
    brokers = producer.list_topics(timeout=FLUSH_SECONDS).brokers.values()
    return ",".join(f"{broker.host}:{broker.port}" for broker in brokers)


@contextmanager
def _consumer(amount: int) -> Iterator[tuple[Consumer, TopicPartition, int]]:
    """A consumer at the start of what one pass delivers, and how many records that is."""
    producer = _producer()
    for value in values(min(amount, PER_PASS)):
        producer.produce(TOPIC, value, None, 0)
    expect(producer.flush(FLUSH_SECONDS), 0)
    consumer = Consumer({**CONSUMER, "bootstrap.servers": _servers(producer)})
    low, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=FLUSH_SECONDS)
    start = TopicPartition(TOPIC, 0, low)
    consumer.assign([start])
    try:
        yield consumer, start, high - low
    finally:
        consumer.close()


def _consume(consumer: Consumer, count: int, deadline: float) -> int:
    done = 0
    while done < count and time.monotonic() < deadline:
        messages = consumer.consume(min(PER_CALL, count - done), 0.2)
        done += len([message.value() for message in messages])
    return done


class _Passes:
    """Reads the same records again and again; the seek back and the wait for the prefetch are not timed."""

    def __init__(self, consumer: Consumer, start: TopicPartition, available: int, wait: float) -> None:
        self.consumer, self.start, self.available, self.wait = consumer, start, available, wait

    def read(self, amount: int) -> tuple[int, float]:
        """The number of records read and the seconds spent in reading them."""
        done, seconds = 0, 0.0
        deadline = time.monotonic() + READ_SECONDS
        while done < amount and time.monotonic() < deadline:
            self.consumer.seek(self.start)
            time.sleep(self.wait)
            begin = time.perf_counter()
            taken = _consume(self.consumer, min(self.available, amount - done), deadline)
            seconds += time.perf_counter() - begin
            done += taken
        return done, seconds


def _read(amount: int, wait: float) -> dict[str, float]:
    with _consumer(amount) as (consumer, start, available):
        expect(_consume(consumer, available, time.monotonic() + READ_SECONDS), available)
        done, seconds = _Passes(consumer, start, available, wait).read(amount)
    expect(done, amount)
    return {"rate": done / seconds, "seconds": seconds}


def consume(directory: Path, amount: int) -> dict[str, Any]:
    """``assign`` and ``consume(1000)`` with ``.value()``, in passes over what the mock cluster keeps."""
    return _read(amount, wait=0.0)


def consume_prefetched(directory: Path, amount: int) -> dict[str, Any]:
    """The same, begun only when librdkafka has the whole pass in its queue."""
    return _read(amount, wait=PREFETCH_SECONDS)


def commit(directory: Path, amount: int) -> dict[str, float]:
    """``commit(asynchronous=False)`` of one partition."""
    with _consumer(1) as (consumer, start, _):

        def commit_at(number: int) -> None:
            place = TopicPartition(start.topic, start.partition, number + 1)
            consumer.commit(offsets=[place], asynchronous=False)

        commit_at(0)  # finds the coordinator
        figures = times_us(amount, commit_at)
        expect(consumer.committed([start], FLUSH_SECONDS)[0].offset, amount)
    return figures


def first_join(directory: Path, amount: int) -> dict[str, float]:
    """Milliseconds for the first member of an empty group from ``subscribe`` to its partitions.

    Later members are no comparison: the mock cluster makes each wait for the session timeout, as no broker does.
    """
    producer = _producer()
    servers = _servers(producer)
    return {"first_join_ms": statistics.median([_first_join_ms(servers, f"first-{n}") for n in range(amount)])}


def _first_join_ms(servers: str, group: str) -> float:
    consumer = Consumer({**CONSUMER, "bootstrap.servers": servers, "group.id": group})
    assigned_at: list[float] = []
    start = time.perf_counter()
    try:
        consumer.subscribe([TOPIC], on_assign=lambda *_: assigned_at.append(time.perf_counter()))
        while not assigned_at and time.perf_counter() < start + JOIN_SECONDS:
            consumer.poll(TURN_SECONDS)
    finally:
        consumer.close()
    expect(len(assigned_at), 1)
    return 1e3 * (assigned_at[0] - start)
