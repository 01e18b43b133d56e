"""The producer: batching, placement, acknowledgement, backpressure, errors, threads and ends."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import itertools
import logging
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.producer import linger_thread

RunPython = Callable[..., Any]

START = 1_700_000_000.0
NEVER_LINGERED = 10**9  # milliseconds: a record leaves only when its batch is full or somebody asks for it


@pytest.fixture
def clock() -> eventlog.ManualClock:
    """A clock that stands still unless the test moves it."""
    return eventlog.ManualClock(START)


@pytest.fixture
def still_log(log_path: Path, clock: eventlog.ManualClock) -> Iterator[eventlog.EventLog]:
    """A log on the manual clock: nothing lingers long enough by itself."""
    with eventlog.open(log_path, clock=clock) as opened:
        yield opened


@contextlib.contextmanager
def held_lock(log: eventlog.EventLog, topic: str, partition: int = 0) -> Iterator[None]:
    """Hold the partition's flock through a descriptor of our own, as a writer in another process would."""
    log.topic(topic).partitions[partition].log_end_offset  # noqa: B018  # the first use makes the directory
    fd = os.open(os.path.join(log.path, "topics", topic, str(partition), "lock"), os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def stored(log: eventlog.EventLog, topic: str) -> list[eventlog.Record]:
    """Return every record of the topic, partition by partition."""
    return [
        record
        for partition in log.topic(topic).partitions
        for batch in partition.read(0, max_bytes=1 << 30)
        for record in batch.records()
    ]


def values(log: eventlog.EventLog, topic: str) -> list[Any]:
    return [record.value for record in stored(log, topic)]


# --- what is stored ---


def test_result_tells_where_the_record_is(log: eventlog.EventLog) -> None:
    """result() names topic, partition, offset and timestamp, and the record there is the one that was sent."""
    log.create_topic("t", partitions=3)
    with log.producer() as producer:
        sent = [producer.send("t", b"%d" % n, partition=n % 3, timestamp_ms=1000 + n) for n in range(9)]
        found = [delivery.result() for delivery in sent]
    assert found == [eventlog.RecordMetadata("t", n % 3, n // 3, 1000 + n, False) for n in range(9)]
    by_place = {(record.partition, record.offset): record for record in stored(log, "t")}
    for n, metadata in enumerate(found):
        record = by_place[metadata.partition, metadata.offset]
        assert (record.value, record.timestamp_ms) == (b"%d" % n, 1000 + n)


def test_keys_values_and_headers_of_every_kind(log: eventlog.EventLog) -> None:
    """Empty and missing keys and values stay apart, and headers keep order, doubles, None and empty values."""
    log.create_topic("t")
    headers = (("a", b"1"), ("a", None), ("é", b""), ("", b"\0"))
    kinds = [(key, value) for key in (None, b"", b"k") for value in (None, b"", b"v")]
    with log.producer() as producer:
        for key, value in kinds:
            producer.send("t", value, key)
            producer.send("t", value, key=key, headers=headers)
    found = stored(log, "t")
    assert [(r.key, r.value) for r in found] == [kind for kind in kinds for _ in range(2)]
    assert [r.headers for r in found] == [(), headers] * len(kinds)


def test_bytearrays_are_copied(log: eventlog.EventLog) -> None:
    """A bytearray or memoryview that changes after send() does not change the record."""
    log.create_topic("t")
    key, value = bytearray(b"key"), bytearray(b"value")
    with log.producer() as producer:
        producer.send("t", value, key)
        producer.send("t", memoryview(value))
        key[:], value[:] = b"xxx", b"xxxxx"
    assert [(r.key, r.value) for r in stored(log, "t")] == [(b"key", b"value"), (None, b"value")]


def test_plain_and_full_records_keep_their_order(log: eventlog.EventLog) -> None:
    """Plain values take a shorter way than records with a key, and still nothing overtakes anything."""
    log.create_topic("t")
    seed = random.randrange(2**32)
    print("seed", seed)
    choose = random.Random(seed)
    with log.producer(batch_size=700) as producer:
        for n in range(3000):
            kind = choose.randrange(4)
            if kind == 0:
                producer.send("t", b"%d" % n, b"k")
            elif kind == 1:
                producer.send_many("t", [b"%d" % n])
            else:
                producer.send("t", b"%d" % n)
    assert values(log, "t") == [b"%d" % n for n in range(3000)]


@pytest.mark.parametrize(
    ("setting", "sent", "bytes_stored"),
    [
        (None, b"\xff", b"\xff"),
        ("bytes", b"\xff", b"\xff"),
        ("str", "é", b"\xc3\xa9"),
        ("json", {"b": [1, None], "a": "é"}, '{"b":[1,null],"a":"é"}'.encode()),
        (lambda number: b"%d" % number, 7, b"7"),
        ("json", None, None),
    ],
)
def test_serializers(log: eventlog.EventLog, setting: Any, sent: Any, bytes_stored: bytes | None) -> None:
    """Both serializers turn objects into the stored bytes, in send and in send_many; None stays None."""
    log.create_topic("t")
    with log.producer(key_serializer=setting, value_serializer=setting) as producer:
        producer.send("t", sent, sent)
        producer.send("t", sent)
        producer.send_many("t", [sent], [sent])
    expected = [(bytes_stored, bytes_stored), (None, bytes_stored), (bytes_stored, bytes_stored)]
    assert [(r.key, r.value) for r in stored(log, "t")] == expected


def test_a_failing_serializer_stores_nothing(log: eventlog.EventLog) -> None:
    """What cannot be serialized raises SerializationError from send and send_many, and the log stays as it was."""
    log.create_topic("t")
    with log.producer(value_serializer="json") as producer:
        for bad in (object(), float("nan"), {1, 2}):
            with pytest.raises(eventlog.SerializationError):
                producer.send("t", bad)
            with pytest.raises(eventlog.SerializationError):
                producer.send_many("t", [1, bad])
    assert values(log, "t") == []


@pytest.mark.parametrize("codec", eventlog.config.COMPRESSION_TYPES)
@pytest.mark.parametrize("chosen_by", ["producer", "topic"])
def test_compression(log: eventlog.EventLog, codec: str, chosen_by: str) -> None:
    """Every codec, chosen by producer or by topic, gives back the same bytes, and the good ones save space."""
    topic = log.create_topic("t", **({"compression_type": codec} if chosen_by == "topic" else {}))
    sent = [b"line %06d of a log that repeats itself" % n for n in range(2000)]
    with log.producer(**({"compression_type": codec} if chosen_by == "producer" else {})) as producer:
        for value in sent[:1000]:
            producer.send("t", value, b"k")
        producer.send_many("t", sent[1000:])
    batches = topic.partitions[0].read(0, max_bytes=1 << 30)
    assert [value for batch in batches for value in batch.values()] == sent
    size = sum(batch.size for batch in batches)
    assert size > sum(map(len, sent)) if codec == "none" else size < sum(map(len, sent)) / 2


def test_the_topics_compression_wins(log: eventlog.EventLog) -> None:
    """As in Kafka, a topic's own codec replaces the producer's; "none" means none."""
    topic = log.create_topic("t", compression_type="none")
    with log.producer(compression_type="gzip") as producer:
        producer.send_many("t", [b"a" * 1000] * 100)
    assert topic.partitions[0].read(0)[0].size > 100_000


def test_create_time_is_the_senders(still_log: eventlog.EventLog, clock: eventlog.ManualClock) -> None:
    """CreateTime: a record carries the time of its send, or the one it was given, however late it is written."""
    still_log.create_topic("t")
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        first = producer.send("t", b"a")
        clock.advance(1.5)
        second = producer.send("t", b"b", b"key")
        third = producer.send("t", b"c", timestamp_ms=42)
        clock.advance(100)
        stamps = [delivery.result().timestamp_ms for delivery in (first, second, third)]
    assert stamps == [1_700_000_000_000, 1_700_000_001_500, 42]
    found = stored(still_log, "t")
    assert [record.timestamp_ms for record in found] == stamps
    assert {record.timestamp_type for record in found} == {eventlog.TimestampType.CREATE_TIME}


def test_log_append_time_is_the_logs(still_log: eventlog.EventLog, clock: eventlog.ManualClock) -> None:
    """LogAppendTime: the record, and its acknowledgement, carry the time at which it was written."""
    still_log.create_topic("t", message_timestamp_type="LogAppendTime")
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        sent = [producer.send("t", b"a"), producer.send("t", b"b", timestamp_ms=42)]
        clock.advance(100)
        stamps = [delivery.result().timestamp_ms for delivery in sent]
        many = producer.send_many("t", [b"c", b"d"], timestamps_ms=[7, 8])
    assert stamps == [1_700_000_100_000] * 2
    assert [metadata.timestamp_ms for metadata in many.results()] == [1_700_000_100_000] * 2
    found = stored(still_log, "t")
    assert [record.timestamp_ms for record in found] == [1_700_000_100_000] * 4
    assert {record.timestamp_type for record in found} == {eventlog.TimestampType.LOG_APPEND_TIME}


# --- placement ---


def test_keys_go_where_kafka_puts_them(log: eventlog.EventLog) -> None:
    """A key's partition is murmur2's, as computed by Kafka's Java client; send and send_many agree."""
    log.create_topic("t", partitions=7)
    # Utils.toPositive(Utils.murmur2(key)) of Kafka's own UtilsTest, modulo 7.
    vectors = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    with log.producer() as producer:
        for key, murmur2 in vectors.items():
            expected = (murmur2 & 0x7FFFFFFF) % 7
            assert producer.send("t", b"v", key).result().partition == expected
            assert producer.send_many("t", [b"v"], [key]).result().partition == expected


def test_an_explicit_partition_beats_the_key(log: eventlog.EventLog) -> None:
    """partition= wins over key and partitioner; a number that does not exist is an error that stores nothing."""
    log.create_topic("t", partitions=3)
    with log.producer(partitioner=lambda *_: 0) as producer:
        for number in range(3):
            assert producer.send("t", b"v", b"same key", partition=number).result().partition == number
            assert producer.send_many("t", [b"v"], [b"same key"], partition=number).result().partition == number
        for bad in (3, -1, "0", 1.0):
            with pytest.raises(eventlog.UnknownPartitionError, match="numbered from 0"):
                producer.send("t", b"v", partition=bad)
            with pytest.raises(eventlog.UnknownPartitionError):
                producer.send_many("t", [b"v"], partition=bad)
    assert len(stored(log, "t")) == 6


def test_sticky_fills_one_batch_before_it_moves(log: eventlog.EventLog) -> None:
    """Without keys, records stay on one partition for about a batch, and use all partitions in the long run."""
    log.create_topic("t", partitions=4)
    with log.producer(batch_size=2000) as producer:
        sent = [producer.send("t", b"v" * 100) for _ in range(4000)]
        producer.flush()
    numbers = [delivery.result().partition for delivery in sent]
    moves = sum(a != b for a, b in itertools.pairwise(numbers))
    assert set(numbers) == {0, 1, 2, 3}
    assert moves < 4000 / 10  # 20 values fill a batch; staying on may let it be more, never much less


def test_round_robin_takes_turns(log: eventlog.EventLog) -> None:
    """partitioner="round_robin" gives each partition the same share of the records without a key."""
    log.create_topic("t", partitions=4)
    with log.producer(partitioner="round_robin") as producer:
        numbers = [producer.send("t", b"v").result().partition for _ in range(8)]
        spread = producer.send_many("t", [b"v"] * 8).results()
    assert sorted(numbers) == sorted(m.partition for m in spread) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_callable_partitioner_sees_the_serialized_record(log: eventlog.EventLog) -> None:
    """A custom partitioner gets topic, key bytes, value bytes and the number of partitions, and decides."""
    log.create_topic("t", partitions=3)
    seen = []

    def last(topic: str, key: bytes | None, value: bytes | None, partitions: int) -> int:
        seen.append((topic, key, value, partitions))
        return partitions - 1

    with log.producer(partitioner=last, key_serializer="str", value_serializer="json") as producer:
        assert producer.send("t", [1], "k").result().partition == 2
        assert producer.send("t", None).result().partition == 2
        assert [m.partition for m in producer.send_many("t", [2, 3], ["a", None]).results()] == [2, 2]
    assert seen == [("t", b"k", b"[1]", 3), ("t", None, None, 3), ("t", b"a", b"2", 3), ("t", None, b"3", 3)]


def test_a_partitioner_that_is_wrong(log: eventlog.EventLog) -> None:
    """A partitioner that returns a partition which does not exist fails that send, and stores nothing."""
    log.create_topic("t", partitions=3)
    with log.producer(partitioner=lambda *_: 3) as producer:
        with pytest.raises(eventlog.UnknownPartitionError):
            producer.send("t", b"v")
        with pytest.raises(eventlog.UnknownPartitionError):
            producer.send_many("t", [b"v"])
    assert values(log, "t") == []


# --- batching ---


def test_a_record_waits_for_linger_ms(still_log: eventlog.EventLog, clock: eventlog.ManualClock) -> None:
    """A record is written once linger_ms have passed, by itself; and not before."""
    partition = still_log.create_topic("t").partitions[0]
    consumer = still_log.consumer("t", auto_offset_reset="earliest")
    producer = still_log.producer(linger_ms=50)
    for send in (lambda: producer.send("t", b"v", b"k"), lambda: producer.send("t", b"v")):
        end = partition.log_end_offset
        delivery = send()
        clock.advance(0.049)
        assert producer.drain_lingering() is not None
        assert (partition.log_end_offset, delivery.done()) == (end, False)
        clock.advance(0.002)
        assert len(consumer.poll(timeout=60)) == 1
        assert delivery.result().offset == end
    producer.close()


def test_linger_zero_writes_at_once(still_log: eventlog.EventLog) -> None:
    """linger_ms=0: the record is there when send() returns."""
    still_log.create_topic("t")
    with still_log.producer(linger_ms=0) as producer:
        for n in range(3):
            assert producer.send("t", b"%d" % n).done()
            assert values(still_log, "t") == [b"%d" % i for i in range(n + 1)]


def test_a_clock_that_was_set_back_holds_nothing_up(still_log: eventlog.EventLog, clock: eventlog.ManualClock) -> None:
    """When the wall clock jumps back behind a record's time, the record is written instead of waiting it out."""
    still_log.create_topic("t")
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        producer.send("t", b"v")
        clock.advance(-3600)
        with still_log.consumer("t", auto_offset_reset="earliest") as consumer:
            producer.send("t", b"w")  # wakes the background thread
            found = []
            producer.drain_lingering()
            while len(found) < 2:
                found += consumer.poll(timeout=60)
    assert [record.value for record in found] == [b"v", b"w"]


def test_a_full_batch_does_not_wait(still_log: eventlog.EventLog) -> None:
    """batch_size bytes are written by the send that completes them, and a batch is about that large."""
    partition = still_log.create_topic("t").partitions[0]
    with still_log.producer(batch_size=4096, linger_ms=NEVER_LINGERED) as producer:
        for _ in range(2000):
            producer.send("t", b"v" * 100)
    sizes = [batch.size for batch in partition.read(0, max_bytes=1 << 30)]
    assert sum(sizes) > 200_000
    assert sorted(sizes)[len(sizes) // 2] in range(2048, 8192)


def test_batch_size_zero_means_no_batches(log: eventlog.EventLog) -> None:
    """batch_size=0 writes each record on its own, as in Kafka."""
    partition = log.create_topic("t").partitions[0]
    with log.producer(batch_size=0) as producer:
        for _ in range(5):
            producer.send("t", b"v")
    assert [len(batch) for batch in partition.read(0)] == [1] * 5


def test_waiting_for_one_result_writes_it(still_log: eventlog.EventLog) -> None:
    """result() does not wait for the batch to fill or to linger: it writes what is there, in order."""
    still_log.create_topic("t")
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        first, second, third = (producer.send("t", value) for value in (b"a", b"b", b"c"))
        assert not second.done()
        assert second.result().offset == 1
        assert first.done() and first.result().offset == 0 and third.result().offset == 2


def test_flush_settles_everything(still_log: eventlog.EventLog) -> None:
    """After flush() every delivery is done, on every topic and partition, and the records can be read."""
    for name in ("a", "b"):
        still_log.create_topic(name, partitions=3)
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        sent = [producer.send(name, b"v", partition=n) for name in ("a", "b") for n in range(3)]
        sent += [producer.send(name, b"v") for name in ("a", "b")]
        assert not any(delivery.done() for delivery in sent)
        producer.flush()
        assert all(delivery.done() for delivery in sent)
        assert len(values(still_log, "a")) == len(values(still_log, "b")) == 4
        producer.flush()  # with nothing to do


# --- send_many ---


def test_send_many_answers_in_the_order_of_the_list(log: eventlog.EventLog) -> None:
    """Keys spread a list over partitions; results() has each record's own place, in the order of the list."""
    log.create_topic("t", partitions=5)
    keys = [None if n % 7 == 0 else b"%d" % (n % 23) for n in range(500)]
    with log.producer() as producer:
        delivery = producer.send_many("t", [b"%d" % n for n in range(500)], keys, timestamps_ms=list(range(500)))
    assert delivery.done()
    results = delivery.results()
    by_place = {(r.partition, r.offset): r for r in stored(log, "t")}
    assert len(by_place) == len(results) == 500
    for n, metadata in enumerate(results):
        record = by_place[metadata.partition, metadata.offset]
        assert (record.value, record.key, record.timestamp_ms) == (b"%d" % n, keys[n], n)
        assert metadata.timestamp_ms == n
    assert delivery.result() == results[-1]
    for number in range(5):  # within a partition, the list's order is the log's order
        own = [int(r.value) for r in stored(log, "t") if r.partition == number]
        assert own == sorted(own) and own


def test_send_many_with_headers_and_one_timestamp(log: eventlog.EventLog) -> None:
    """Headers go with their records over all partitions, and one timestamp serves the whole list."""
    log.create_topic("t", partitions=3)
    headers = [None if n % 3 == 0 else [("n", b"%d" % n)] for n in range(60)]
    with log.producer() as producer:
        producer.send_many("t", [b"%d" % n for n in range(60)], [b"%d" % n for n in range(60)],
                           headers=headers, timestamps_ms=99)  # fmt: skip
    for record in stored(log, "t"):
        n = int(record.value)
        assert record.headers == (() if n % 3 == 0 else (("n", b"%d" % n),))
        assert record.timestamp_ms == 99


def test_send_many_comes_behind_what_waits(still_log: eventlog.EventLog) -> None:
    """Records accepted by send() before are written before the list."""
    still_log.create_topic("t")
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        first = producer.send("t", b"a")
        many = producer.send_many("t", [b"b", b"c"])
        last = producer.send("t", b"d")
        assert [first.result().offset, many.result().offset, last.result().offset] == [0, 2, 3]


def test_send_many_larger_than_a_batch_may_be(log: eventlog.EventLog) -> None:
    """A list larger than max_message_bytes becomes several batches in one append."""
    log.create_topic("t", max_message_bytes=10_000)
    sent = [b"%06d" % n + b"x" * 500 for n in range(300)]
    with log.producer() as producer:
        assert producer.send_many("t", sent).result().offset == 299
    assert values(log, "t") == sent
    assert max(batch.size for batch in log.topic("t").partitions[0].read(0, max_bytes=1 << 30)) <= 10_000


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize(
    "columns",
    [
        {"keys": [b"a"]},
        {"keys": 5},
        {"keys": [b"a", b"b", 3]},
        {"headers": [None]},
        {"headers": 5},
        {"headers": [None, None, [("n", 5)]]},
        {"headers": [None, None, [(5, b"v")]]},
        {"timestamps_ms": [1, 2]},
        {"timestamps_ms": [1, 2, -3]},
        {"timestamps_ms": 1.5},
        {"timestamps_ms": "abc"},
        {"timestamps_ms": [1, 2, 2**64]},
    ],
    ids=repr,
)
def test_send_many_checks_its_columns(log: eventlog.EventLog, columns: dict[str, Any], keyed: bool) -> None:
    """Columns of another length or type are an error of ours before anything is written, keyed or not."""
    log.create_topic("t", partitions=4)
    if keyed:
        columns = {"keys": [b"a", b"b", b"c"], **columns}
    with log.producer() as producer, pytest.raises((eventlog.InvalidRecordError, eventlog.SerializationError)):
        producer.send_many("t", [b"1", b"2", b"3"], **columns)
    assert values(log, "t") == []


def test_one_timestamp_in_a_list_of_one(log: eventlog.EventLog) -> None:
    """timestamps_ms of one item for several records is either refused or true for all, never half of each."""
    log.create_topic("t", partitions=4)
    with log.producer() as producer, pytest.raises(eventlog.InvalidRecordError):
        producer.send_many("t", [b"1", b"2", b"3"], timestamps_ms=[5]).results()
    assert values(log, "t") == []


@pytest.mark.parametrize("bad", ["abc", b"abc", 5, None, {"a": b"b"}, [], {b"v"}], ids=repr)
def test_send_many_takes_lists_only(log: eventlog.EventLog, bad: Any) -> None:
    """Anything but a non-empty list or tuple of values is an error that says so."""
    log.create_topic("t")
    with log.producer() as producer, pytest.raises(eventlog.InvalidRecordError, match="give"):
        producer.send_many("t", bad)


# --- acknowledgements and durability ---


@pytest.mark.parametrize("acks", ["all", -1, 1])
def test_acks_that_wait(log: eventlog.EventLog, acks: Any) -> None:
    """With one replica, acks "all", -1 and 1 all mean: acknowledged once it is written."""
    log.create_topic("t")
    with log.producer(acks=acks) as producer:
        assert producer.send("t", b"v").result().offset == 0
    assert values(log, "t") == [b"v"]


def test_acks_zero_does_not_wait(still_log: eventlog.EventLog) -> None:
    """acks=0: done at once, with offset -1 as in Kafka; the record is written all the same."""
    still_log.create_topic("t", partitions=2)
    with still_log.producer(acks=0, linger_ms=NEVER_LINGERED) as producer:
        delivery = producer.send("t", b"v", partition=1)
        assert delivery.done()
        assert delivery.result() == eventlog.RecordMetadata("t", 1, -1, 1_700_000_000_000, False)
        assert values(still_log, "t") == []
    assert values(still_log, "t") == [b"v"]


@pytest.mark.parametrize(
    ("topic", "producer", "durable"),
    [("os", None, False), ("os", "disk", True), ("disk", None, True), ("disk", "os", False)],
)
def test_durability_is_the_producers_or_else_the_topics(
    log: eventlog.EventLog, topic: str, producer: str | None, durable: bool
) -> None:
    """Each acknowledgement says how durable it is; durable means that the log's durable end has passed it."""
    partition = log.create_topic("t", durability=topic).partitions[0]
    with log.producer(durability=producer) as sender:
        metadata = sender.send("t", b"v").result()
        assert metadata.durable is durable
        assert (partition.durable_end_offset > metadata.offset) is durable
        metadata = sender.send_many("t", [b"v", b"w"]).result()
        assert metadata.durable is durable
        assert (partition.durable_end_offset > metadata.offset) is durable


def test_callbacks(still_log: eventlog.EventLog) -> None:
    """Each callback runs once with the metadata: those added before the outcome and those added after it."""
    still_log.create_topic("t")
    seen: list[Any] = []
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        delivery = producer.send("t", b"v", b"k")
        plain = producer.send("t", b"v")
        for name, one in (("a", delivery), ("b", delivery), ("c", plain)):
            one.add_callback(lambda metadata, error, name=name: seen.append((name, metadata, error)))
        assert seen == []
        producer.flush()
        delivery.add_callback(lambda metadata, error: seen.append(("late", metadata, error)))
        many = producer.send_many("t", [b"x"])
        many.add_callback(lambda metadata, error: seen.append(("many", metadata, error)))
    assert [(name, metadata.offset, error) for name, metadata, error in seen] == [
        ("a", 0, None), ("b", 0, None), ("c", 1, None), ("late", 0, None), ("many", 2, None),
    ]  # fmt: skip


def test_a_callback_that_raises_harms_nothing(still_log: eventlog.EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """What a callback raises is logged; the other callbacks run, and the record is written."""
    still_log.create_topic("t")
    seen = []
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        delivery = producer.send("t", b"v", b"k")
        delivery.add_callback(lambda *_: 1 / 0)
        delivery.add_callback(lambda metadata, _: seen.append(metadata))
        assert delivery.result().offset == 0
    assert len(seen) == 1
    assert "a delivery callback raised" in caplog.text


def test_a_callback_may_send(still_log: eventlog.EventLog) -> None:
    """A callback may send to the same producer: the record waits its turn, and nothing deadlocks."""
    still_log.create_topic("t")
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        producer.send("t", b"first", b"k").add_callback(lambda *_: producer.send("t", b"second", b"k"))
        producer.flush()
    assert values(still_log, "t") == [b"first", b"second"]


# --- errors ---


def test_what_send_refuses(log: eventlog.EventLog) -> None:
    """Wrong values, keys, headers, timestamps, topics: an error at once, and nothing is accepted."""
    log.create_topic("t", max_message_bytes=2000)
    refused: list[tuple[type[Exception], tuple[Any, ...], dict[str, Any]]] = [
        (eventlog.SerializationError, ("t", "text"), {}),
        (eventlog.SerializationError, ("t", 5), {}),
        (eventlog.SerializationError, ("t", b"v", "key"), {}),
        (eventlog.InvalidRecordError, ("t", b"v"), {"headers": [("n", "text")]}),
        (eventlog.InvalidRecordError, ("t", b"v"), {"headers": {"n": b"v"}}),
        (eventlog.InvalidRecordError, ("t", b"v"), {"headers": 5}),
        (eventlog.InvalidRecordError, ("t", b"v"), {"timestamp_ms": -1}),
        (eventlog.InvalidRecordError, ("t", b"v"), {"timestamp_ms": 1.5}),
        (eventlog.InvalidRecordError, ("t", b"v"), {"timestamp_ms": 2**63}),
        (eventlog.RecordTooLargeError, ("t", b"v" * 2000), {}),
        (eventlog.RecordTooLargeError, ("t", b"v" * 1000, b"k" * 1000), {}),
        (eventlog.RecordTooLargeError, ("t", b"v"), {"headers": [("n", b"v" * 2000)]}),
        (eventlog.UnknownTopicError, ("u", b"v"), {}),
        (eventlog.InvalidTopicError, ("a/b", b"v"), {}),
        (eventlog.InvalidTopicError, (5, b"v"), {}),
        (eventlog.InvalidTopicError, (["t"], b"v"), {}),
    ]
    with log.producer() as producer:
        for error, arguments, options in refused:
            with pytest.raises(error):
                producer.send(*arguments, **options)
    assert values(log, "t") == []


def test_one_record_that_is_too_large_fails_alone(still_log: eventlog.EventLog) -> None:
    """Random bytes do not compress: the record that turns out too large fails, its neighbours are written."""
    still_log.create_topic("t", max_message_bytes=3000)
    good = [b"%03d" % n + b" " * 500 for n in range(20)]
    large = os.urandom(2000) + b" " * 500
    with still_log.producer(compression_type="gzip", linger_ms=NEVER_LINGERED, batch_size=2**20) as producer:
        before = [producer.send("t", value) for value in good[:10]]
        still_log.topic("t").partitions[0]._max_bytes = 1500  # as if the limit was lowered while the record waited
        alone = producer.send("t", large, b"key")
        after = [producer.send("t", value) for value in good[10:]]
        seen = []
        alone.add_callback(lambda metadata, error: seen.append((metadata, error)))
        producer.flush()
    error = alone.exception()
    assert isinstance(error, eventlog.RecordTooLargeError)
    assert seen == [(None, error)]
    with pytest.raises(eventlog.RecordTooLargeError):
        alone.result()
    assert [d.result().offset for d in before + after] == list(range(20))
    assert all(d.exception() is None for d in before + after)
    assert values(still_log, "t") == good


def test_records_of_a_deleted_topic_fail_alone(still_log: eventlog.EventLog) -> None:
    """When a topic is deleted while records wait, exactly its records fail, with UnknownTopicError."""
    for name in ("kept", "doomed"):
        still_log.create_topic(name)
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        kept = [producer.send("kept", b"v"), producer.send("kept", b"w", b"k")]
        doomed = [producer.send("doomed", b"v"), producer.send("doomed", b"w", b"k")]
        still_log.delete_topic("doomed")
        producer.flush()
        assert [d.result().offset for d in kept] == [0, 1]
        assert [type(d.exception()) for d in doomed] == [eventlog.UnknownTopicError] * 2
        with pytest.raises(eventlog.UnknownTopicError):
            for _ in range(1000):  # a plain value may be accepted once more, before the producer has noticed
                producer.send("doomed", b"x").result()


def test_a_topic_deleted_before_its_first_write(still_log: eventlog.EventLog, run_python: RunPython) -> None:
    """Another process deletes a topic that has waiting records and was never opened here: only those fail."""
    for name in ("a-doomed", "b-kept"):
        still_log.create_topic(name)
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        doomed, kept = producer.send("a-doomed", b"v", b"k"), producer.send("b-kept", b"v", b"k")
        run_python("import eventlog; eventlog.open(ARGS[0]).delete_topic('a-doomed')", still_log.path)
        producer._now = lambda: START + 2 * NEVER_LINGERED / 1000
        with still_log.consumer("b-kept", auto_offset_reset="earliest") as consumer:
            producer.drain_lingering()  # what the background thread runs, and does now, as the first of them fails
            assert [record.value for record in consumer.poll(timeout=60)] == [b"v"]
        assert kept.result(timeout=60).offset == 0
        with pytest.raises(eventlog.UnknownTopicError):
            doomed.result(timeout=60)
        assert doomed.done()


def test_a_topic_that_is_made_anew_is_used(log: eventlog.EventLog) -> None:
    """Delete and create: what waited for the old topic fails, and everything sent afterwards is written."""
    for partitions in (1, 3):
        log.create_topic("t", partitions=partitions)
        with log.producer(linger_ms=NEVER_LINGERED) as producer:
            old = [producer.send("t", b"old"), producer.send("t", b"old", b"k"), producer.send("t", b"old")]
            log.delete_topic("t")
            log.create_topic("t", partitions=partitions)
            new = [producer.send("t", b"new %d" % n, b"k") for n in range(3)]
            producer.flush()
            assert [type(d.exception()) for d in old] == [eventlog.UnknownTopicError] * 3
            assert [d.result().offset for d in new] == [0, 1, 2]
            assert values(log, "t") == [b"new 0", b"new 1", b"new 2"]
        log.delete_topic("t")


def test_plain_values_find_a_topic_that_was_made_anew(log: eventlog.EventLog) -> None:
    """A producer of plain values gets errors for the deleted topic's records, and not for ever after."""
    log.create_topic("t")
    with log.producer() as producer:
        for _ in range(100):
            producer.send("t", b"old")
        producer.flush()
        log.delete_topic("t")
        log.create_topic("t")
        outcomes = [producer.send("t", b"%d" % n).exception() for n in range(10)]
        assert [error for error in outcomes if error is not None][1:] == []  # at most the first one was lost
    assert values(log, "t") == [b"%d" % n for n, error in enumerate(outcomes) if error is None]


def test_a_missing_codec_fails_the_records(run_python: RunPython, log_path: Path) -> None:
    """Without cramjam, zstd is refused with MissingExtraError instead of leaving records that never settle."""
    script = """
import sys; sys.modules["cramjam"] = None
import eventlog
log = eventlog.open(ARGS[0]); log.create_topic("t")
try:
    producer = log.producer(compression_type="zstd")
    delivery = producer.send("t", b"v")
    error = delivery.exception()
except eventlog.MissingExtraError as raised:
    error = raised
answer([type(error).__name__, error.hint])
log.close()
"""
    assert run_python(script, log_path) == ["MissingExtraError", "pip install 'eventlog-embedded[compression]'"]


# --- backpressure ---


def test_buffer_memory_gives_an_error_after_max_block_ms(still_log: eventlog.EventLog) -> None:
    """While a partition is locked elsewhere, send() takes buffer_memory bytes, then raises; later all is written."""
    still_log.create_topic("t")
    config = {"buffer_memory": 10_000, "max_block_ms": 20, "linger_ms": NEVER_LINGERED, "batch_size": 2**20}
    with still_log.producer(**config) as producer:
        accepted = []
        with held_lock(still_log, "t"):
            for n in range(10):
                accepted.append(producer.send("t", b"%d" % n + b"x" * 990, b"k" if n % 2 else None))
            with pytest.raises(eventlog.BufferExhaustedError) as caught:
                producer.send("t", b"refused" * 200)
            assert isinstance(caught.value, TimeoutError) and caught.value.topic == "t" and caught.value.hint
            assert not any(delivery.done() for delivery in accepted)
            with pytest.raises(eventlog.DeliveryTimeoutError):
                accepted[0].result(timeout=0.01)
            with pytest.raises(eventlog.DeliveryTimeoutError):
                producer.flush(timeout=0.01)
            with pytest.raises(eventlog.DeliveryTimeoutError):
                accepted[0].exception(timeout=0.01)
        producer.send("t", b"room again" + b"x" * 999)
        assert [delivery.result().offset for delivery in accepted] == list(range(10))
    assert [value[:1] for value in values(still_log, "t")] == [b"%d" % n for n in range(10)] + [b"r"]


def test_a_record_larger_than_buffer_memory_is_taken_alone(log: eventlog.EventLog) -> None:
    """A record that is larger than buffer_memory altogether does not wait for ever: it is written on its own."""
    log.create_topic("t")
    with log.producer(buffer_memory=100, max_block_ms=10_000) as producer:
        for n in range(5):
            producer.send("t", b"%d" % n * 1000)
    assert values(log, "t") == [b"%d" % n * 1000 for n in range(5)]


def test_plain_values_count_too(log: eventlog.EventLog) -> None:
    """Small values first, large ones later, and the partition locked: memory stays near buffer_memory all the same."""
    log.create_topic("t")
    memory = 2**22
    with log.producer(buffer_memory=memory, max_block_ms=0, batch_size=2**17) as producer:
        for _ in range(100_000):
            producer.send("t", b"")
        producer.flush()
        taken = 0
        with held_lock(log, "t"):
            try:
                while taken < 16 * memory:
                    producer.send("t", b"x" * 4096)
                    taken += 4096
            except eventlog.BufferExhaustedError:
                pass
        assert taken <= 2 * memory


# --- threads ---


def test_threads_share_a_producer(log: eventlog.EventLog) -> None:
    """Eight threads send at once: each record is written once, in each thread's own order per partition."""
    log.create_topic("t", partitions=3)
    threads, each = 8, 1500
    failures: list[BaseException] = []

    def work(producer: eventlog.Producer, thread: int) -> None:
        try:
            for n in range(each):
                value = b"%d:%d" % (thread, n)
                if n % 5 == 0:
                    producer.send("t", value, b"%d" % thread)
                elif n % 50 == 1:
                    producer.send_many("t", [value], partition=n % 3)
                elif n % 50 == 2:
                    producer.send("t", value, partition=n % 3).result()
                else:
                    producer.send("t", value)
        except BaseException as error:
            failures.append(error)

    with log.producer(batch_size=1000) as producer, quick_switches():
        run_threads([lambda t=t: work(producer, t) for t in range(threads)])
    assert not failures
    found = stored(log, "t")
    assert sorted(r.value for r in found) == sorted(b"%d:%d" % (t, n) for t in range(threads) for n in range(each))
    for number in range(3):
        for thread in range(threads):
            own = [r for r in found if r.partition == number and r.value.startswith(b"%d:" % thread)]
            order = [int(r.value.split(b":")[1]) for r in own]
            assert order == sorted(order)
    keyed = {int(r.value.split(b":")[1]) % 5 == 0 for r in found if r.key is not None}
    assert keyed == {True}
    assert sum(r.key is not None for r in found) == threads * each // 5


def test_the_first_sends_of_many_threads(log: eventlog.EventLog) -> None:
    """When several threads meet at a topic's first record, none of their records is forgotten by flush()."""
    with quick_switches():
        for round_number in range(60):
            log.create_topic(name := f"t{round_number}")
            producer = log.producer(linger_ms=NEVER_LINGERED)
            start = threading.Barrier(6)

            def first(producer: eventlog.Producer = producer, name: str = name, start: Any = start) -> None:
                start.wait()
                producer.send(name, b"v", b"k")

            run_threads([first] * 6)
            producer.flush()
            assert len(values(log, name)) == 6
            producer.close()


def test_close_while_others_send(log: eventlog.EventLog) -> None:
    """A record is either refused with ClosedError or written, whenever close() comes in between."""
    log.create_topic("t")
    with quick_switches():
        for round_number in range(20):
            producer = log.producer()
            producer.send("t", b"start").result()
            accepted: list[eventlog.Delivery] = []
            begun = threading.Event()

            def work(
                producer: Any = producer, accepted: Any = accepted, begun: Any = begun, n: int = round_number
            ) -> None:
                with contextlib.suppress(eventlog.ClosedError):
                    while True:
                        accepted.append(producer.send("t", b"v", b"k" if n % 2 else None))
                        begun.set()

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            begun.wait()
            producer.close()
            for thread in threads:
                thread.join()
            assert all(delivery.done() for delivery in accepted)


@contextlib.contextmanager
def quick_switches() -> Iterator[None]:
    """Let the interpreter change threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def run_threads(tasks: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- interrupts ---


class Interrupter:
    """Raises KeyboardInterrupt where a signal can be noticed: when a function begins, and when a C function is done.

    Not in generator expressions, since one that is being closed would swallow it: who runs them is interrupted behind.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        self.where = ""

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event not in ("call", "c_return") or code.co_name == "<genexpr>":
            return
        if f"{os.sep}eventlog{os.sep}" in code.co_filename:
            self.left -= 1
            if self.left == 0:
                self.where = f"{code.co_filename}:{frame.f_lineno} {event}"
                raise KeyboardInterrupt

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)


def test_an_interrupt_anywhere_in_flush(log: eventlog.EventLog) -> None:
    """Ctrl-C at any line of a flush: each record is written exactly once, keeps its key, and knows its offset."""
    log.create_topic("t")
    at = 0
    expected = 0
    while True:
        at += 1
        interrupter = Interrupter(at)
        with log.producer(linger_ms=NEVER_LINGERED) as producer:
            sent = [producer.send("t", b"%d" % n, b"k") for n in range(expected, expected + 3)]
            called: list[int] = []
            for delivery in sent:
                delivery.add_callback(lambda metadata, _, called=called: called.append(metadata.offset))
            interrupted = False
            with interrupter.armed():
                try:
                    producer.flush()
                except KeyboardInterrupt:
                    interrupted = True
            assert interrupted == bool(interrupter.where), interrupter.where
            sent.append(producer.send("t", b"%d" % (expected + 3), b"k"))
            producer.flush()
            found = [(r.value, r.key) for r in stored(log, "t")[expected:]]
            assert found == [(b"%d" % n, b"k") for n in range(expected, expected + 4)], interrupter.where
            assert [d.result().offset for d in sent] == list(range(expected, expected + 4)), interrupter.where
            assert len(set(called)) == len(called), interrupter.where
        expected += 4
        if not interrupted:
            break
    assert at > 100  # the flush really was interrupted in many places


@pytest.mark.parametrize("is_dropped", [True, False], ids=["dropped", "goes on"])
def test_an_interrupt_behind_the_start_of_the_background_thread(
    log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch, is_dropped: bool
) -> None:
    """Ctrl-C in the send that starts the thread leaves none behind; a later send's record lingers and is written."""
    log.create_topic("t")
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def start_interrupted(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)
        raise KeyboardInterrupt

    producer = log.producer(linger_ms=NEVER_LINGERED if is_dropped else 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(threading.Thread, "start", start_interrupted)
        producer.send("t", b"interrupted", b"k")
    if not is_dropped:
        written = threading.Event()
        producer.send("t", b"v", b"k").add_callback(lambda metadata, error: written.set())
        assert written.wait(60)
    del producer
    gc.collect()
    (thread,) = started
    thread.join(60)
    assert not thread.is_alive()


# --- ends ---


def test_leaving_the_block_writes_everything(log: eventlog.EventLog) -> None:
    """A producer is a context manager that writes what waits, also when the block raised."""
    log.create_topic("t")
    with pytest.raises(ZeroDivisionError), log.producer(linger_ms=NEVER_LINGERED) as producer:
        producer.send("t", b"v")
        1 / 0  # noqa: B018  # the error of the block
    assert values(log, "t") == [b"v"]


def test_a_closed_producer(log: eventlog.EventLog) -> None:
    """close() may be called twice; sending afterwards raises ClosedError, and results stay readable."""
    log.create_topic("t")
    producer = log.producer(linger_ms=NEVER_LINGERED)
    delivery = producer.send("t", b"v")
    producer.send("t", b"w")
    producer.close()
    producer.close()
    for _ in range(2):
        with pytest.raises(eventlog.ClosedError, match=r"log\.producer"):
            producer.send("t", b"x")
    with pytest.raises(eventlog.ClosedError):
        producer.send_many("t", [b"x"])
    assert delivery.result().offset == 0
    assert values(log, "t") == [b"v", b"w"]


def test_closing_the_log_closes_its_producers(log_path: Path) -> None:
    """log.close() writes what its producers hold."""
    log = eventlog.open(log_path)
    log.create_topic("t")
    producer = log.producer(linger_ms=NEVER_LINGERED)
    producer.send("t", b"v")
    log.close()
    with pytest.raises(eventlog.ClosedError):
        producer.send("t", b"w")
    with eventlog.open(log_path) as again:
        assert values(again, "t") == [b"v"]


def test_a_forgotten_producer_writes_its_records(log: eventlog.EventLog) -> None:
    """A producer that nobody holds any more writes what waits soon after it is collected."""
    log.create_topic("t")
    log.producer(linger_ms=NEVER_LINGERED).send("t", b"v")
    gc.collect()
    found = log.consumer("t", auto_offset_reset="earliest").poll(timeout=60)
    assert [record.value for record in found] == [b"v"]


def test_the_interpreters_exit_flushes(run_python: RunPython, log: eventlog.EventLog) -> None:
    """A program that sends and ends, without close() or flush(), loses nothing: plain, keyed, and from a thread."""
    log.create_topic("t")
    script = """
import eventlog, threading
log = eventlog.open(ARGS[0])
producer = log.producer(linger_ms=10**9)
for n in range(10): producer.send("t", b"%d" % n)
producer.send("t", b"10", b"k")
def work(): producer.send("t", b"11")
thread = threading.Thread(target=work); thread.start(); thread.join()
log.producer(linger_ms=10**9, value_serializer="json").send("t", 12)
if ARGS[1] == "exit": raise SystemExit(3)
if ARGS[1] == "error": raise ValueError("an error nobody catches")
"""
    for number, (way, status) in enumerate([("end", 0), ("exit", 3), ("error", 1)], start=1):
        run_python(script, log.path, way, status=status)
        assert sorted(map(int, values(log, "t"))) == sorted(list(range(13)) * number)


def test_an_idle_producer_has_no_errors_to_log(
    still_log: eventlog.EventLog, clock: eventlog.ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The background thread works without a complaint while records come, linger and go in every rhythm."""
    still_log.create_topic("t", partitions=2)
    with caplog.at_level(logging.WARNING), quick_switches(), still_log.producer(linger_ms=1) as producer:
        for n in range(400):
            delivery = producer.send("t", b"v", b"%d" % n if n % 3 else None)
            if n % 2:
                clock.advance(0.002)
            if n % 5 == 0:
                delivery.result()
    assert not caplog.records
    assert len(values(still_log, "t")) == 400


def test_a_callback_may_wait_for_another_delivery(log: eventlog.EventLog) -> None:
    """Callbacks run without a lock held: one may send to the same partition, flush, and wait for the result."""
    log.create_topic("t")
    answers: list[int] = []
    with log.producer(linger_ms=NEVER_LINGERED) as producer:

        def on_delivery(metadata: Any, error: Any) -> None:
            answers.append(producer.send("t", b"from the callback").result(timeout=60).offset)
            producer.flush()

        delivery = producer.send("t", b"first", b"k")
        delivery.add_callback(on_delivery)
        producer.flush()
        assert delivery.result().offset == 0
    assert answers == [1]


def test_a_send_after_an_awaited_one_lingers_no_longer(log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the background thread was idle, and the record that woke it was awaited, the next record is written too."""
    monkeypatch.setattr(linger_thread, "_IDLE_WAIT", 3600.0)  # a record that nobody looks after is never written
    log.create_topic("t")
    with log.producer(linger_ms=1) as producer, log.consumer("t", auto_offset_reset="earliest") as consumer:
        for number in range(0, 60, 2):
            while producer._fast:  # until the thread has gone idle, and wants to be woken
                threading.Event().wait(0.001)
            producer.send("t", b"%d" % number).result()
            producer.send("t", b"%d" % (number + 1))
            found: list[bytes | None] = []
            while len(found) < 2 and (records := consumer.poll(timeout=30)):
                found += [record.value for record in records]
            assert found == [b"%d" % number, b"%d" % (number + 1)]


def test_failures_are_logged(still_log: eventlog.EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """Records that could not be written are logged once a batch, also when nobody asks; those written are not."""
    for name in ("t", "u"):
        still_log.create_topic(name)
    with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
        for name in ("t", "u"):
            for _ in range(3):
                producer.send(name, b"v")
        still_log.delete_topic("t")
    (entry,) = [entry for entry in caplog.records if entry.name == "eventlog"]
    assert entry.levelno == logging.WARNING
    assert entry.getMessage().startswith("3 records for t-0 were not written: ")
    assert "no such topic" in entry.getMessage()


def test_a_logging_handler_that_sends(still_log: eventlog.EventLog) -> None:
    """A handler may write the failures that are logged into the log itself, with the very same producer."""
    still_log.create_topic("t")
    still_log.create_topic("failures")

    class Sending(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            producer.send("failures", record.getMessage().encode())
            producer.flush()

    handler = Sending()
    logging.getLogger("eventlog").addHandler(handler)
    try:
        with still_log.producer(linger_ms=NEVER_LINGERED) as producer:
            producer.send("t", b"v")
            still_log.delete_topic("t")
            producer.flush()
    finally:
        logging.getLogger("eventlog").removeHandler(handler)
    (batch,) = still_log.topic("failures").partitions[0].read(0)
    assert [value[:34] for value in batch.values() if value] == [b"1 records for t-0 were not written"]


def test_what_a_producer_and_a_delivery_show(log: eventlog.EventLog) -> None:
    """The reprs tell what waits, where it went, and what became of it."""
    log.create_topic("t")
    producer = log.producer(linger_ms=NEVER_LINGERED)
    delivery = producer.send("t", b"v", key=b"k")
    assert repr(producer) == "<Producer with 1 records waiting>"
    assert repr(delivery) == "<FullDelivery waiting for t-0>"
    producer.close()
    assert repr(producer) == "<Producer with 0 records waiting (closed)>"
    assert repr(delivery) == "<FullDelivery to t-0 at offset 0>"
    producer = log.producer(linger_ms=NEVER_LINGERED)
    late = producer.send("t", b"v", key=b"k")
    log.delete_topic("t")
    producer.close()
    assert repr(late).startswith("<FullDelivery to t-0 failed: ")
