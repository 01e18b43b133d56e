"""Tests of a program that speaks Kafka's model, against a real log in a temporary directory. No server, no mock.

Run them with ``pytest examples/test_with_eventlog.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog


def forward_errors(consumer: eventlog.Consumer, producer: eventlog.Producer) -> None:
    """The program under test: copy what is an error to a topic of its own."""
    for record in consumer.poll():
        if record.value is not None and b"[error]" in record.value:
            producer.send("errors", record.value, key=record.key)
    producer.flush()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[eventlog.EventLog]:
    """A fresh log with the program's topics."""
    with eventlog.open(tmp_path / "log") as opened:
        opened.create_topic("lines", partitions=2)
        opened.create_topic("errors")
        yield opened


def test_errors_are_forwarded_with_their_keys(log: eventlog.EventLog) -> None:
    """Errors arrive in order, with their keys, and nothing else does."""
    with log.producer() as producer, log.consumer("lines", auto_offset_reset="earliest") as consumer:
        producer.send_many("lines", [b"[notice] up", b"[error] a", b"[error] b"], keys=[b"web", b"web", b"web"])
        forward_errors(consumer, producer)
    batches = log.topic("errors").partitions[0].read(0)
    assert [(r.key, r.value) for batch in batches for r in batch.records()] == [
        (b"web", b"[error] a"),
        (b"web", b"[error] b"),
    ]


def test_time_is_turned_by_hand(tmp_path: Path) -> None:
    """A log with a manual clock stamps records with the time that the test says it is."""
    clock = eventlog.ManualClock(start=1_700_000_000.0)
    with eventlog.open(tmp_path / "log", clock=clock) as log:
        partition = log.create_topic("t").partitions[0]
        partition.append([b"before"])
        clock.advance(60)
        partition.append([b"after"])
        assert partition.offset_for_time(1_700_000_001_000) == 1
