"""How far a record's timestamp may be from now (KIP-937): the record beyond it fails, and not its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eventlog

NOW_MS = 1_700_000_000_000
HOUR_MS = 3600 * 1000
NEVER = 2**63 - 1


@pytest.fixture
def log(log_path: Path) -> Iterator[eventlog.EventLog]:
    """A log whose clock stands still."""
    with eventlog.open(log_path, clock=eventlog.ManualClock(start=NOW_MS / 1000)) as opened:
        yield opened


def values(log: eventlog.EventLog, topic: str = "t") -> list[bytes | None]:
    return [value for batch in log.topic(topic).partitions[0].read(0, 1 << 30) for value in batch.values()]


def test_the_defaults_are_kafkas(log: eventlog.EventLog) -> None:
    """A record may be as old as it likes, and one hour ahead, to the millisecond."""
    log.create_topic("t")
    assert (
        eventlog.TopicConfig().message_timestamp_before_max_ms, eventlog.TopicConfig().message_timestamp_after_max_ms
    ) == (NEVER, HOUR_MS)  # fmt: skip
    with log.producer() as producer:
        for stamp in (0, NOW_MS, NOW_MS + HOUR_MS):
            assert producer.send("t", b"in", timestamp_ms=stamp).result().timestamp_ms == stamp
        for stamp in (NOW_MS + HOUR_MS + 1, NEVER):
            with pytest.raises(eventlog.InvalidRecordError) as caught:
                producer.send("t", b"out", timestamp_ms=stamp)
            message = str(caught.value)
            assert str(stamp) in message and "message_timestamp_after_max_ms is 3600000" in message
            assert caught.value.topic == "t" and "of record" not in message
    assert values(log) == [b"in"] * 3


def bounded(log: eventlog.EventLog, before: int, after: int, kind: str = "CreateTime") -> eventlog.Topic:
    name = f"t{len(log.topics())}"
    return log.create_topic(
        name, message_timestamp_before_max_ms=before, message_timestamp_after_max_ms=after, message_timestamp_type=kind
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.sampled_from([0, 5, 2**40, NEVER]),
    after=st.sampled_from([0, 5, NEVER]),
    offsets=st.lists(st.integers(-8, 8) | st.sampled_from([-NOW_MS, NEVER - NOW_MS]), min_size=1, max_size=8),
    keyed=st.booleans(),
)
def test_a_list_is_written_without_those_beyond(
    log: eventlog.EventLog, before: int, after: int, offsets: list[int], keyed: bool
) -> None:
    """send_many writes exactly those within the bounds, in order, and each other one has its own error; so does send;
    append, which writes all or none, names the first.
    """
    topic = bounded(log, before, after)
    rows = [b"%d" % n for n in range(len(offsets))]
    stamps = [NOW_MS + offset for offset in offsets]
    good = [n for n, offset in enumerate(offsets) if -before <= offset <= after]
    with log.producer() as producer:
        delivery = producer.send_many(topic.name, rows, rows if keyed else None, timestamps_ms=stamps)
        results = delivery.results()
        assert values(log, topic.name) == [rows[n] for n in good]
        for n, result in enumerate(results):
            if n in good:
                assert isinstance(result, eventlog.RecordMetadata)
                assert result[2:4] == (good.index(n), stamps[n])
            else:
                assert isinstance(result, eventlog.InvalidRecordError) and f"of record {n} " in str(result)
        if len(good) < len(rows):
            with pytest.raises(eventlog.InvalidRecordError):
                delivery.result()
            first = min(set(range(len(rows))).difference(good))
            with pytest.raises(eventlog.InvalidRecordError, match=f"of record {first} "):
                topic.partitions[0].append(rows, timestamps_ms=stamps)
        else:
            assert delivery.result() == results[-1]
            topic.partitions[0].append(rows, timestamps_ms=stamps)
        sent = []
        for row, stamp in zip(rows, stamps, strict=True):
            try:
                producer.send(topic.name, row, row if keyed else None, timestamp_ms=stamp)
                sent.append(row)
            except eventlog.InvalidRecordError:
                continue
        producer.flush()
        assert sent == [rows[n] for n in good]
        assert values(log, topic.name)[-len(sent) :] == sent or not sent


def test_one_time_for_all(log: eventlog.EventLog) -> None:
    """One timestamp for a whole list fails the whole list, or none of it."""
    topic = bounded(log, 5, 5)
    with log.producer() as producer:
        delivery = producer.send_many(topic.name, [b"a", b"b"], timestamps_ms=NOW_MS - 6)
        assert [type(result) for result in delivery.results()] == [eventlog.InvalidRecordError] * 2
        with pytest.raises(eventlog.InvalidRecordError, match="message_timestamp_before_max_ms is 5"):
            topic.partitions[0].append([b"a", b"b"], timestamps_ms=NOW_MS - 6)
        producer.send_many(topic.name, [b"c", b"d"], timestamps_ms=NOW_MS - 5).results()
    assert values(log, topic.name) == [b"c", b"d"]


def test_the_logs_own_time_has_no_bounds(log: eventlog.EventLog) -> None:
    """With LogAppendTime the timestamps of the callers count for nothing, and none is refused."""
    topic = bounded(log, 0, 0, "LogAppendTime")
    with log.producer() as producer:
        assert producer.send(topic.name, b"a", timestamp_ms=NEVER).result().timestamp_ms == NOW_MS
        producer.send_many(topic.name, [b"b", b"c"], timestamps_ms=[0, NEVER]).result()
    assert topic.partitions[0].append([b"d"], timestamps_ms=NEVER).base_offset == 3


def test_records_of_now_are_within(log: eventlog.EventLog) -> None:
    """A topic that takes nothing but the present takes records without a timestamp, however long they linger."""
    topic = bounded(log, 0, 0)
    with log.producer(linger_ms=10**6) as producer:
        delivery = producer.send(topic.name, b"a")
        producer.send_many(topic.name, [b"b"])
        topic.partitions[0].append([b"c"])
        assert delivery.result().offset == 0


# --- transactions ---

FAILURES: list[Callable[[eventlog.Producer], Any]] = [
    lambda producer: producer.send("t", b"late", timestamp_ms=NOW_MS + 2 * HOUR_MS),
    lambda producer: producer.send_many("t", [b"a", b"b"], timestamps_ms=[NOW_MS, NOW_MS + 2 * HOUR_MS]),
    lambda producer: producer.send("t", b"x" * 5000),
    lambda producer: producer.send_many("t", [b"a", b"x" * 5000]),
]


@pytest.mark.parametrize("fail", FAILURES, ids=["send late", "send_many late", "send large", "send_many large"])
def test_a_failed_record_fails_the_commit(log: eventlog.EventLog, fail: Callable[[eventlog.Producer], Any]) -> None:
    """As in Kafka the transaction can then only be aborted: sends and the commit raise TransactionAbortableError with
    the record's error, nothing is written, and after the abort the producer goes on.
    """
    log.create_topic("t", max_message_bytes=2000)
    with log.producer(transactional_id="x") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        good = producer.send("t", b"good")
        with pytest.raises((eventlog.InvalidRecordError, eventlog.RecordTooLargeError)) as failed:
            fail(producer)
        for call in (producer.commit_transaction, lambda: producer.send("t", b"more"), producer.commit_transaction):
            with pytest.raises(eventlog.TransactionAbortableError) as refused:
                call()
            assert refused.value.__cause__ is failed.value and refused.value.hint
        producer.abort_transaction()
        assert isinstance(good.exception(), eventlog.TransactionAbortedError)
        assert values(log) == []
        with pytest.raises(eventlog.TransactionAbortableError), producer.transaction():
            producer.send("t", b"good")
            with pytest.raises((eventlog.InvalidRecordError, eventlog.RecordTooLargeError)):
                fail(producer)
        with producer.transaction():
            producer.send("t", b"next")
    assert values(log) == [b"next"]


def test_what_was_never_a_record_fails_nothing(log: eventlog.EventLog) -> None:
    """Arguments that no record can have are the call's error, as in Kafka's serializers: the rest commits."""
    log.create_topic("t")
    with log.producer(transactional_id="x") as producer, producer.transaction():
        producer.send("t", b"good")
        for call in (
            lambda: producer.send("t", "text"),
            lambda: producer.send("t", b"v", timestamp_ms=-1),
            lambda: producer.send("t", b"v", headers=[("\ud800", b"")]),
        ):
            with pytest.raises(eventlog.EventLogError):
                call()
    assert values(log) == [b"good"]


def test_a_record_that_cannot_be_encoded_fails_the_commit(log: eventlog.EventLog) -> None:
    """Its delivery has its error, those of the others say that the transaction was aborted, and nothing is written."""
    log.create_topic("t")
    with log.producer(transactional_id="x") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        good, bad, after = (producer.send("t", value, headers=[("h", b"")]) for value in (b"good", b"bad", b"after"))
        bad.headers = [("\ud800", b"")]  # behind the back of the checks
        with pytest.raises(eventlog.InvalidRecordError):
            producer.commit_transaction()
        with pytest.raises(eventlog.TransactionAbortableError):
            producer.commit_transaction()
        producer.abort_transaction()
        assert isinstance(bad.exception(), eventlog.InvalidRecordError)
        for delivery in (good, after):
            assert isinstance(delivery.exception(), eventlog.TransactionAbortedError)
        with producer.transaction():
            producer.send("t", b"next")
    assert values(log) == [b"next"]


def test_a_future_that_nobody_looks_at(log: eventlog.EventLog) -> None:
    """With asyncio the error of a send_nowait fails the commit, although nobody has awaited it."""
    log.create_topic("t")

    async def main() -> None:
        async with log.async_producer(transactional_id="x") as producer:
            with pytest.raises(eventlog.TransactionAbortableError, match="no such topic"):
                async with producer.transaction():
                    future = producer.send_nowait("unknown", b"v")
                    producer.send_nowait("t", b"good").add_done_callback(lambda done: done.exception())
            assert isinstance(future.exception(), eventlog.UnknownTopicError)
            async with producer.transaction():
                await producer.send("t", b"next")

    asyncio.run(asyncio.wait_for(main(), 60))
    assert values(log) == [b"next"]
