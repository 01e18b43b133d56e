"""confluent-kafka with keys, against the mock cluster that is built into librdkafka; its topics have 4 partitions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benchmarks.contestants.confluent import FLUSH_SECONDS, PRODUCER, TOPIC
from benchmarks.workloads import (
    DISTINCT_KEYS,
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

KEYED = {**PRODUCER, "partitioner": "murmur2_random"}  # that of Kafka's Java client, and ours
_to_json = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))


def _producer(topics: Sequence[str]) -> Producer:
    """A producer that has met its cluster and knows the partitions: connecting is not part of any work."""
    producer = Producer(KEYED)
    for name in topics:
        for key in keys(DISTINCT_KEYS, DISTINCT_KEYS):
            producer.produce(name, b"first", key)
    expect(producer.flush(FLUSH_SECONDS), 0)
    return producer


def _produce(items: Sequence[Any], item_keys: Sequence[Any], **more: Any) -> Iterator[Work]:
    producer = _producer([TOPIC])

    def work() -> int:
        send = producer.produce
        for value, key in zip(items, item_keys, strict=True):
            send(TOPIC, value, key, **more)
        return len(items) - producer.flush(FLUSH_SECONDS)

    yield work


@timed
def produce(directory: Path, amount: int) -> Iterator[Work]:
    """``produce`` with one of 10,000 keys, then ``flush``."""
    yield from _produce(values(amount), keys(amount, DISTINCT_KEYS))


@timed
def produce_headers(directory: Path, amount: int) -> Iterator[Work]:
    """The same with two headers."""
    yield from _produce(values(amount), keys(amount, DISTINCT_KEYS), headers=HEADERS)


@timed
def produce_json(directory: Path, amount: int) -> Iterator[Work]:
    """The same of objects as JSON, with keys of text, which `produce` encodes."""
    producer = _producer([TOPIC])
    items, text = objects(amount), [key.decode() for key in keys(amount, DISTINCT_KEYS)]

    def work() -> int:
        send = producer.produce
        for value, key in zip(items, text, strict=True):
            send(TOPIC, _to_json(value).encode(), key)
        return amount - producer.flush(FLUSH_SECONDS)

    yield work


@timed
def produce_to_many(directory: Path, amount: int) -> Iterator[Work]:
    """``produce`` in turn to as many topics as have 12 partitions together."""
    names = [f"{TOPIC}-{number}" for number in range(MANY_PARTITIONS // PARTITIONS)]
    producer = _producer(names)
    targets = [names[number % len(names)] for number in range(amount)]
    items, item_keys = values(amount), keys(amount, DISTINCT_KEYS)

    def work() -> int:
        send = producer.produce
        for name, value, key in zip(targets, items, item_keys, strict=True):
            send(name, value, key)
        return amount - producer.flush(FLUSH_SECONDS)

    yield work


@timed
def produce_batch(directory: Path, amount: int) -> Iterator[Work]:
    """``produce_batch`` of 1,000 with keys; its dictionaries built beforehand."""
    producer = _producer([TOPIC])
    pairs = zip(values(amount), keys(amount, DISTINCT_KEYS), strict=True)
    batches = calls([{"value": value, "key": key} for value, key in pairs])

    def work() -> int:
        for batch in batches:
            producer.produce_batch(TOPIC, batch)
        return amount - producer.flush(FLUSH_SECONDS)

    yield work


@timed
def transact(directory: Path, amount: int) -> Iterator[Work]:
    """Transactions of 1,000 by ``produce`` with a key."""
    producer = Producer({**KEYED, "transactional.id": TOPIC})
    producer.init_transactions(FLUSH_SECONDS)
    batches, keys_of = calls(values(amount)), calls(keys(amount, DISTINCT_KEYS))

    def write(number: int) -> None:
        send = producer.produce
        producer.begin_transaction()
        for value, key in zip(batches[number], keys_of[number], strict=True):
            send(TOPIC, value, key)
        producer.commit_transaction(FLUSH_SECONDS)

    def work() -> int:
        for number in range(len(batches)):
            write(number)
        return amount

    write(0)  # meets the coordinator
    yield work
