"""eventlog itself: a topic of one partition, everything else as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import eventlog
from benchmarks.workloads import (
    PARTITIONS,
    PER_CALL,
    VALUE_BYTES,
    Work,
    calls,
    expect,
    timed,
    times_us,
    transactions,
    values,
)
from eventlog.files.filesystem import FileSystem

TOPIC, GROUP = "bench", "bench"
HERE = eventlog.TopicPartition(TOPIC, 0)
WAIT_SECONDS = 5.0
THREADS = 8


@contextmanager
def topic(
    directory: Path, filesystem: FileSystem | None = None, **config: Any
) -> Iterator[tuple[eventlog.EventLog, eventlog.Topic]]:
    """A fresh log with its one topic."""
    with eventlog.open(directory / "log", filesystem=filesystem) as log:
        yield log, log.create_topic(TOPIC, **config)


def end_offset(made: eventlog.Topic) -> int:
    return made.partitions[0].log_end_offset


def records(made: eventlog.Topic) -> int:
    """All that are in the topic, and visible."""
    return sum(partition.log_end_offset for partition in made.partitions)


@contextmanager
def reader(log: eventlog.EventLog) -> Iterator[eventlog.Consumer]:
    """A consumer at the start of the partition."""
    with log.consumer() as consumer:
        consumer.assign([HERE])
        consumer.seek_to_beginning(HERE)
        yield consumer


def member(log: eventlog.EventLog, **config: Any) -> eventlog.Consumer:
    """A member of a group that begins where the partition does."""
    return log.consumer(TOPIC, group=GROUP, auto_offset_reset="earliest", **config)


def poll_one(consumer: eventlog.Consumer) -> None:
    expect(len(consumer.poll(WAIT_SECONDS, max_records=1)), 1)


def write(log: eventlog.EventLog, amount: int) -> None:
    """Fill the topic by ``send_many``, 1,000 a call."""
    with log.producer() as producer:
        for batch in calls(values(amount)):
            producer.send_many(TOPIC, batch)


@timed
def send(directory: Path, amount: int) -> Iterator[Work]:
    """``send`` one by one, no key, then ``flush``."""
    with topic(directory) as (log, made), log.producer() as producer:
        items = values(amount)

        def work() -> int:
            send = producer.send
            for value in items:
                send(TOPIC, value)
            producer.flush()
            return amount

        yield work
        expect(end_offset(made), amount)


@timed
def send_many(directory: Path, amount: int) -> Iterator[Work]:
    """``send_many``, 1,000 a call, then ``flush``."""
    with topic(directory) as (log, made), log.producer() as producer:
        batches = calls(values(amount))

        def work() -> int:
            for batch in batches:
                producer.send_many(TOPIC, batch)
            producer.flush()
            return amount

        yield work
        expect(end_offset(made), amount)


@timed
def append_many(directory: Path, amount: int) -> Iterator[Work]:
    """``partition.append``, 1,000 a call."""
    with topic(directory) as (_, made):
        partition = made.partitions[0]
        batches = calls(values(amount))

        def work() -> int:
            for batch in batches:
                partition.append(batch)
            return amount

        yield work
        expect(end_offset(made), amount)


@timed
def read_values(directory: Path, amount: int) -> Iterator[Work]:
    """``poll_batches`` and ``batch.values()``."""
    with topic(directory) as (log, _):
        write(log, amount)
        with reader(log) as consumer:

            def work() -> int:
                done = 0
                while done < amount and (batches := consumer.poll_batches(WAIT_SECONDS)):
                    for batch in batches:
                        done += len(batch.values())
                return done

            yield work


@timed
def read_records(directory: Path, amount: int) -> Iterator[Work]:
    """``poll`` of up to 1,000 ``Record`` objects, with ``.value``."""
    with topic(directory) as (log, _):
        write(log, amount)
        with reader(log) as consumer:

            def work() -> int:
                done = 0
                while done < amount and (records := consumer.poll(WAIT_SECONDS, max_records=PER_CALL)):
                    done += len([record.value for record in records])
                return done

            yield work


def commit(directory: Path, amount: int) -> dict[str, float]:
    """``commit()`` of a group's member after each record, visible to every process when it returns."""
    directory.mkdir(parents=True, exist_ok=True)
    with topic(directory) as (log, _):
        write(log, amount + 1)
        with member(log, enable_auto_commit=False) as consumer:
            poll_one(consumer)
            consumer.commit()
            figures = times_us(amount, lambda _: consumer.commit(), before=lambda: poll_one(consumer))
            committed = consumer.committed(HERE)
    expect(0 if committed is None else committed.offset, amount + 1)
    return figures


@timed
def scan(directory: Path, amount: int) -> Iterator[Work]:
    """``poll_batches`` with the CRC verified; the columns are touched, no value becomes an object."""
    with topic(directory) as (log, _):
        write(log, amount)
        with reader(log) as consumer:

            def work() -> int:
                done = size = 0
                while done < amount and (batches := consumer.poll_batches(WAIT_SECONDS)):
                    for batch in batches:
                        done += len(batch)
                        size += int(batch.value_offsets[-1]) - int(batch.value_offsets[0])
                expect(size, done * VALUE_BYTES)
                return size

            yield work


def _append(directory: Path, amount: int, durability: str) -> Iterator[Work]:
    with topic(directory, durability=durability) as (_, made):
        partition = made.partitions[0]
        items = values(amount)

        def work() -> int:
            append = partition.append
            for value in items:
                append([value])
            return amount

        yield work
        expect(end_offset(made), amount)


@timed
def append_one(directory: Path, amount: int) -> Iterator[Work]:
    """``partition.append`` of one record, visible to every process when it returns."""
    yield from _append(directory, amount, "os")


@timed
def append_durable(directory: Path, amount: int) -> Iterator[Work]:
    """``partition.append`` of one record, on the device when it returns."""
    yield from _append(directory, amount, "disk")


@timed
def append_durable_threads(directory: Path, amount: int) -> Iterator[Work]:
    """The same from 8 threads at once."""
    with topic(directory, durability="disk") as (_, made), ThreadPoolExecutor(THREADS) as pool:
        partition = made.partitions[0]
        shares = [values(amount // THREADS) for _ in range(THREADS)]

        def append_all(share: tuple[bytes, ...]) -> int:
            for value in share:
                partition.append([value])
            return len(share)

        def work() -> int:
            return sum(pool.map(append_all, shares))

        yield work
        expect(end_offset(made), sum(map(len, shares)))


def send_parts(producer: eventlog.Producer, parts: list[list[bytes]]) -> None:
    """One ``send_many`` into each partition."""
    for number, part in enumerate(parts):
        producer.send_many(TOPIC, part, partition=number)


def send_transaction(producer: eventlog.Producer, parts: list[list[bytes]]) -> None:
    """The same, into all partitions or none."""
    with producer.transaction():
        send_parts(producer, parts)


def _transact(directory: Path, amount: int, durability: str) -> Iterator[Work]:
    """The files exist when the clock starts, as a database's tables do: one transaction went before."""
    with (
        topic(directory, partitions=PARTITIONS) as (log, made),
        log.producer(transactional_id=TOPIC, durability=durability) as producer,
    ):
        send_transaction(producer, [[b"first"]] * PARTITIONS)
        all_parts = transactions(values(amount))

        def work() -> int:
            for parts in all_parts:
                send_transaction(producer, parts)
            return amount

        yield work
        expect(records(made), amount + PARTITIONS)


def _send_parts(directory: Path, amount: int, durability: str) -> Iterator[Work]:
    with topic(directory, partitions=PARTITIONS) as (log, made), log.producer(durability=durability) as producer:
        send_parts(producer, [[b"first"]] * PARTITIONS)
        all_parts = transactions(values(amount))

        def work() -> int:
            for parts in all_parts:
                send_parts(producer, parts)
            producer.flush()
            return amount

        yield work
        expect(records(made), amount + PARTITIONS)


@timed
def transact(directory: Path, amount: int) -> Iterator[Work]:
    """Transactions of 1,000, one ``send_many`` into each of 4 partitions, visible to every process when committed."""
    yield from _transact(directory, amount, "os")


@timed
def transact_durable(directory: Path, amount: int) -> Iterator[Work]:
    """The same, on the device when committed."""
    yield from _transact(directory, amount, "disk")


@timed
def send_to_partitions(directory: Path, amount: int) -> Iterator[Work]:
    """The same calls of ``send_many`` without a transaction."""
    yield from _send_parts(directory, amount, "os")


@timed
def send_to_partitions_durable(directory: Path, amount: int) -> Iterator[Work]:
    """The same, each on the device when it returns."""
    yield from _send_parts(directory, amount, "disk")
