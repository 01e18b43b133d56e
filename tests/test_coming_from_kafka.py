"""Mistakes of those who know Kafka's clients: each is told what the call is here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

import eventlog

SETTINGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "group_id": (lambda log: log.consumer("t", group_id="g"), "'group'"),
    "consumer_timeout_ms": (lambda log: log.consumer("t", consumer_timeout_ms=5), "poll a timeout"),
    "num_partitions": (lambda log: log.create_topic("x", num_partitions=5), "partitions=3"),
    "compression": (lambda log: log.producer(compression="gzip"), "'compression_type'"),
    "group_id with asyncio": (lambda log: log.async_consumer("t", group_id="g"), "'group'"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_another_client(log: eventlog.EventLog, name: str) -> None:
    """A setting that has another name here is an error that tells it."""
    call, told = SETTINGS[name]
    with pytest.raises(eventlog.InvalidConfigError) as caught:
        call(log)
    assert told in caught.value.hint


def test_an_argument_of_another_clients_poll(log: eventlog.EventLog) -> None:
    """``timeout_ms``, which poll has elsewhere, is a TypeError that says how it is given here."""
    log.create_topic("t")
    told = r"timeout_ms.*in seconds: poll\(timeout=0.5\)"
    consumer: Any = log.consumer("t")
    for poll in (consumer.poll, consumer.poll_batches):
        with pytest.raises(TypeError, match=told):
            poll(timeout_ms=500)

    async def main() -> None:
        consumer: Any = log.async_consumer("t")
        async with consumer:
            for poll in (consumer.poll, consumer.poll_batches):
                with pytest.raises(TypeError, match=told):
                    await poll(timeout_ms=500)

    asyncio.run(main())


def test_milliseconds_for_seconds(
    log: eventlog.EventLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timeout of 100 or more, as a whole number, is likely in milliseconds: one warning in a process says so."""
    monkeypatch.setattr("eventlog.quantities._warned", [])
    log.create_topic("t").partitions[0].append([b"x"] * 10)
    with log.consumer("t", auto_offset_reset="earliest", max_poll_records=1) as consumer:
        for timeout in (99, 100.0, 0.5, None):
            consumer.poll(timeout)
        assert not caplog.records
        for _ in range(2):
            assert len(consumer.poll(500)) == 1
        assert len(consumer.poll_batches(1000)) == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "500 seconds" in record.getMessage()


def test_more_seconds_than_can_be_written(
    log: eventlog.EventLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timeout of more digits than Python writes is warned of as well, and is as long as can be waited for."""
    monkeypatch.setattr("eventlog.quantities._warned", [])
    log.create_topic("t").partitions[0].append([b"x"])
    with log.consumer("t", auto_offset_reset="earliest") as consumer:
        assert len(consumer.poll(10**5000)) == 1
    assert ["milliseconds" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("wrong", ["order", "Orders", "ordres"])
def test_a_misspelt_topic(log: eventlog.EventLog, wrong: str) -> None:
    """A topic that does not exist is an error that names one of a similar name."""
    log.create_topic("orders")
    log.create_topic("payments")
    with log.producer() as producer:
        for call in (log.topic, log.delete_topic, lambda name: producer.send(name, b"x")):
            with pytest.raises(eventlog.UnknownTopicError, match="did you mean 'orders'"):
                call(wrong)


def test_a_topic_like_no_other(log: eventlog.EventLog) -> None:
    """Where no name is similar, none is offered."""
    log.create_topic("payments")
    with pytest.raises(eventlog.UnknownTopicError) as caught:
        log.topic("orders")
    assert "did you mean" not in caught.value.hint and "create_topic" in caught.value.hint
