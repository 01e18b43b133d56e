"""eventlog itself, with keys: a topic of several partitions, everything else as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import eventlog
from benchmarks.contestants.ours import TOPIC, end_offset, records, topic
from benchmarks.workloads import (
    DISTINCT_KEYS,
    FEW_KEYS,
    HEADERS,
    MANY_PARTITIONS,
    PARTITIONS,
    Work,
    calls,
    expect,
    keys,
    objects,
    timed,
    values,
)


def send_all(producer: eventlog.Producer, items: Sequence[Any], item_keys: Sequence[Any]) -> None:
    """``send`` each with its key, then ``flush``."""
    send = producer.send
    for value, key in zip(items, item_keys, strict=True):
        send(TOPIC, value, key)
    producer.flush()


def send_all_with_headers(producer: eventlog.Producer, items: Sequence[Any], item_keys: Sequence[Any]) -> None:
    """The same with headers."""
    send = producer.send
    for value, key in zip(items, item_keys, strict=True):
        send(TOPIC, value, key, headers=HEADERS)
    producer.flush()


def send_plain(producer: eventlog.Producer, items: Sequence[bytes]) -> None:
    """``send`` each value, then ``flush``."""
    send = producer.send
    for value in items:
        send(TOPIC, value)
    producer.flush()


def send_lists(
    producer: eventlog.Producer, batches: Sequence[Sequence[bytes]], keys_of: Sequence[Sequence[bytes]] | None
) -> None:
    """``send_many`` each list, with or without keys, then ``flush``."""
    send = producer.send_many
    for batch, batch_keys in zip(batches, repeat(None) if keys_of is None else keys_of, strict=keys_of is not None):
        send(TOPIC, batch, batch_keys)
    producer.flush()


def send_in_transactions(
    producer: eventlog.Producer, batches: Sequence[Sequence[bytes]], keys_of: Sequence[Sequence[bytes]] | None
) -> None:
    """Each list as one transaction, record by record."""
    send = producer.send
    for number, batch in enumerate(batches):
        with producer.transaction():
            for value, key in zip(batch, repeat(None) if keys_of is None else keys_of[number], strict=False):
                send(TOPIC, value, key)


def _send(directory: Path, items: Sequence[Any], item_keys: Sequence[Any], **config: Any) -> Iterator[Work]:
    partitions = config.pop("partitions", PARTITIONS)
    write = config.pop("write", send_all)
    with topic(directory, partitions=partitions) as (log, made), log.producer(**config) as producer:

        def work() -> int:
            write(producer, items, item_keys)
            return len(items)

        yield work
        expect(records(made), len(items))


@timed
def send(directory: Path, amount: int) -> Iterator[Work]:
    """``send`` with one of 10,000 keys, then ``flush``."""
    yield from _send(directory, values(amount), keys(amount, DISTINCT_KEYS))


@timed
def send_few(directory: Path, amount: int) -> Iterator[Work]:
    """The same with few keys."""
    yield from _send(directory, values(amount), keys(amount, FEW_KEYS))


@timed
def send_distinct(directory: Path, amount: int) -> Iterator[Work]:
    """The same, each record with a key of its own."""
    yield from _send(directory, values(amount), keys(amount, amount))


@timed
def send_str(directory: Path, amount: int) -> Iterator[Work]:
    """The same with 10,000 keys of text."""
    text = [key.decode() for key in keys(amount, DISTINCT_KEYS)]
    yield from _send(directory, values(amount), text, key_serializer="str")


@timed
def send_headers(directory: Path, amount: int) -> Iterator[Work]:
    """``send`` with one of 10,000 keys and two headers."""
    yield from _send(directory, values(amount), keys(amount, DISTINCT_KEYS), write=send_all_with_headers)


@timed
def send_json(directory: Path, amount: int) -> Iterator[Work]:
    """``send`` of objects as JSON, with keys of text."""
    text = [key.decode() for key in keys(amount, DISTINCT_KEYS)]
    yield from _send(directory, objects(amount), text, key_serializer="str", value_serializer="json")


@timed
def send_to_many(directory: Path, amount: int) -> Iterator[Work]:
    """``send`` with one of 10,000 keys to 12 partitions."""
    yield from _send(directory, values(amount), keys(amount, DISTINCT_KEYS), partitions=MANY_PARTITIONS)


@timed
def send_many(directory: Path, amount: int) -> Iterator[Work]:
    """``send_many`` of 1,000 with 10,000 keys."""
    batches, keys_of = calls(values(amount)), calls(keys(amount, DISTINCT_KEYS))
    with topic(directory, partitions=PARTITIONS) as (log, made), log.producer() as producer:

        def work() -> int:
            send_lists(producer, batches, keys_of)
            return amount

        yield work
        expect(records(made), amount)


@timed
def transact(directory: Path, amount: int) -> Iterator[Work]:
    """Transactions of 1,000 ``send`` with a key."""
    batches, keys_of = calls(values(amount)), calls(keys(amount, DISTINCT_KEYS))
    with (
        topic(directory, partitions=PARTITIONS) as (log, made),
        log.producer(transactional_id=TOPIC) as producer,
    ):

        def work() -> int:
            send_in_transactions(producer, batches, keys_of)
            return amount

        yield work
        expect(records(made), amount)


@timed
def send_durable(directory: Path, amount: int) -> Iterator[Work]:
    """``send`` and wait, one after the other, each on the device."""
    with topic(directory) as (log, made), log.producer(linger_ms=0, durability="disk") as producer:
        items = values(amount)

        def work() -> int:
            for value in items:
                producer.send(TOPIC, value).result()
            return amount

        yield work
        expect(end_offset(made), amount)
