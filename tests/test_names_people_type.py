"""Calls that users of Kafka's clients type without looking them up, and times as datetimes."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import numpy as np
import pytest

import eventlog
from eventlog import TopicPartition

HOUR = datetime.timedelta(hours=1)
START = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
START_MS = 1_714_564_800_000
PLACES = [TopicPartition("t", 0), TopicPartition("t", 1)]


@pytest.fixture
def log(log: eventlog.EventLog) -> eventlog.EventLog:
    """A log of two topics, one with five records in each of two partitions."""
    log.create_topic("u")
    for partition in log.create_topic("t", partitions=2).partitions:
        partition.append([b"%d" % number for number in range(5)])
    return log


def test_topics_by_name(log: eventlog.EventLog) -> None:
    """A log tells of its topics as a dict of its keys."""
    assert "t" in log and "x" not in log and 5 not in log
    assert list(log) == log.topics() == ["t", "u"]
    assert log["t"] is log.topic("t")
    with pytest.raises(eventlog.UnknownTopicError):
        log["x"]


def test_what_there_is_to_read(log: eventlog.EventLog) -> None:
    """A consumer and a producer tell which topics and partitions there are, assigned or not."""
    with log.consumer(group="g") as consumer, log.producer() as producer:
        consumer.assign([PLACES[0]])
        consumer.poll()
        consumer.commit({PLACES[0]: 1})  # which makes an internal topic
        assert consumer.topics() == ["t", "u"]
        assert consumer.partitions_for_topic("t") == producer.partitions_for("t") == PLACES
        for call in (consumer.partitions_for_topic, producer.partitions_for):
            with pytest.raises(eventlog.UnknownTopicError):
                call("x")


def test_positions(log: eventlog.EventLog) -> None:
    """All positions at once are those of each partition."""
    with log.consumer("t", auto_offset_reset="earliest") as consumer:
        consumer.seek(PLACES[1], 3)
        assert consumer.positions() == {PLACES[0]: 0, PLACES[1]: 3}
        consumer.unsubscribe()
        assert consumer.positions() == {}


def test_back_to_what_was_committed(log: eventlog.EventLog) -> None:
    """`seek_to_committed` goes to the commits of these partitions, or of all; without one, where the policy says."""
    with log.consumer(group="g", auto_offset_reset="latest", enable_auto_commit=False) as consumer:
        consumer.assign(PLACES)
        consumer.commit({PLACES[0]: 2})
        consumer.seek_to_beginning()
        consumer.seek_to_committed(PLACES[0])
        assert consumer.positions() == {PLACES[0]: 2, PLACES[1]: 0}
        consumer.seek_to_committed()
        assert consumer.positions() == {PLACES[0]: 2, PLACES[1]: 5}
        with pytest.raises(eventlog.NotAssignedError):
            consumer.seek_to_committed(TopicPartition("u", 0))


def test_back_to_a_commit_without_one(log: eventlog.EventLog) -> None:
    """Without a group there is no commit to go to; with ``auto_offset_reset="none"`` a missing one is an error."""
    with log.consumer("t") as consumer, pytest.raises(eventlog.IllegalStateError):
        consumer.seek_to_committed()
    with log.consumer(group="g", auto_offset_reset="none", enable_auto_commit=False) as consumer:
        consumer.assign(PLACES)
        with pytest.raises(eventlog.NoOffsetForPartitionError):
            consumer.seek_to_committed()


def test_the_same_with_asyncio(log: eventlog.EventLog) -> None:
    """The asynchronous clients have the same calls."""

    async def main() -> None:
        async with (
            log.async_consumer(group="g", enable_auto_commit=False) as consumer,
            log.async_producer() as producer,
        ):
            await consumer.assign(PLACES)
            await consumer.commit({PLACES[0]: 2, PLACES[1]: 3})
            await consumer.seek_to_beginning()
            await consumer.seek_to_committed()
            assert await consumer.positions() == {PLACES[0]: 2, PLACES[1]: 3}
            assert await consumer.topics() == ["t", "u"]
            assert await consumer.partitions_for_topic("t") == await producer.partitions_for("t") == PLACES

    asyncio.run(main())


# --- datetimes ---


def test_records_are_stamped_with_datetimes(log: eventlog.EventLog) -> None:
    """Wherever a timestamp is given, a datetime with a time zone does as well; a record tells its own as one."""
    partition, east = log.topic("u").partitions[0], datetime.timezone(7 * HOUR)
    partition.append([b"0"], timestamps_ms=START)
    partition.append([b"1", b"2"], timestamps_ms=[START + HOUR, (START + 2 * HOUR).astimezone(east)])
    with log.producer() as producer:
        producer.send("u", b"3", timestamp_ms=START + 3 * HOUR).result()
        producer.send("u", b"4", timestamp_ms=(START + 4 * HOUR).astimezone(east), key=b"k").result()
        producer.send_many("u", [b"5", b"6"], timestamps_ms=[START + 5 * HOUR, START_MS + 6 * 3_600_000])
    with log.consumer("u", auto_offset_reset="earliest") as consumer:
        records = consumer.poll()
    assert [record.timestamp for record in records] == [START + number * HOUR for number in range(7)]
    assert [record.timestamp_ms for record in records] == [START_MS + number * 3_600_000 for number in range(7)]
    assert records[0].timestamp.tzinfo is datetime.UTC


def test_a_search_for_a_datetime(log: eventlog.EventLog) -> None:
    """A search by time takes a datetime, to the millisecond, in every call; what it finds tells its time as one."""
    partition, tp = log.topic("u").partitions[0], TopicPartition("u", 0)
    partition.append([b"%d" % number for number in range(5)], timestamps_ms=[START_MS + number for number in range(5)])
    moment = START + datetime.timedelta(milliseconds=3, microseconds=999)
    with log.consumer() as consumer:
        for time in (moment, moment.astimezone(datetime.timezone(-5 * HOUR)), START_MS + 3, np.int64(START_MS + 3)):
            assert partition.offset_for_time(time) == 3  # type: ignore[arg-type]
            found = consumer.offsets_for_times({tp: time})[tp]  # type: ignore[dict-item]
            assert found is not None and found.timestamp == START + datetime.timedelta(milliseconds=3)


NOWHERE = datetime.datetime(2024, 5, 1, 12)  # what is refused
CALLS: dict[str, Any] = {
    "append": lambda log: log.topic("u").partitions[0].append([b"x"], timestamps_ms=NOWHERE),
    "append a list": lambda log: log.topic("u").partitions[0].append([b"x", b"y"], timestamps_ms=[START, NOWHERE]),
    "send": lambda log: log.producer().send("u", b"x", timestamp_ms=NOWHERE),
    "send_many": lambda log: log.producer().send_many("u", [b"x"], timestamps_ms=NOWHERE),
    "offset_for_time": lambda log: log.topic("u").partitions[0].offset_for_time(NOWHERE),
    "offsets_for_times": lambda log: log.consumer().offsets_for_times({TopicPartition("u", 0): NOWHERE}),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_datetime_without_a_time_zone(log: eventlog.EventLog, call: str) -> None:
    """It says no moment, and is refused with a hint; nothing is written."""
    with pytest.raises(eventlog.InvalidRecordError, match="time zone") as caught:
        CALLS[call](log)
    assert "datetime.now(UTC)" in caught.value.hint
    assert log.topic("u").partitions[0].log_end_offset == 0


def test_a_time_before_1970(log: eventlog.EventLog) -> None:
    """A datetime before the epoch is refused like a negative number of milliseconds."""
    with pytest.raises(eventlog.InvalidRecordError, match="negative"):
        log.topic("u").partitions[0].append([b"x"], timestamps_ms=datetime.datetime(1969, 1, 1, tzinfo=datetime.UTC))
