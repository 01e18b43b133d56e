"""What is sent within a transaction arrives as it would without one, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import TopicPartition
from eventlog.clock import ManualClock
from tests.transactions.helpers import check_clean, create_topics, poll_all, transact, values


@pytest.fixture
def log(tmp_path: Path) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log") as opened:
        create_topics(opened)
        yield opened
        check_clean(opened)


def records(log: eventlog.EventLog, *topics: str, **config: Any) -> list[eventlog.Record]:
    with log.consumer(*topics, auto_offset_reset="earliest", **config) as consumer:
        return poll_all(consumer)


def test_order_is_that_of_the_calls(log: eventlog.EventLog) -> None:
    """`send` and `send_many`, in turn, keep their order within a partition, and deliveries know their places."""
    producer = log.producer(transactional_id="t")
    expected: list[bytes] = []
    deliveries: list[eventlog.Delivery] = []
    with producer.transaction():
        for number in range(30):
            here = [b"%d-%d" % (number, place) for place in range(number % 4 + 1)]
            if number % 3:
                deliveries += [producer.send("b", value) for value in here]
            else:
                deliveries.append(producer.send_many("b", here))
            expected += here
    assert values(log, "b") == expected
    offsets: list[int] = []
    for delivery in deliveries:
        if isinstance(delivery, eventlog.producer.delivery.ManyDelivery):
            offsets += [result.offset for result in delivery.results()]  # type: ignore[union-attr]
        else:
            offsets.append(delivery.result().offset)
    assert offsets == list(range(len(expected)))


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_records_arrive_whole(log: eventlog.EventLog, compression: str) -> None:
    """Keys, headers, timestamps and tombstones arrive as they were sent, compressed or not."""
    producer = log.producer(transactional_id="t", compression_type=compression)
    with producer.transaction():
        producer.send("b", b"v" * 2000, b"k", headers=[("h", b"1"), ("h", None)], timestamp_ms=5)
        producer.send("b", None, b"gone", timestamp_ms=3)
        producer.send_many("b", [b"w" * 2000, None], [b"l", None], headers=[[("i", b"2")], None], timestamps_ms=[9, 8])
        producer.send("b", b"", timestamp_ms=7)
    found = records(log, "b")
    assert [(r.value, r.key, list(r.headers), r.timestamp_ms) for r in found] == [
        (b"v" * 2000, b"k", [("h", b"1"), ("h", None)], 5),
        (None, b"gone", [], 3),
        (b"w" * 2000, b"l", [("i", b"2")], 9),
        (None, None, [], 8),
        (b"", None, [], 7),
    ]
    (size,) = {log.topic("b").partitions[0].size_bytes < 1000}
    assert size == (compression == "zstd")


def test_the_log_stamps_the_commit(tmp_path: Path) -> None:
    """With LogAppendTime the timestamp is the time of the commit, in the record and in its delivery."""
    clock = ManualClock(start=1_700_000_000.0)
    with eventlog.open(tmp_path, clock=clock) as log:
        log.create_topic("t", message_timestamp_type="LogAppendTime")
        producer = log.producer(transactional_id="t")
        with producer.transaction():
            one, many = producer.send("t", b"1"), producer.send_many("t", [b"2", b"3"])
            clock.advance(5)
        (first, *others) = records(log, "t")
        assert first.timestamp_ms == one.result().timestamp_ms == 1_700_000_005_000
        assert {record.timestamp_ms for record in others} == {1_700_000_005_000}
        assert [result.timestamp_ms for result in many.results()] == [1_700_000_005_000] * 2  # type: ignore[union-attr]


def test_serializers_are_applied(log: eventlog.EventLog) -> None:
    """Keys and values go through the producer's serializers; what they refuse leaves the transaction usable."""
    producer = log.producer(transactional_id="t", key_serializer="str", value_serializer="json")
    with producer.transaction():
        producer.send("b", {"n": 1}, "k")
        with pytest.raises(eventlog.SerializationError):
            producer.send("b", object(), "k")
        with pytest.raises(eventlog.SerializationError):
            producer.send_many("b", [{"n": 2}, object()])
        producer.send_many("b", [{"n": 3}], ["l"])
    found = records(log, "b", key_deserializer="str", value_deserializer="json")
    assert [(record.key, record.value) for record in found] == [("k", {"n": 1}), ("l", {"n": 3})]


def test_keys_choose_partitions(log: eventlog.EventLog) -> None:
    """A key goes to the partition where a plain producer sends it; one `send_many` may go to several, all at once."""
    keys = [b"key-%d" % number for number in range(40)]
    with log.producer() as plain:
        expected = [result.partition for result in plain.send_many("a", keys, keys).results()]  # type: ignore[union-attr]
    assert set(expected) == {0, 1}
    producer = log.producer(transactional_id="t")
    with producer.transaction():
        many = producer.send_many("a", keys, keys)
        single = [producer.send("a", key, key) for key in keys]
    assert [result.partition for result in many.results()] == expected  # type: ignore[union-attr]
    assert [delivery.result().partition for delivery in single] == expected
    results = [*many.results(), *(delivery.result() for delivery in single)]
    for key, result in zip(keys * 2, results, strict=True):
        (batch,) = log.topic("a").partitions[result.partition].read(result.offset, 1)  # type: ignore[union-attr]
        assert key in batch.values()
        assert batch.is_transactional


@pytest.mark.parametrize("many", [False, True])
def test_records_without_a_key_move_on(log: eventlog.EventLog, many: bool) -> None:
    """The sticky partitioner moves to another partition once a batch_size went to one, as without transactions."""
    producer = log.producer(transactional_id="t", batch_size=1000)
    used: set[int] = set()
    for _ in range(40):
        with producer.transaction():
            sent = producer.send_many("a", [b"x" * 600]) if many else producer.send("a", b"x" * 600)
        used.add(sent.result().partition)
    assert used == {0, 1}


def test_partitioners_of_ones_own(log: eventlog.EventLog) -> None:
    """Round robin and a custom partitioner choose partitions within transactions, too."""
    with log.producer(transactional_id="t", partitioner="round_robin") as producer, producer.transaction():
        sent = [producer.send("a", b"x") for _ in range(4)]
    assert sorted(delivery.result().partition for delivery in sent) == [0, 0, 1, 1]
    with log.producer(transactional_id="t", partitioner=lambda t, k, v, n: 1) as producer, producer.transaction():
        sent = [producer.send("a", b"x") for _ in range(3)]
    assert [delivery.result().partition for delivery in sent] == [1, 1, 1]


def test_a_transaction_may_roll_segments(log: eventlog.EventLog) -> None:
    """Transactions that fill one small segment after another keep offsets dense and indexes right."""
    log.create_topic("small", partitions=2, segment_bytes=1024, index_interval_bytes=128)
    producer = log.producer(transactional_id="t")
    for number in range(20):
        with producer.transaction():
            for partition in range(2):
                producer.send_many("small", [b"%d" % number * 100] * 3, partition=partition)
    for partition in range(2):
        assert values(log, "small", partition) == [b"%d" % number * 100 for number in range(20) for _ in range(3)]
        bases = log.topic("small").partitions[partition].log.segments.bases()
        assert len(bases) > 5


def test_a_batch_is_as_large_as_the_topic_permits(log: eventlog.EventLog) -> None:
    """What exceeds max_message_bytes goes into several batches, which appear together."""
    log.create_topic("narrow", max_message_bytes=2000)
    producer = log.producer(transactional_id="t")
    with producer.transaction():
        producer.send_many("narrow", [b"x" * 500] * 10)
        for _ in range(10):
            producer.send("narrow", b"y" * 500)
    assert values(log, "narrow") == [b"x" * 500] * 10 + [b"y" * 500] * 10
    assert len(log.topic("narrow").partitions[0].read(0)) >= 5


# --- what is refused ---


def test_a_refused_send_leaves_nothing_behind(log: eventlog.EventLog) -> None:
    """After a call that was refused, in a partition of its own, the rest of the transaction is committed alone."""
    producer = log.producer(transactional_id="t")
    with producer.transaction():
        producer.send("b", b"1")
        for refused in (
            lambda: producer.send_many("a", ["no bytes"], partition=0),
            lambda: producer.send_many("a", [b"x"], timestamps_ms=[-1], partition=0),
            lambda: producer.send_many("a", [b"x"], [b"k", b"l"]),
            lambda: producer.send("a", b"x", partition=7),
            lambda: producer.send("missing", b"x"),
            lambda: producer.send("a", b"x", timestamp_ms=-1),
        ):
            with pytest.raises(eventlog.EventLogError):
                refused()
    assert values(log, "b") == [b"1"]
    assert not log.topic("a").partitions[0].log_end_offset
    transact(producer, b"next")
    assert values(log, "b") == [b"1", b"next"]


@pytest.mark.parametrize("many", [False, True])
def test_the_buffer_is_limited(log: eventlog.EventLog, many: bool) -> None:
    """What exceeds buffer_memory is refused with BufferExhaustedError, at once; the transaction stays usable, and the
    next one has all the room.
    """
    producer = log.producer(transactional_id="t", buffer_memory=10_000)
    send: Any = (lambda n: producer.send_many("a", [b"x" * n], partition=0)) if many else (
        lambda n: producer.send("a", b"x" * n, partition=0)
    )  # fmt: skip
    for _ in range(3):
        with producer.transaction():
            producer.send("b", b"1")
            with pytest.raises(eventlog.BufferExhaustedError, match="buffer_memory is 10000") as raised:
                send(11_000)
            assert "Commit more often" in raised.value.hint
            send(8_000)
            with pytest.raises(eventlog.BufferExhaustedError):
                send(3_000)
            producer.send("b", b"2")
    assert values(log, "b") == [b"1", b"2"] * 3
    assert values(log, "a") == [b"x" * 8000] * 3
    with producer.transaction():
        producer.send("b", b"3")
        with pytest.raises(eventlog.BufferExhaustedError):
            send(11_000)
    assert values(log, "b")[6:] == [b"3"]


@pytest.mark.parametrize(
    "config",
    [
        {"transactional_id": 5},
        {"transactional_id": ""},
        {"transactional_id": "x" * 300},
        {"transactional_id": "\ud800"},
        {"transactional_id": "t", "transaction_timeout_ms": 0},
        {"transactional_id": "t", "transaction_timeout_ms": 900_001},
        {"transactional_id": "t", "transaction_timeout_ms": "1000"},
        {"transactional_id": "t", "enable_idempotence": False},
        {"transactional_id": "t", "acks": 1},
        {"transactional_id": "t", "acks": 0},
        {"transactional_id": "t", "retries": 0},
    ],
    ids=str,
)
def test_settings_that_are_not_possible(log: eventlog.EventLog, config: dict[str, Any]) -> None:
    """InvalidConfigError refuses what Kafka refuses: bad ids and times, transactions without idempotence."""
    with pytest.raises(eventlog.InvalidConfigError):
        log.producer(**config)
    assert not (Path(log.path) / "transactions").exists()


@pytest.mark.parametrize("name", ["a/b", "..", ".", "ü", "A", "a b", "x" * 200])
def test_any_text_is_an_id(log: eventlog.EventLog, name: str) -> None:
    """Each id has files of its own, whatever characters it has; one does not fence another."""
    other = log.producer(transactional_id=name.upper() + "?")
    transact(other, b"1")
    transact(log.producer(transactional_id=name), b"2")
    transact(other, b"3")
    assert values(log, "b") == [b"1", b"2", b"3"]
    assert len(list((Path(log.path) / "transactions").iterdir())) == 2


def test_a_log_for_reading_only_has_no_producer(tmp_path: Path) -> None:
    """ReadOnlyLogError; the committed records can be read."""
    with eventlog.open(tmp_path) as log:
        create_topics(log)
        transact(log.producer(transactional_id="t"), b"1")
        with eventlog.open(tmp_path, readonly=True) as reader:
            with pytest.raises(eventlog.ReadOnlyLogError):
                reader.producer(transactional_id="t")
            assert values(reader, "b") == [b"1"]
    with eventlog.open(tmp_path, readonly=True) as reader:
        assert values(reader, "a", 1) == [b"1"]


def test_the_journal_is_nobody_elses(log: eventlog.EventLog) -> None:
    """Nobody creates or deletes the journal by its name; it is listed on request."""
    transact(log.producer(transactional_id="t"), b"1")
    for refused in (log.create_topic, log.delete_topic):
        with pytest.raises(eventlog.InvalidTopicError):
            refused("__transaction_state")
    assert "__transaction_state" not in log.topics()
    assert "__transaction_state" in log.topics(include_internal=True)


def test_a_topic_that_is_deleted_meanwhile(log: eventlog.EventLog) -> None:
    """The commit raises UnknownTopicError and writes nothing, the abort works, and so does the next transaction."""
    producer = log.producer(transactional_id="t")
    producer.init_transactions()
    producer.begin_transaction()
    sent = [producer.send("a", b"1", partition=0), producer.send("b", b"1")]
    log.delete_topic("b")
    for _ in range(2):
        with pytest.raises(eventlog.UnknownTopicError):
            producer.commit_transaction()
    assert not any(delivery.done() for delivery in sent)
    producer.abort_transaction()
    assert values(log, "a") == []
    log.create_topic("b")
    transact(producer, b"2")
    assert (values(log, "a"), values(log, "b")) == ([b"2"], [b"2"])


def test_a_topic_that_is_made_anew_meanwhile(log: eventlog.EventLog) -> None:
    """Records for the topic that was deleted never end up in the new one of the same name."""
    producer = log.producer(transactional_id="t")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send("b", b"old")
    log.delete_topic("b")
    log.create_topic("b")
    with pytest.raises(eventlog.IllegalStateError, match="made anew"):
        producer.send("b", b"new")
    with pytest.raises(eventlog.UnknownTopicError):
        producer.commit_transaction()
    producer.abort_transaction()
    transact(producer, b"new")
    assert values(log, "b") == [b"new"]


def test_partitions_may_be_added_meanwhile(log: eventlog.EventLog) -> None:
    """A transaction goes on when its topic grows."""
    producer = log.producer(transactional_id="t")
    with producer.transaction():
        producer.send("a", b"1", partition=0)
        log.topic("a").add_partitions(3)
        producer.send("a", b"2", partition=2)
        producer.send("a", b"3", partition=0)
    assert (values(log, "a", 0), values(log, "a", 2)) == ([b"1", b"3"], [b"2"])


def test_offsets_of_a_plain_read_and_of_a_time(log: eventlog.EventLog) -> None:
    """Lookups by time and end offsets count committed records alone."""
    producer = log.producer(transactional_id="t")
    partition = log.topic("b").partitions[0]
    producer.init_transactions()
    producer.begin_transaction()
    producer.send("b", b"1", timestamp_ms=1000)
    with log.consumer() as consumer:
        tp = TopicPartition("b", 0)
        assert consumer.end_offsets([tp]) == {tp: 0}
        assert partition.offset_for_time(500) is None
        producer.commit_transaction()
        assert consumer.end_offsets([tp]) == {tp: 1}
        assert partition.offset_for_time(500) == 0
