"""The topics that the log keeps for itself are the log's alone to write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import eventlog
from eventlog.cli.commands import commands

INTERNAL = ["__consumer_offsets", "__transaction_state"]


def used(log: eventlog.EventLog) -> None:
    """Commit an offset, and a transaction."""
    log.create_topic("t").partitions[0].append([b"a"])
    with log.consumer("t", group="g", auto_offset_reset="earliest") as consumer:
        consumer.poll()
        consumer.commit()
    with log.producer(transactional_id="id") as producer, producer.transaction():
        producer.send("t", b"b")


async def send_async(log: eventlog.EventLog, topic: str) -> None:
    async with log.async_producer() as producer:
        await producer.send(topic, b"x")


def send_in_transaction(log: eventlog.EventLog, topic: str) -> None:
    with log.producer(transactional_id="other") as producer, producer.transaction():
        producer.send(topic, b"x")


@pytest.mark.parametrize("topic", INTERNAL)
@pytest.mark.parametrize(
    "send",
    [
        lambda log, topic: log.producer().send(topic, b"x"),
        lambda log, topic: log.producer().send_many(topic, [b"x", b"y"]),
        lambda log, topic: asyncio.run(send_async(log, topic)),
        send_in_transaction,
    ],
    ids=["send", "send_many", "asyncio", "transaction"],
)
def test_producers_write_to_no_internal_topic(
    log: eventlog.EventLog, topic: str, send: Callable[[eventlog.EventLog, str], object]
) -> None:
    """As in Kafka it is InvalidTopicError; nothing was written, and transactions go on."""
    used(log)
    with pytest.raises(eventlog.InvalidTopicError, match="only"):
        send(log, topic)
    assert len(log.recent_transactions()) == 1 and log.verify_transactions().ok
    assert log.group("g").total_lag == 1


@pytest.mark.parametrize("topic", INTERNAL)
def test_the_command_line_writes_to_no_internal_topic(log_path: Path, topic: str) -> None:
    """``eventlog produce`` is refused like any producer, with one line."""
    with eventlog.open(log_path) as log:
        used(log)
    result = CliRunner().invoke(commands, ["produce", str(log_path), topic], input=b"x\n")
    assert result.exit_code == 1 and topic in result.output


@pytest.mark.parametrize("topic", INTERNAL)
def test_internal_topics_can_be_read(log: eventlog.EventLog, topic: str) -> None:
    """A consumer that names one gets its records, as they are on disk."""
    used(log)
    with log.consumer(topic, auto_offset_reset="earliest") as consumer:
        assert len(consumer.poll()) == 1
