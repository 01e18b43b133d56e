"""Positions that are not in the log, and where reading goes on: as the Java client and a broker do it."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.clock import ManualClock

TP = TopicPartition("t", 0)
NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
AGES_H = (30, 20, 3, 2)  # of the records


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS / 1000)


@pytest.fixture
def log(log_path: Any, clock: ManualClock) -> Any:
    with eventlog.EventLog(log_path, clock=clock) as log:
        times = [NOW_MS - hours * HOUR_MS for hours in AGES_H]
        log.create_topic("t").partitions[0].append([b"%d" % hours for hours in AGES_H], timestamps_ms=times)
        yield log


def places(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The levels and texts of what the logger said of resets."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "eventlog"]


# --- a position that is not in the log ---


@pytest.mark.parametrize(
    ("policy", "place"),
    [("earliest", 0), ("latest", 4), ("by_duration:PT4H", 2), ("by_duration:PT1H", 4), ("by_duration:P365D", 0)],
)
@pytest.mark.parametrize("way", ["poll", "poll_batches"])
def test_a_seek_past_the_end_is_reset_by_the_next_poll(
    log: eventlog.EventLog, caplog: pytest.LogCaptureFixture, policy: str, place: int, way: str
) -> None:
    """The position is what was sought until poll; then it is the policy's, and one warning tells both, and why."""
    with log.consumer(auto_offset_reset=policy) as consumer:
        consumer.assign([TP])
        consumer.seek(TP, 1000)
        assert consumer.position(TP) == 1000
        assert consumer.lag() == {TP: 0} and consumer.metrics()["t-0.records_lag"] == 0
        assert places(caplog) == []
        found = getattr(consumer, way)()
        offsets = [r.offset for r in found] if way == "poll" else [o for batch in found for o in batch.offsets.tolist()]
        assert offsets == list(range(place, 4))
        assert consumer.position(TP) == 4
        ((level, text),) = places(caplog)
        assert level == "WARNING"
        for part in ("t-0", "1000", f" {place} ", f"auto_offset_reset={policy}"):
            assert part in text
        assert consumer.poll() == [] and len(places(caplog)) == 1


def test_without_a_policy_the_poll_says_so(log: eventlog.EventLog) -> None:
    """With "none", every poll raises OffsetOutOfRangeError until the position is in the log; others read on."""
    log.topic("t").add_partitions(2)
    log.topic("t").partitions[1].append([b"other"])
    other = TopicPartition("t", 1)
    with log.consumer(auto_offset_reset="none") as consumer:
        consumer.assign([TP, other])
        consumer.seek(TP, 5)
        consumer.seek(other, 0)
        outcomes: list[Any] = []
        for _ in range(4):
            try:
                outcomes += [record.value for record in consumer.poll()]
            except eventlog.OffsetOutOfRangeError as error:
                outcomes.append((error.topic, error.partition, error.offset))
        assert outcomes.count(("t", 0, 5)) >= 2 and outcomes.count(b"other") == 1
        assert consumer.position(TP) == 5
        log.topic("t").partitions[0].append([b"at 4", b"at 5"])
        assert [record.value for record in consumer.poll()] == [b"at 5"]


def test_a_place_that_is_in_the_log_by_then_is_kept(log: eventlog.EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is reset while the partition pauses, nor when the log has grown past the position before it is read."""
    with log.consumer(auto_offset_reset="earliest") as consumer:
        consumer.assign([TP])
        consumer.seek(TP, 5)
        consumer.pause(TP)
        assert consumer.poll() == [] and consumer.position(TP) == 5
        log.topic("t").partitions[0].append([b"at 4", b"at 5"])
        consumer.resume(TP)
        assert [record.value for record in consumer.poll()] == [b"at 5"]
        consumer.seek(TP, 6)  # the very end is no reset either
        assert consumer.poll() == []
    assert places(caplog) == []


def test_a_waiting_poll_wakes_at_the_place_that_it_was_reset_to(log: eventlog.EventLog) -> None:
    """A poll that waits after a reset returns the next record, not those from the position on."""
    with log.consumer(auto_offset_reset="latest") as consumer:
        consumer.assign([TP])
        consumer.seek(TP, 2**63 - 1)
        assert consumer.poll() == []
        log.topic("t").partitions[0].append([b"next"])
        assert [(record.offset, record.value) for record in consumer.poll(timeout=60)] == [(4, b"next")]


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("offset", [5, 1000, 2**63 - 1])
def test_a_commit_past_the_end_is_taken(
    log: eventlog.EventLog, caplog: pytest.LogCaptureFixture, offset: int, by_hand: bool
) -> None:
    """As a broker does, the log accepts it, answers it, and resets who begins there."""
    caplog.set_level(logging.WARNING)
    config: dict[str, Any] = {"group": "g", "auto_offset_reset": "earliest", "enable_auto_commit": False}
    with log.consumer(**config) as consumer:
        if by_hand:
            consumer.assign([TP])
        else:
            consumer.subscribe(["t"])
            consumer.poll()
        consumer.commit({TP: OffsetAndMetadata(offset, "m")})
        assert consumer.committed(TP) == OffsetAndMetadata(offset, "m")
        assert log.group("g").partitions[0].lag is None and log.group("g").total_lag == 0
        consumer.seek(TP, offset)
        consumer.commit()  # a position is committed as it is, too
        assert consumer.committed(TP) == OffsetAndMetadata(offset)
    with log.consumer("t", **config) as consumer:
        assert [record.offset for record in consumer.poll()] == [0, 1, 2, 3]
        assert consumer.committed(TP) == OffsetAndMetadata(offset)
    ((_, text),) = places(caplog)
    assert f"position {offset} " in text


def test_a_transaction_commits_an_offset_past_the_end(log: eventlog.EventLog) -> None:
    """What commit accepts, send_offsets_to_transaction accepts."""
    with log.producer(transactional_id="x") as producer, log.consumer(group="g") as consumer:
        producer.init_transactions()
        with producer.transaction():
            producer.send_offsets_to_transaction({TP: 5000}, consumer.group_metadata())
        assert consumer.committed(TP) == OffsetAndMetadata(5000)


def test_seek_takes_what_was_committed(log: eventlog.EventLog) -> None:
    """As in the Java client, seek takes an OffsetAndMetadata; what is no offset is refused, and moves nothing."""
    with log.consumer(group="g", auto_offset_reset="earliest") as consumer:
        consumer.assign([TP])
        consumer.commit({TP: OffsetAndMetadata(3, "m")})
        consumer.seek(TP, consumer.committed(TP))  # type: ignore[arg-type]
        assert consumer.position(TP) == 3
        for bad in (-1, OffsetAndMetadata(-1), OffsetAndMetadata("1"), 2**63, "1", None):  # type: ignore[arg-type]
            with pytest.raises(eventlog.OffsetOutOfRangeError):
                consumer.seek(TP, bad)  # type: ignore[arg-type]
        assert consumer.position(TP) == 3


# --- no position ---


@pytest.mark.parametrize(
    ("duration", "first"),
    [
        ("P1D", 1), ("PT20H", 1), ("PT19H59M59.999S", 2), ("PT4H", 2), ("PT2H30M", 3), ("PT2H", 3), ("PT1H", 4),
        ("PT0S", 4), ("P365D", 0), ("P100000D", 0), ("P106751991167D", 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("group", [None, "g"])
def test_by_duration_begins_with_the_records_of_that_time(
    log: eventlog.EventLog, caplog: pytest.LogCaptureFixture, duration: str, first: int, group: str | None
) -> None:
    """KIP-1106: the first record that is at most so old is the first; from the end on when all are older."""
    caplog.set_level(logging.INFO)
    policy = f"by_duration:{duration}"
    with log.consumer("t", auto_offset_reset=policy, group=group) as consumer:
        assert [record.offset for record in consumer.poll()] == list(range(first, 4))
        assert consumer.position(TP) == 4
        log.topic("t").partitions[0].append([b"later"], timestamps_ms=1)  # which lies behind the position
        assert [record.value for record in consumer.poll()] == [b"later"]
    ((level, text),) = places(caplog)
    assert level == "INFO" and f"begins at {first} " in text and policy in text and "t-0" in text


def test_by_duration_counts_from_when_the_partition_is_begun(log: eventlog.EventLog, clock: ManualClock) -> None:
    """The duration is taken from the log's clock, at the moment at which a position is looked up."""
    with log.consumer(auto_offset_reset="by_duration:PT4H") as consumer:
        consumer.assign([TP])
        clock.advance(1.5 * HOUR_MS / 1000)
        assert [record.offset for record in consumer.poll()] == [3]
        clock.advance(HOUR_MS / 1000)
        consumer.seek(TP, 99)
        assert consumer.poll() == [] and consumer.position(TP) == 4


@pytest.mark.parametrize(("policy", "first"), [("earliest", 0), ("latest", 4)])
def test_where_a_partition_without_a_position_begins_is_logged(
    log: eventlog.EventLog, caplog: pytest.LogCaptureFixture, policy: str, first: int
) -> None:
    """Once a partition, at the level INFO: it is no surprise, as a position that was lost is."""
    caplog.set_level(logging.INFO)
    with log.consumer("t", auto_offset_reset=policy) as consumer:
        for _ in range(3):
            consumer.poll()
    assert places(caplog) == [("INFO", f"t-0: no position: begins at {first} (auto_offset_reset={policy})")]


@pytest.mark.parametrize("group", [None, "g"])
def test_damage_where_a_time_is_looked_up_is_told(log_path: Any, group: str | None) -> None:
    """Who begins by duration in a damaged partition gets the error until it seeks; the others are read meanwhile."""
    now_ms = int(time.time() * 1000)
    with eventlog.open(log_path) as log:
        for partition in log.create_topic("d", partitions=2).partitions:
            for hour in range(10, 0, -1):
                partition.append([b"%d" % hour], timestamps_ms=now_ms - hour * HOUR_MS)
    segment = Path(log_path, "topics", "d", "0", f"{0:020d}.log")
    data = bytearray(segment.read_bytes())
    size = len(data.rstrip(b"\0")) // 10
    data[4 * size : 6 * size] = bytes(byte ^ 0x5A for byte in data[4 * size : 6 * size])
    segment.write_bytes(data)
    config: dict[str, Any] = {"group": group, "auto_offset_reset": "by_duration:PT5H1M"}
    with eventlog.open(log_path) as log, log.consumer("d", **config) as reader:
        found, errors = [], []
        for _ in range(14):
            try:
                found += [(record.partition, record.value) for record in reader.poll()]
            except eventlog.CorruptSegmentError as error:
                errors.append((error.topic, error.partition))
        assert len(errors) > 1 and set(errors) == {("d", 0)}
        assert found == [(1, b"%d" % hour) for hour in range(5, 0, -1)]
        reader.seek(TopicPartition("d", 0), 7)
        assert [record.value for _ in range(4) for record in reader.poll()] == [b"3", b"2", b"1"]


# --- asking ---


NOT_THERE = [("t", 7), ("nope", 0), ("a b", 0), ("", 0), ("x" * 70_000, 0), ("t", 2**31), ("\ud800", 1)]


@pytest.mark.parametrize("tp", NOT_THERE, ids=lambda tp: repr(tp)[:20])
def test_nothing_is_committed_for_a_partition_that_does_not_exist(log: eventlog.EventLog, tp: Any) -> None:
    """committed is None for what there is not, as from a broker, also through asyncio; what is no partition is not."""
    with log.consumer(group="g") as consumer:
        assert consumer.committed(TopicPartition(*tp)) is None
        with pytest.raises(eventlog.UnknownPartitionError):
            consumer.committed("t")  # type: ignore[arg-type]

    async def main() -> None:
        async with log.async_consumer(group="g") as consumer:
            assert await consumer.committed(TopicPartition(*tp)) is None

    asyncio.run(main())


@pytest.mark.parametrize("time_ms", [-1, -2, -(2**63), -1.0, "0"])
def test_negative_times_are_refused(log: eventlog.EventLog, time_ms: Any) -> None:
    """A time before 1970 is a mistake, as in the Java client; 0 finds the first record, a late one nothing."""
    partition = log.topic("t").partitions[0]
    with log.consumer() as consumer:
        with pytest.raises(eventlog.InvalidRecordError, match=r"since the epoch") as caught:
            consumer.offsets_for_times({TP: time_ms})
        assert (caught.value.topic, caught.value.partition) == TP
        with pytest.raises(eventlog.InvalidRecordError):
            partition.offset_for_time(time_ms)
        found = consumer.offsets_for_times({TP: 0})[TP]
        assert found is not None and found.offset == 0
        assert consumer.offsets_for_times({TP: 2**63 - 1}) == {TP: None}


def test_the_async_consumer_is_reset_too(log: eventlog.EventLog) -> None:
    """The asyncio twin seeks and begins past the end, and by duration, as the consumer does."""

    async def main() -> None:
        async with log.async_consumer(auto_offset_reset="by_duration:PT4H") as consumer:
            await consumer.assign([TP])
            await consumer.seek(TP, 1000)
            assert await consumer.position(TP) == 1000
            assert [record.offset for record in await consumer.poll()] == [2, 3]
            await consumer.seek(TP, OffsetAndMetadata(1))
            async for record in consumer:
                assert record.offset == 1
                break

    asyncio.run(main())
