"""The recipe that copies a topic to Kafka: nothing is lost, changed or passed over in silence."""

from __future__ import annotations

import random
import re
import socket
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import eventlog

confluent_kafka: Any = pytest.importorskip("confluent_kafka")

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "move-to-kafka.md"
NOW_MS = int(time.time() * 1000)
Copied = dict[int, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    """The names that the page's recipe defines."""
    (code,) = re.findall(r"```python\n(import confluent_kafka\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def producer(recipe: dict[str, Any], **config: Any) -> Any:
    """A producer of a mock cluster that librdkafka runs within this process."""
    return confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0, **recipe["SETTINGS"], **config})


def read_back(target: Any, topic: str, partitions: int, count: int) -> Copied:
    """All records of the mock cluster's topic, by partition."""
    brokers = target.list_topics(timeout=60).brokers.values()
    servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    config = {"bootstrap.servers": servers, "group.id": "g", "auto.offset.reset": "earliest", "log_level": 0}
    consumer = confluent_kafka.Consumer(config)
    consumer.assign([confluent_kafka.TopicPartition(topic, number, 0) for number in range(partitions)])
    found: Copied = defaultdict(list)
    for _ in range(count):
        message = consumer.poll(60)
        assert message is not None and message.error() is None
        headers = tuple(message.headers() or ())
        found[message.partition()].append(
            (message.offset(), message.timestamp()[1], message.key(), message.value(), headers)
        )
    assert consumer.poll(0.2) is None
    consumer.close()
    return found


def odd_records(choose: random.Random, count: int) -> list[tuple[Any, ...]]:
    """So many values, keys, times and headers of every kind."""
    return [
        (
            choose.choice([None, b"", b"v%d" % number, bytes(choose.randrange(2000))]),
            choose.choice([None, b"", b"k%d" % number]),
            choose.choice([0, 1, NOW_MS, NOW_MS + 10**9, choose.randrange(NOW_MS)]),
            choose.choice([(), (("h", None),), (("h", b""), ("\xfc", b"1"), ("h", b"2"))]),
        )
        for number in range(count)
    ]


def test_every_record_arrives_as_it_is(log: eventlog.EventLog, recipe: dict[str, Any]) -> None:
    """Nulls, empties, headers, old and future times, and order; the queue of the producer is full again and again."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    expected: Copied = {}
    for partition in log.create_topic("orders", partitions=3, message_timestamp_after_max_ms=2**63 - 1).partitions:
        rows = odd_records(choose, choose.randrange(1, 500))
        for start in range(0, len(rows), 70):
            partition.append(*map(list, zip(*rows[start : start + 70], strict=True)))
        expected[partition.number] = [
            (offset, max(time_ms, 1), key, value, headers) for offset, (value, key, time_ms, headers) in enumerate(rows)
        ]
    target = producer(recipe, **{"queue.buffering.max.messages": 7})
    recipe["copy"](log, "orders", target)
    assert read_back(target, "orders", 3, sum(map(len, expected.values()))) == expected


def test_the_largest_record_arrives(log: eventlog.EventLog, recipe: dict[str, Any]) -> None:
    """A record as large as a topic takes by default is no error of the producer's."""
    value = bytes(2**20 - 1000)
    log.create_topic("t").partitions[0].append([value])
    target = producer(recipe)
    recipe["copy"](log, "t", target)
    assert [row[3] for row in read_back(target, "t", 1, 1)[0]] == [value]


def test_a_log_that_is_written_meanwhile_comes_to_an_end(log: eventlog.EventLog, recipe: dict[str, Any]) -> None:
    """What was there at the start is copied, however fast records come."""
    partition = log.create_topic("t").partitions[0]
    partition.append([b"%d" % number for number in range(100)])

    class Writing:
        sent = 0

        def produce(self, *arguments: Any, **more: Any) -> None:
            Writing.sent += 1
            partition.append([b"more", b"more"])

        def flush(self) -> None:
            pass

    recipe["copy"](log, "t", Writing())
    assert 100 <= Writing.sent < 1000


def test_what_the_cluster_does_not_take_is_an_error(log: eventlog.EventLog, recipe: dict[str, Any]) -> None:
    """Records whose delivery fails raise, however few."""
    log.create_topic("t").partitions[0].append([b"v"])
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        config = {"bootstrap.servers": f"127.0.0.1:{nobody.getsockname()[1]}", "message.timeout.ms": 50, "log_level": 0}
        with pytest.raises(confluent_kafka.KafkaException):
            recipe["copy"](log, "t", confluent_kafka.Producer(config))
