"""The consumer: what it reads, from where, in which order, and how it waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

import eventlog
from eventlog import TopicPartition

RunPython = Callable[..., Any]
EARLIEST = {"auto_offset_reset": "earliest"}


def fill(log: eventlog.EventLog, topic: str, partitions: int = 1, count: int = 10, **config: Any) -> eventlog.Topic:
    """Create a topic whose partition p holds the values b"p:0", b"p:1", ..., with timestamps 1000, 1001, ..."""
    made = log.create_topic(topic, partitions=partitions, **config)
    for partition in made.partitions:
        for n in range(0, count, 5):
            part = range(n, min(n + 5, count))
            partition.append([b"%d:%d" % (partition.number, i) for i in part], timestamps_ms=[1000 + i for i in part])
    return made


def read_all(consumer: eventlog.Consumer) -> list[Any]:
    """Poll until nothing comes any more; return the values."""
    found = []
    while records := consumer.poll():
        found += [record.value for record in records]
    return found


def expected(partition: int, start: int = 0, count: int = 10) -> list[bytes]:
    return [b"%d:%d" % (partition, n) for n in range(start, count)]


# --- what is read ---


def test_a_record_is_whole(log: eventlog.EventLog) -> None:
    """A record has topic, partition, offset, timestamp and its type, key, value and headers, as they were sent."""
    log.create_topic("t", partitions=2).partitions[1].append([b"v"], [b"k"], [42], [[("h", b"1"), ("h", None)]])
    with log.consumer("t", **EARLIEST) as consumer:
        assert consumer.poll() == [
            eventlog.Record("t", 1, 0, 42, eventlog.TimestampType.CREATE_TIME, b"k", b"v", (("h", b"1"), ("h", None)))
        ]


def test_subscribe_reads_all_partitions_in_order(log: eventlog.EventLog) -> None:
    """A subscription has every partition of its topics; each partition comes in order, each record once."""
    fill(log, "a", 3)
    fill(log, "b", 2)
    fill(log, "c", 1)
    with log.consumer(**EARLIEST) as consumer:
        consumer.subscribe(["a", "b"])
        assert consumer.assignment() == [TopicPartition("a", n) for n in range(3)] + [
            TopicPartition("b", n) for n in range(2)
        ]
        found: dict[tuple[str, int], list[int]] = {}
        while records := consumer.poll(max_records=3):
            assert len(records) <= 3
            for record in records:
                found.setdefault((record.topic, record.partition), []).append(record.offset)
    assert found == {(t, n): list(range(10)) for t, n in [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]}


def test_assign_reads_exactly_these(log: eventlog.EventLog) -> None:
    """An assignment has the partitions named; assigning again replaces it and keeps the place of those that stay."""
    fill(log, "t", 3)
    with log.consumer(**EARLIEST) as consumer:
        consumer.assign([TopicPartition("t", 0), TopicPartition("t", 2)])
        consumer.seek(TopicPartition("t", 2), 8)
        assert sorted(read_all(consumer)) == sorted(expected(0) + expected(2, 8))
        consumer.seek(TopicPartition("t", 2), 9)
        consumer.assign([TopicPartition("t", 1), TopicPartition("t", 2)])
        assert sorted(read_all(consumer)) == sorted(expected(1) + expected(2, 9))


def test_a_pattern_matches_whole_names(log: eventlog.EventLog) -> None:
    """A pattern takes the topics whose whole name it matches, and internal ones only when asked to."""
    for name in ("orders", "orders.eu", "old-orders", "__orders"):
        fill(log, name)
    with log.consumer(**EARLIEST) as consumer:
        consumer.subscribe(pattern=r"orders.*")
        assert [tp.topic for tp in consumer.assignment()] == ["orders", "orders.eu"]
        consumer.subscribe(pattern=r".*orders")
        assert [tp.topic for tp in consumer.assignment()] == ["old-orders", "orders"]
    with log.consumer(exclude_internal_topics=False) as consumer:
        consumer.subscribe(pattern=r".*orders")
        assert [tp.topic for tp in consumer.assignment()] == ["__orders", "old-orders", "orders"]


def test_subscriptions_and_assignments_exclude_each_other(log: eventlog.EventLog) -> None:
    """assign after subscribe, and the other way round, is an error until unsubscribe; so is polling nothing."""
    fill(log, "t")
    with log.consumer(**EARLIEST) as consumer:
        with pytest.raises(eventlog.IllegalStateError, match="subscribe"):
            consumer.poll()
        consumer.subscribe(["t"])
        with pytest.raises(eventlog.IllegalStateError, match="unsubscribe"):
            consumer.assign([TopicPartition("t", 0)])
        consumer.unsubscribe()
        consumer.assign([TopicPartition("t", 0)])
        for arguments in ({"topics": ["t"]}, {"pattern": "t"}):
            with pytest.raises(eventlog.IllegalStateError, match="unsubscribe"):
                consumer.subscribe(**arguments)
        assert read_all(consumer) == expected(0)
        consumer.unsubscribe()
        for arguments in ({}, {"topics": ["t"], "pattern": "t"}):
            with pytest.raises(eventlog.IllegalStateError, match="one of the two"):
                consumer.subscribe(**arguments)
        assert consumer.assignment() == []


# --- new partitions and topics ---


def test_new_partitions_are_read_from_their_beginning(log: eventlog.EventLog, run_python: RunPython) -> None:
    """A partition added by another process is noticed, and read from offset 0 even by a consumer of the latest."""
    fill(log, "t", 1)
    with log.consumer("t") as consumer:
        assert consumer.poll() == []
        run_python(
            "import eventlog\nlog = eventlog.open(ARGS[0]); topic = log.topic('t'); topic.add_partitions(3)\n"
            "log.topic('t').partitions[2].append([b'new'])", log.path
        )  # fmt: skip
        assert [(r.partition, r.offset, r.value) for r in consumer.poll(timeout=60)] == [(2, 0, b"new")]
        assert len(consumer.assignment()) == 3


def test_new_topics_of_a_pattern_are_read_from_their_beginning(log: eventlog.EventLog) -> None:
    """A topic created after subscribe(pattern=...) is read as soon as it matches; deleted ones drop out silently."""
    fill(log, "t-1")
    with log.consumer() as consumer:
        consumer.subscribe(pattern="t-.*")
        assert consumer.poll() == []
        fill(log, "t-2")
        assert read_all(consumer) == expected(0)
        log.delete_topic("t-1")
        assert consumer.poll() == []
        assert [tp.topic for tp in consumer.assignment()] == ["t-2"]


def test_a_topic_that_is_made_anew(log: eventlog.EventLog) -> None:
    """A topic deleted and created again is another one: it is read from its beginning, and the old one is let go."""
    fill(log, "t")
    with log.consumer(**EARLIEST) as by_name, log.consumer(**EARLIEST) as by_pattern, log.consumer() as assigned:
        by_name.subscribe(["t"])
        by_pattern.subscribe(pattern="t")
        assigned.assign([TopicPartition("t", 0)])
        for consumer in (by_name, by_pattern):
            assert read_all(consumer) == expected(0)
        assert assigned.poll() == []
        log.delete_topic("t")
        fill(log, "t", count=3)
        for consumer in (by_name, by_pattern, assigned):
            assert read_all(consumer) == expected(0, 0, 3)


# --- where it starts ---


def test_auto_offset_reset(log: eventlog.EventLog) -> None:
    """Without a position: earliest begins at the start, latest (the default) at the end, none raises and says why."""
    partition = fill(log, "t").partitions[0]
    with log.consumer("t", auto_offset_reset="earliest") as consumer:
        assert read_all(consumer) == expected(0)
    with log.consumer("t") as consumer:
        assert consumer.poll() == []
        partition.append([b"later"])
        assert read_all(consumer) == [b"later"]
    with log.consumer("t", auto_offset_reset="none") as consumer:
        with pytest.raises(eventlog.NoOffsetForPartitionError, match="seek") as caught:
            consumer.poll()
        assert (caught.value.topic, caught.value.partition) == ("t", 0)
        consumer.seek(TopicPartition("t", 0), 9)
        assert read_all(consumer) == [b"0:9", b"later"]


def test_seek_and_position(log: eventlog.EventLog) -> None:
    """seek goes to any offset from the start to the end; position is the offset that comes next, always.

    What Kafka refuses, negative offsets and what is no whole number, leaves the position alone.
    """
    fill(log, "t", 2)
    tp = TopicPartition("t", 1)
    with log.consumer("t", max_poll_records=3, **EARLIEST) as consumer:
        for offset in (9, 0, 5, 3, 10):
            consumer.seek(tp, offset)
            assert consumer.position(tp) == offset
            consumer.pause(TopicPartition("t", 0))
            records = consumer.poll()
            assert [r.offset for r in records] == list(range(offset, 10))[: len(records)]
            assert consumer.position(tp) == offset + len(records)
            assert bool(records) is (offset < 10)
        for bad in (-1, 2**63, 2**70, "3", 1.0, None, True):
            with pytest.raises(eventlog.OffsetOutOfRangeError, match="from 0 to 10"):
                consumer.seek(tp, bad)
        assert consumer.position(tp) == 10


def test_seek_to_beginning_and_end(log: eventlog.EventLog) -> None:
    """seek_to_beginning and seek_to_end move the partitions given, or all of them."""
    fill(log, "t", 2)
    first, second = TopicPartition("t", 0), TopicPartition("t", 1)
    with log.consumer("t", **EARLIEST) as consumer:
        consumer.seek_to_end(first)
        assert read_all(consumer) == expected(1)
        consumer.seek_to_beginning(first)
        assert read_all(consumer) == expected(0)
        consumer.seek_to_beginning()
        assert len(read_all(consumer)) == 20
        consumer.seek_to_beginning()
        consumer.seek_to_end()
        assert consumer.poll() == []
        assert (consumer.position(first), consumer.position(second)) == (10, 10)


def test_offsets_of_partitions_that_are_not_assigned(log: eventlog.EventLog) -> None:
    """beginning_offsets, end_offsets and offsets_for_times answer for any partition, as KIP-79 says."""
    fill(log, "t", 2)
    log.create_topic("empty")
    tps = [TopicPartition("t", 1), TopicPartition("empty", 0)]
    with log.consumer() as consumer:
        assert consumer.beginning_offsets(tps) == dict.fromkeys(tps, 0)
        assert consumer.end_offsets(tps) == {tps[0]: 10, tps[1]: 0}
        for time_ms, offset in ((0, 0), (1000, 0), (1004, 4), (1009, 9)):
            answer = consumer.offsets_for_times(dict.fromkeys(tps, time_ms))
            assert answer == {tps[0]: eventlog.OffsetAndTimestamp(offset, 1000 + offset), tps[1]: None}
        assert consumer.offsets_for_times({tps[0]: 1010}) == {tps[0]: None}


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_reading_around_the_place_that_a_search_by_time_found(log: eventlog.EventLog, compression: str) -> None:
    """After offsets_for_times, a seek to anywhere reads from exactly there to the end, over segments too."""
    fill(log, "t", count=40, segment_bytes=1024, index_interval_bytes=200, compression_type=compression)
    tp = TopicPartition("t", 0)
    with log.consumer("t") as consumer:
        for searched in range(40):
            for wanted in range(40):
                found = consumer.offsets_for_times({tp: 1000 + searched})[tp]
                assert found == (searched, 1000 + searched)
                consumer.seek(tp, wanted)
                assert consumer.poll(max_records=1)[0].value == b"0:%d" % wanted
                assert read_all(consumer) == expected(0, wanted + 1, 40)


def test_a_partition_that_is_not_assigned(log: eventlog.EventLog) -> None:
    """seek, position, pause and resume are for assigned partitions, and say so."""
    fill(log, "t", 2)
    other = TopicPartition("t", 1)
    with log.consumer() as consumer:
        consumer.assign([TopicPartition("t", 0)])
        for call in (
            lambda: consumer.position(other),
            lambda: consumer.seek(other, 0),
            lambda: consumer.pause(other),
            lambda: consumer.resume(other),
            lambda: consumer.seek_to_end(other),
        ):
            for error in (eventlog.IllegalStateError, eventlog.UnknownPartitionError):  # Kafka's, and ours of before
                with pytest.raises(error, match="not assigned"):
                    call()


# --- pausing, fairness, sizes ---


def test_pause_and_resume(log: eventlog.EventLog) -> None:
    """A paused partition returns nothing, keeps its place, even in the middle of a batch, and then goes on."""
    fill(log, "t", 2)
    tp = TopicPartition("t", 0)
    with log.consumer(**EARLIEST) as consumer:
        consumer.assign([tp])
        assert [r.value for r in consumer.poll(max_records=2)] == expected(0, 0, 2)
        consumer.assign([tp, TopicPartition("t", 1)])
        consumer.pause(tp)
        assert consumer.paused() == [tp]
        assert read_all(consumer) == expected(1)
        assert consumer.poll_batches() == []
        assert consumer.position(tp) == 2
        consumer.resume()
        assert consumer.paused() == []
        assert read_all(consumer) == expected(0, 2)


def test_partitions_have_their_turn(log: eventlog.EventLog) -> None:
    """However much one partition holds, each of the others is served within as many polls as there are partitions."""
    topic = log.create_topic("t", partitions=4)
    for partition in topic.partitions:
        for _ in range(1000 if partition.number == 0 else 5):
            partition.append([b"v"] * 10)
    with log.consumer("t", max_poll_records=10, **EARLIEST) as consumer:
        for _ in range(5):
            assert {r.partition for _ in range(4) for r in consumer.poll()} == {0, 1, 2, 3}
    with log.consumer("t", fetch_max_bytes=1, **EARLIEST) as consumer:
        for _ in range(5):
            assert {b.partition for _ in range(4) for b in consumer.poll_batches()} == {0, 1, 2, 3}


def test_max_poll_records(log: eventlog.EventLog) -> None:
    """A poll returns at most max_poll_records, or the max_records of the call; nothing is skipped in between."""
    log.create_topic("t").partitions[0].append([b"%d" % n for n in range(1000)])
    with log.consumer("t", max_poll_records=7, **EARLIEST) as consumer:
        assert [r.offset for r in consumer.poll()] == list(range(7))
        assert [r.offset for r in consumer.poll(max_records=1)] == [7]
        assert [r.offset for r in consumer.poll(max_records=20)] == list(range(8, 28))
        assert [r.offset for r in consumer.poll()] == list(range(28, 35))
        assert consumer.position(TopicPartition("t", 0)) == 35
        for bad in (-1, 0, "5", 1.5, True):
            with pytest.raises(eventlog.InvalidConfigError, match="max_records"):
                consumer.poll(max_records=bad)
        assert [r.offset for r in consumer.poll(max_records=1)] == [35]


def test_poll_and_poll_batches_mix(log: eventlog.EventLog) -> None:
    """poll_batches goes on where poll stopped, in the middle of a batch too, and the other way round."""
    log.create_topic("t").partitions[0].append([b"%d" % n for n in range(100)])
    with log.consumer("t", **EARLIEST) as consumer:
        assert len(consumer.poll(max_records=30)) == 30
        (batch,) = consumer.poll_batches()
        assert batch.values() == [b"%d" % n for n in range(30, 100)]
        consumer.seek(TopicPartition("t", 0), 98)
        assert [r.value for r in consumer.poll()] == [b"98", b"99"]


def test_iteration_goes_record_by_record(log: eventlog.EventLog) -> None:
    """Iterating returns each record; who leaves the loop goes on behind the last record seen, by any means."""
    log.create_topic("t").partitions[0].append([b"%d" % n for n in range(10)])
    tp = TopicPartition("t", 0)
    with log.consumer("t", **EARLIEST) as consumer:
        for record in consumer:
            assert consumer.position(tp) == record.offset + 1
            if record.offset == 3:
                break
        assert next(iter(consumer)).offset == 4
        assert [r.offset for r in consumer.poll()] == [5, 6, 7, 8, 9]


def test_iteration_waits_for_more(log: eventlog.EventLog) -> None:
    """The loop waits for records that come later, and ends when its consumer is closed in it."""
    partition = log.create_topic("t").partitions[0]
    with log.consumer("t", **EARLIEST) as consumer:
        writer = threading.Thread(target=lambda: [partition.append([b"%d" % n]) for n in range(50)])
        writer.start()
        found = []
        for record in consumer:
            found.append(record.offset)
            if len(found) == 50:
                consumer.close()
        writer.join()
    assert found == list(range(50))


# --- deserializers ---


def test_deserializers(log: eventlog.EventLog) -> None:
    """Deserializers apply to keys and values of poll, never to None; poll_batches gives the bytes."""
    log.create_topic("t").partitions[0].append([b'{"a": 1}', None], [b"k", None])
    with log.consumer("t", key_deserializer="str", value_deserializer="json", **EARLIEST) as consumer:
        assert [(r.key, r.value) for r in consumer.poll()] == [("k", {"a": 1}), (None, None)]
        consumer.seek_to_beginning()
        (batch,) = consumer.poll_batches()
        assert (batch.keys(), batch.values()) == ([b"k", None], [b'{"a": 1}', None])


@pytest.mark.parametrize("side", ["key", "value"])
def test_a_record_that_cannot_be_deserialized(log: eventlog.EventLog, side: str) -> None:
    """The records before it come first; then each poll raises SerializationError with its place, until one seeks."""
    column = [b"1", b"2", b"not JSON", b"4"]
    columns = (column, None) if side == "value" else ([b"v"] * 4, column)
    log.create_topic("t").partitions[0].append(*columns)
    tp = TopicPartition("t", 0)
    with log.consumer("t", **{f"{side}_deserializer": "json"}, **EARLIEST) as consumer:
        assert [getattr(r, side) for r in consumer.poll()] == [1, 2]
        for _ in range(2):
            with pytest.raises(eventlog.SerializationError, match="seek") as caught:
                consumer.poll()
            assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("t", 0, 2)
            assert consumer.position(tp) == 2
        consumer.seek(tp, caught.value.offset + 1)
        assert [getattr(r, side) for r in consumer.poll()] == [4]


def test_an_error_in_one_partition_costs_the_others_nothing(log: eventlog.EventLog) -> None:
    """When one partition fails, the records that the same poll took from others are returned, not lost."""
    topic = log.create_topic("t", partitions=3)
    for partition, value in zip(topic.partitions, (b"0", b"not JSON", b"2"), strict=True):
        partition.append([value])
    found, errors = [], 0
    with log.consumer("t", value_deserializer="json", **EARLIEST) as consumer:
        for _ in range(8):
            try:
                found += [r.value for r in consumer.poll()]
            except eventlog.SerializationError:
                errors += 1
    assert sorted(found) == [0, 2]
    assert errors >= 2


# --- waiting ---


def test_poll_waits_for_a_record(log: eventlog.EventLog, run_python: RunPython) -> None:
    """poll(timeout) returns what another process appends while it waits; without anything, an empty list."""
    log.create_topic("t", partitions=3)
    with log.consumer("t", **EARLIEST) as consumer:
        assert consumer.poll(timeout=0.01) == []
        assert consumer.poll_batches(timeout=0.01) == []
        for poll in (consumer.poll, consumer.poll_batches):
            writer = threading.Thread(
                target=run_python,
                args=("import eventlog; eventlog.open(ARGS[0]).topic('t').partitions[2].append([b'v'])", log.path),
            )
            writer.start()
            assert len(poll(timeout=None)) == 1
            writer.join()


def test_many_partitions_wait_too(log: eventlog.EventLog) -> None:
    """More partitions than one system call can wait for: a poll still wakes for any of them."""
    topic = log.create_topic("t", partitions=200)
    with log.consumer("t", **EARLIEST) as consumer:
        for number in (0, 130, 199):
            writer = threading.Thread(target=topic.partitions[number].append, args=([b"v"],))
            assert consumer.poll() == []
            writer.start()
            assert [r.partition for r in consumer.poll(timeout=60)] == [number]
            writer.join()


def test_wakeup_from_another_thread(log: eventlog.EventLog) -> None:
    """wakeup() makes the waiting poll raise WakeupError, or the next one; once each, and nothing is lost."""
    partition = fill(log, "t").partitions[0]
    with log.consumer("t") as consumer:
        consumer.poll()
        for _ in range(20):
            waker = threading.Thread(target=consumer.wakeup)
            waker.start()
            with pytest.raises(eventlog.WakeupError):
                consumer.poll(timeout=60)
            waker.join()
        partition.append([b"v"])
        consumer.wakeup()
        with pytest.raises(eventlog.WakeupError):
            consumer.poll_batches()
        assert read_all(consumer) == [b"v"]


def test_a_second_thread_gets_an_error(log: eventlog.EventLog) -> None:
    """While one thread is inside a call, any other thread's call raises ConcurrentAccessError at once."""
    fill(log, "t")
    inside, leave = threading.Event(), threading.Event()

    def slow(_: bytes) -> None:
        inside.set()
        leave.wait(60)

    consumer = log.consumer("t", value_deserializer=slow, **EARLIEST)
    first = threading.Thread(target=consumer.poll)
    first.start()
    inside.wait(60)
    tp = TopicPartition("t", 0)
    for call in (
        consumer.poll, consumer.poll_batches, consumer.assignment, consumer.paused, consumer.unsubscribe,
        consumer.seek_to_end, consumer.pause, lambda: consumer.position(tp), lambda: consumer.seek(tp, 0),
        lambda: consumer.end_offsets([tp]),
    ):  # fmt: skip
        with pytest.raises(eventlog.ConcurrentAccessError, match="one consumer a thread"):
            call()
    leave.set()
    first.join()
    assert consumer.position(tp) == 10  # one after the other is fine


def test_closing_the_log_ends_a_poll_that_waits(log_path: Any) -> None:
    """When the log is closed under a waiting poll, that poll ends with ClosedError."""
    log = eventlog.open(log_path)
    fill(log, "t")
    consumer = log.consumer("t")
    consumer.poll()
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(consumer.poll(timeout=None))
        except eventlog.EventLogError as error:
            outcome.append(type(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    log.close()
    waiter.join(60)
    assert outcome == [eventlog.ClosedError]


def test_a_closed_consumer(log: eventlog.EventLog) -> None:
    """A closed consumer may be closed again; every other call raises ClosedError and says how to go on."""
    fill(log, "t")
    tp = TopicPartition("t", 0)
    consumer = log.consumer("t")
    consumer.close()
    consumer.close()
    for call in (
        consumer.poll, consumer.poll_batches, consumer.assignment, lambda: consumer.subscribe(["t"]),
        lambda: consumer.assign([tp]), lambda: consumer.seek(tp, 0), lambda: consumer.position(tp),
        consumer.seek_to_beginning, lambda: consumer.end_offsets([tp]),
    ):  # fmt: skip
        with pytest.raises(eventlog.ClosedError, match=r"log\.consumer"):
            call()
    assert list(consumer) == []


# --- deletion, and memory that stays ---


@pytest.mark.parametrize("deleter", ["here", "elsewhere"])
@pytest.mark.parametrize("way", ["poll", "poll_batches"])
def test_deleting_a_topic_that_is_read(log: eventlog.EventLog, run_python: RunPython, deleter: str, way: str) -> None:
    """Whoever reads or waits on a topic while it is deleted gets UnknownTopicError; nothing crashes."""
    fill(log, "t", 2)
    reader, waiter = log.consumer("t", **EARLIEST), log.consumer("t")
    assert reader.poll(max_records=3)
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(waiter.poll(timeout=60))
        except eventlog.EventLogError as error:
            outcome.append(type(error))

    waiter.poll()
    thread = threading.Thread(target=wait)
    thread.start()
    if deleter == "here":
        log.delete_topic("t")
    else:
        run_python("import eventlog; eventlog.open(ARGS[0]).delete_topic('t')", log.path)
    thread.join()
    assert outcome == [eventlog.UnknownTopicError]
    for _ in range(2):
        with pytest.raises(eventlog.UnknownTopicError) as caught:
            getattr(reader, way)()
        assert caught.value.topic == "t"


def test_batches_outlive_everything(log_path: Any, run_python: RunPython) -> None:
    """Batches and arrays stay valid and unchanged after their topic is deleted and the log is closed."""
    log = eventlog.open(log_path)
    sent = [os.urandom(5000) for _ in range(200)]
    log.create_topic("t", segment_bytes=100_000)
    with log.producer() as producer:
        for value in sent:
            producer.send("t", value)
    consumer = log.consumer("t", **EARLIEST)
    batches = consumer.poll_batches()
    arrays = [(batch.value_data, batch.value_offsets, batch.timestamps_ms) for batch in batches]
    consumer.close()
    run_python("import eventlog; eventlog.open(ARGS[0]).delete_topic('t')", log_path)
    log.close()
    del log, consumer
    assert [value for batch in batches for value in batch.values()] == sent
    assert b"".join(bytes(data[offsets[0] : offsets[-1]]) for data, offsets, _ in arrays) == b"".join(sent)
    assert not any(array.flags.writeable for triple in arrays for array in triple)


@pytest.mark.parametrize("bad", ["t", b"t", 5, None, [5], ["t"], [("t",)], [("t", 0, 1)]], ids=repr)
def test_partitions_of_the_wrong_type(log: eventlog.EventLog, bad: Any) -> None:
    """What is no list of (topic, number) pairs gets an error of ours that shows what to give."""
    fill(log, "t")
    with log.consumer(**EARLIEST) as consumer:
        consumer.assign([TopicPartition("t", 0)])
        for call in (consumer.assign, consumer.beginning_offsets, consumer.end_offsets):
            with pytest.raises(eventlog.EventLogError, match="TopicPartition"):
                call(bad)
        assert read_all(consumer) == expected(0)


def test_partitions_that_do_not_exist(log: eventlog.EventLog) -> None:
    """Unknown topics and partition numbers, negative ones too, are errors that leave the assignment alone."""
    fill(log, "t")
    with log.consumer(**EARLIEST) as consumer:
        consumer.assign([TopicPartition("t", 0)])
        for bad in (1, -1, "0", None):
            with pytest.raises(eventlog.UnknownPartitionError, match=r"has no partition|is no partition"):
                consumer.assign([TopicPartition("t", bad)])
        with pytest.raises(eventlog.UnknownTopicError):
            consumer.assign([TopicPartition("u", 0)])
        assert read_all(consumer) == expected(0)
        consumer.unsubscribe()
        for bad in ("t", 5, [5], {"t": 1}, ["a b"], [""], ["t", None], [".."]):
            with pytest.raises(eventlog.EventLogError):
                consumer.subscribe(bad)
        for bad in ("(", 5, "", b"t"):
            with pytest.raises(eventlog.EventLogError):
                consumer.subscribe(pattern=bad)


def test_what_a_consumer_shows(log: eventlog.EventLog) -> None:
    """The repr names few partitions one by one, and counts many."""
    fill(log, "t", partitions=2)
    fill(log, "u", partitions=3)
    consumer = log.consumer()
    assert repr(consumer) == "<Consumer of nothing>"
    consumer.subscribe(["t"])
    assert repr(consumer) == "<Consumer of t-0, t-1>"
    consumer.subscribe(["t", "u"])
    consumer.close()
    assert repr(consumer) == "<Consumer of 5 partitions of t, u (closed)>"


def test_a_batch_yields_its_records(log: eventlog.EventLog) -> None:
    """Iterating over a batch gives its records, one by one, also over a part of it."""
    (batch,) = fill(log, "t", count=5).partitions[0].read(2)
    assert list(batch) == batch.records() and [record.offset for record in batch] == [2, 3, 4]
