"""What a consumer measures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog

TP = eventlog.TopicPartition("t", 0)
OF_A_GROUP = {"commit_total", "rebalance_total", "failed_rebalance_total"}


@pytest.fixture
def clock() -> eventlog.ManualClock:
    """A clock that is turned by hand."""
    return eventlog.ManualClock(start=1_700_000_000)


@pytest.fixture
def log(log_path: Path, clock: eventlog.ManualClock) -> Iterator[eventlog.EventLog]:
    """A log on that clock, with a topic of one partition and ten records."""
    with eventlog.open(log_path, clock=clock) as opened:
        opened.create_topic("t").partitions[0].append([b"%d" % number for number in range(10)])
        yield opened


def test_a_consumer_that_never_polled(log: eventlog.EventLog) -> None:
    """Everything is 0 but last_poll_seconds_ago, which is -1 as in Kafka; a partition without a position has no lag."""
    with log.consumer("t") as consumer:
        metrics = consumer.metrics()
    assert metrics.pop("last_poll_seconds_ago") == -1
    assert metrics.pop("assigned_partitions") == 1
    assert not metrics.keys() & OF_A_GROUP
    assert metrics.keys() >= {"poll_total", "poll_rate", "records_consumed_total", "records_lag_max"}
    assert set(metrics.values()) == {0}
    assert "t-0.records_lag" not in metrics


def test_polls_are_counted_and_timed(log: eventlog.EventLog, clock: eventlog.ManualClock) -> None:
    """Total, time since the last one in seconds, time between two in milliseconds: as Kafka has them."""
    with log.consumer("t") as consumer:
        for pause in (1, 3, 0.5):
            consumer.poll()
            clock.advance(pause)
        metrics = consumer.metrics()
        assert (metrics["poll_total"], metrics["last_poll_seconds_ago"]) == (3, 0.5)
        assert (metrics["time_between_poll_avg"], metrics["time_between_poll_max"]) == (2000, 3000)
        with pytest.raises(eventlog.IllegalStateError):
            consumer.unsubscribe()
            consumer.poll()
        assert (consumer.metrics()["poll_total"], consumer.metrics()["last_poll_seconds_ago"]) == (4, 0)


def test_rates_are_of_the_last_half_minute_or_a_little_more(
    log: eventlog.EventLog, clock: eventlog.ManualClock
) -> None:
    """What happened more than a minute ago does not count any more; the totals keep it."""
    with log.consumer("t", auto_offset_reset="earliest") as consumer:
        for _ in range(11):
            consumer.poll(max_records=1)
            clock.advance(0.5)
        metrics = consumer.metrics()
        assert metrics["poll_rate"] == pytest.approx(10 / 5.5)
        assert metrics["records_consumed_rate"] == pytest.approx(10 / 5.5)
        for _ in range(70):
            consumer.poll()
            clock.advance(1)
        metrics = consumer.metrics()
        assert metrics["poll_rate"] == pytest.approx(1, rel=0.05)
        assert metrics["records_consumed_rate"] == 0
        assert (metrics["poll_total"], metrics["records_consumed_total"]) == (81, 10)
        for _ in range(3):  # whoever looks now and then sees that polling has stopped
            clock.advance(40)
            metrics = consumer.metrics()
        assert metrics["poll_rate"] == 0


def test_records_are_counted_by_both_kinds_of_poll(log: eventlog.EventLog) -> None:
    """Records that were returned count, one by one or in batches; those before a failing deserializer alone."""
    with log.consumer("t", auto_offset_reset="earliest") as consumer:
        consumer.poll(max_records=4)
        assert consumer.metrics()["records_consumed_total"] == 4
        consumer.poll_batches()
        assert consumer.metrics()["records_consumed_total"] == 10
        assert consumer.metrics()["poll_total"] == 2

    def fails_at_three(data: bytes | None) -> bytes | None:
        if data == b"3":
            raise ValueError("three")
        return data

    with log.consumer("t", auto_offset_reset="earliest", value_deserializer=fails_at_three) as consumer:
        assert len(consumer.poll()) == 3
        with pytest.raises(eventlog.SerializationError):
            consumer.poll()
        assert consumer.metrics()["records_consumed_total"] == 3


def test_lag_is_from_the_position_on(log: eventlog.EventLog) -> None:
    """As in Kafka the lag is that of the position, not of the commit: per partition, and the largest."""
    log.create_topic("u", partitions=2).partitions[1].append([b"x"])
    with log.consumer("t", "u", auto_offset_reset="earliest") as consumer:
        consumer.seek(TP, 3)
        for number in range(2):
            consumer.seek_to_beginning(eventlog.TopicPartition("u", number))
        metrics = consumer.metrics()
        assert (metrics["t-0.records_lag"], metrics["u-0.records_lag"], metrics["u-1.records_lag"]) == (7, 0, 1)
        assert (metrics["records_lag_max"], metrics["assigned_partitions"]) == (7, 3)
        while consumer.poll():
            pass
        assert consumer.metrics()["records_lag_max"] == 0
        log.delete_topic("u")
        assert "t-0.records_lag" in consumer.metrics()
        assert "u-1.records_lag" not in consumer.metrics()


@pytest.mark.parametrize("way", ["poll", "poll_batches"])
def test_the_largest_lag_is_that_of_the_window(log: eventlog.EventLog, clock: eventlog.ManualClock, way: str) -> None:
    """As Kafka's records-lag-max it is the largest that a poll has left within two windows of 30 s, or is left now."""
    with log.consumer("t", auto_offset_reset="earliest", max_poll_records=4, fetch_max_bytes=1) as consumer:
        log.topic("t").partitions[0].append([b"in a batch of its own"])
        getattr(consumer, way)()
        left = consumer.lag()[TP]
        assert left == {"poll": 7, "poll_batches": 1}[way]
        consumer.seek_to_end()
        for seconds in (0, 29, 30):
            clock.advance(seconds)
            consumer.poll()
            assert consumer.metrics()["records_lag_max"] == left and consumer.lag() == {TP: 0}
        clock.advance(1)
        assert consumer.metrics()["records_lag_max"] == 0
        consumer.seek(TP, 3)
        assert consumer.metrics()["records_lag_max"] == 8
        consumer.seek_to_end()
        assert consumer.metrics()["records_lag_max"] == 0  # nothing was read from there


def test_the_largest_lag_is_that_of_any_partition(log: eventlog.EventLog, clock: eventlog.ManualClock) -> None:
    """A later, smaller one hides no earlier one of the same or the next window; a larger one counts at once."""
    log.create_topic("u").partitions[0].append([b"x"] * 100)
    other = eventlog.TopicPartition("u", 0)
    with log.consumer("t", "u", auto_offset_reset="earliest") as consumer:
        steps = ((other, 50, 0, 49), (TP, 8, 20, 49), (other, 10, 20, 89), (TP, 5, 45, 89))
        for tp, position, seconds, expected in steps:
            clock.advance(seconds)
            consumer.seek_to_end()
            consumer.seek(tp, position)
            assert len(consumer.poll(max_records=1)) == 1
            consumer.seek_to_end()
            assert consumer.metrics()["records_lag_max"] == expected
        for seconds, expected in ((14, 89), (2, 4), (45, 0)):
            clock.advance(seconds)
            assert consumer.metrics()["records_lag_max"] == expected


def test_a_member_counts_commits_and_rebalances(log: eventlog.EventLog) -> None:
    """Commits that were not refused, rebalances that concerned this member, and those that it could not finish."""
    log.topic("t").add_partitions(2)
    config = {"group": "g", "auto_offset_reset": "earliest", "enable_auto_commit": False}
    with log.consumer("t", **config) as consumer:
        assert {consumer.metrics()[name] for name in OF_A_GROUP} == {0}
        consumer.poll(max_records=1)
        consumer.commit()
        consumer.commit_async()
        with pytest.raises(eventlog.OffsetOutOfRangeError):
            consumer.commit({TP: -1})
        metrics = consumer.metrics()
        assert [metrics[name] for name in ("commit_total", "rebalance_total", "failed_rebalance_total")] == [2, 1, 0]
        with log.consumer("t", partition_assignment_strategy="range", **config) as stranger:
            for _ in range(2):
                with pytest.raises(eventlog.InconsistentGroupProtocolError):
                    stranger.poll()
            metrics = stranger.metrics()
            assert (metrics["rebalance_total"], metrics["failed_rebalance_total"]) == (0, 2)
        with log.consumer("t", **config) as second:
            second.poll()
            consumer.poll(max_records=1)
        consumer.poll(max_records=1)
        metrics = consumer.metrics()
        assert (metrics["rebalance_total"], metrics["failed_rebalance_total"]) == (3, 0)


def test_automatic_commits_count(log: eventlog.EventLog, clock: eventlog.ManualClock) -> None:
    """A commit by the clock is one like any other; one that has nothing new to say is none."""
    with log.consumer("t", group="g", auto_offset_reset="earliest") as consumer:
        consumer.poll()
        for _ in range(3):
            clock.advance(5.5)
            consumer.poll()
        assert consumer.metrics()["commit_total"] == 1


def test_another_thread_may_look_while_a_poll_waits(log: eventlog.EventLog) -> None:
    """metrics() neither waits for the consumer's thread nor disturbs it."""
    looked = threading.Event()
    found: list[dict[str, float]] = []

    def look() -> None:
        while consumer.metrics()["poll_total"] < 2:  # from then on the other thread is in its second poll
            pass
        found.append(consumer.metrics())
        looked.set()
        log.topic("t").partitions[0].append([b"last"])

    with log.consumer("t", auto_offset_reset="earliest") as consumer:
        assert len(consumer.poll()) == 10
        thread = threading.Thread(target=look)
        thread.start()
        assert [record.value for record in consumer.poll(timeout=60)] == [b"last"]
        assert looked.is_set()
        thread.join()
    assert (found[0]["records_consumed_total"], found[0]["records_lag_max"]) == (10, 0)


@pytest.mark.parametrize("group", [None, "g"])
def test_a_closed_consumer_keeps_its_counters(log: eventlog.EventLog, group: str | None) -> None:
    """After close() the totals can still be read; there are no partitions any more. Also when the log is closed."""
    consumer = log.consumer("t", auto_offset_reset="earliest", group=group)
    consumer.poll()
    consumer.close()
    log.close()
    metrics = consumer.metrics()
    assert (metrics["records_consumed_total"], metrics["assigned_partitions"], metrics["records_lag_max"]) == (10, 0, 0)
    assert not [name for name in metrics if name.endswith(".records_lag")]
