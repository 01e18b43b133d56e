"""Records with a key, headers or a timestamp of their own lie where each of them alone would, in the order sent."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eventlog
from eventlog.partitioners import FEW_KEYS
from tests.producer.placed import home, stored

names = (f"topic-{number}" for number in itertools.count())

keys = st.one_of(st.none(), st.sampled_from([b"", b"a", b"user-1", b"user-2"]), st.binary(max_size=70))
values = st.one_of(st.none(), st.binary(max_size=40))
headers = st.one_of(st.none(), st.lists(st.tuples(st.text(max_size=4), st.one_of(st.none(), st.binary(max_size=4)))))
texts = st.text(max_size=6) | st.text(st.characters(categories=["Cs", "Ll"]), max_size=6)
examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def contents(topic: eventlog.Topic) -> list[list[tuple[Any, ...]]]:
    """What each partition has, in the order of offsets."""
    return [
        [(record.key, record.value, record.timestamp_ms, tuple(record.headers or ())) for record in records]
        for records in stored(topic)
    ]


@examples
@given(st.lists(st.tuples(keys, values, headers), min_size=1, max_size=60), st.integers(1, 7))
def test_a_list_is_what_its_records_are_one_by_one(
    log: eventlog.EventLog, rows: list[tuple[Any, Any, Any]], partitions: int
) -> None:
    """``send_many`` with keys leaves the same records in the same partitions and order as a ``send`` of each."""
    many, single = (log.create_topic(next(names), partitions=partitions) for _ in range(2))
    row_keys, row_values, row_headers = (list(column) for column in zip(*rows, strict=True))
    with log.producer(partitioner="round_robin") as producer:
        sent = producer.send_many(many.name, row_values, row_keys, headers=row_headers, timestamps_ms=7)
        for key, value, pairs in rows:
            producer.send(single.name, value, key, headers=pairs, timestamp_ms=7)
    assert contents(many) == contents(single)
    for result, (key, _, _) in zip(sent.results(), rows, strict=True):
        if key is not None:
            assert isinstance(result, eventlog.RecordMetadata)
            assert result.partition == home(key, partitions)


def test_a_list_of_many_keys_is_split_in_order(log: eventlog.EventLog) -> None:
    """Records of one key keep their order, and each result tells where its record is."""
    topic = log.create_topic("t", partitions=12)
    row_keys = [b"customer-%d" % (number * 7919 % 300) for number in range(5000)]
    row_values = [b"%d" % number for number in range(5000)]
    with log.producer() as producer:
        results = producer.send_many("t", row_values, row_keys).results()
    found = contents(topic)
    for key, value, result in zip(row_keys, row_values, results, strict=True):
        assert isinstance(result, eventlog.RecordMetadata)
        assert found[result.partition][result.offset][:2] == (key, value)
        assert result.partition == home(key, 12)
    assert all(
        [int(row[1]) for row in rows] == sorted(int(row[1]) for row in rows) for rows in found
    )  # of one key, and of all


@pytest.mark.parametrize("count", [3, 3 * FEW_KEYS])
def test_buffers_are_keys_like_bytes(log: eventlog.EventLog, count: int) -> None:
    """A ``bytearray`` or ``memoryview``, of wider items as well, is the key that its bytes are."""
    topic = log.create_topic("t", partitions=5)
    plain = [b"key-%04d" % number for number in range(count)]
    kinds = [bytes, bytearray, lambda key: memoryview(key).cast("I")]
    with log.producer() as producer:
        producer.send_many("t", plain, [kinds[number % 3](key) for number, key in enumerate(plain)])
    for number, rows in enumerate(contents(topic)):
        assert [row[0] for row in rows] == [key for key in plain if home(key, 5) == number]


def test_a_list_larger_than_a_batch_becomes_several_of_similar_size(log: eventlog.EventLog) -> None:
    """No batch is over the topic's limit, and there are not many more than that needs."""
    topic = log.create_topic("t", max_message_bytes=20_000)
    with log.producer() as producer:
        producer.send_many("t", [bytes(100)] * 3000, [b"key"] * 3000)
    batches = topic.partitions[0].read(0, max_bytes=1 << 30)
    assert sum(map(len, batches)) == 3000
    assert max(batch.size for batch in batches) <= 20_000
    assert len(batches) <= 1.2 * sum(batch.size for batch in batches) / 20_000 + 1


@examples
@given(st.lists(st.tuples(keys, st.binary(max_size=40), headers), min_size=1, max_size=60))
def test_each_record_has_its_own_key_and_headers(log: eventlog.EventLog, rows: list[tuple[Any, Any, Any]]) -> None:
    """Plain, keyed and headed records sent one after the other, to a topic that is known, are stored as they are."""
    topic = log.create_topic(next(names))
    with log.producer(linger_ms=10**6) as producer:
        sent = [producer.send(topic.name, value, key, headers=pairs) for key, value, pairs in rows]
    assert [(key, value, pairs) for key, value, _, pairs in contents(topic)[0]] == [
        (key, value, tuple(pairs or ())) for key, value, pairs in rows
    ]
    assert [one.result().offset for one in sent] == list(range(len(rows)))


@examples
@given(st.lists(st.tuples(texts, st.one_of(st.none(), texts)), min_size=1, max_size=60))
def test_text_is_sent_as_its_bytes_are_or_refused_at_once(
    log: eventlog.EventLog, rows: list[tuple[str, str | None]]
) -> None:
    """With serializers, records go where their bytes would; one that UTF-8 cannot say is refused by its own send."""
    text, plain = (log.create_topic(next(names), partitions=3) for _ in range(2))
    with log.producer(key_serializer="str", value_serializer="str") as producer, log.producer() as other:
        producer.send(text.name, "first", "key")  # from here on the topic is known
        other.send(plain.name, b"first", b"key")
        for key, value in rows:
            try:
                encoded = key.encode(), None if value is None else value.encode()
            except UnicodeEncodeError:
                with pytest.raises(eventlog.SerializationError):
                    producer.send(text.name, value, key)
            else:
                producer.send(text.name, value, key)
                other.send(plain.name, encoded[1], encoded[0])
    assert [[record[:2] for record in part] for part in contents(text)] == [
        [record[:2] for record in part] for part in contents(plain)
    ]


def test_headers_are_copied_when_they_are_sent(log: eventlog.EventLog) -> None:
    """What the caller does to its list of headers, to a pair or to a value afterwards, changes nothing."""
    topic = log.create_topic("t")
    with log.producer(linger_ms=10**6) as producer:
        for key in (None, b"key", None, b"key"):
            value, pair = bytearray(b"value"), ["name", b"first"]
            pairs = [pair, ("other", value)]
            producer.send("t", b"", key, headers=pairs)  # type: ignore[arg-type]
            value[:] = b"changed"
            pair[0] = "changed"
            pairs.append(("more", b""))
    assert [row[3] for row in contents(topic)[0]] == [(("name", b"first"), ("other", b"value"))] * 4


@pytest.mark.parametrize("key", [None, b"key"])
@pytest.mark.parametrize("pairs", [None, [("name", b"value")]])
@pytest.mark.parametrize("limit", [1000, 5000])
def test_a_record_that_is_too_large_is_refused_where_the_topic_is_known_too(
    log: eventlog.EventLog, key: bytes | None, pairs: Any, limit: int
) -> None:
    """A record over ``max_message_bytes`` is an error of its send, be it the first to the topic or a later one."""
    topic = log.create_topic("t", max_message_bytes=limit)
    with log.producer(linger_ms=10**6) as producer:
        for size in (limit, 1, limit, limit - 250):
            if size < limit:
                producer.send("t", bytes(size), key, headers=pairs)
                continue
            with pytest.raises(eventlog.RecordTooLargeError):
                producer.send("t", bytes(size), key, headers=pairs)
            with pytest.raises(eventlog.RecordTooLargeError):
                producer.send("t", b"", key, headers=[("name", bytes(size))])
    assert [len(row[1]) for row in contents(topic)[0]] == [1, limit - 250]
