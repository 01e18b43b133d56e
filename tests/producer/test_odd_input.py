"""Whatever is given to a call that writes is read back, or refused at once; and the producer goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eventlog
from tests.producer.odd_input import (
    REFUSED,
    BadList,
    BadRepr,
    Field,
    Odd,
    OddRecord,
    OwnEncode,
    odd_records,
)

FILE_NAME = b"caf\xe9.txt".decode("utf-8", "surrogateescape")  # what os.listdir gives for a name in Latin-1


def kind(thing: object) -> str:
    """Name a parameter by its type: not all of these can be shown."""
    return type(thing).__name__


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[eventlog.EventLog]:
    """A log for all examples of all tests."""
    with eventlog.open(tmp_path_factory.mktemp("odd") / "log") as opened:
        opened.create_topic("t", message_timestamp_after_max_ms=2**63 - 1)
        yield opened


def arguments(records: list[OddRecord]) -> dict[str, Any]:
    """The columns of one call; where some records have a timestamp, the others have 1."""
    columns: dict[str, Any] = {
        "values": [record.value.given for record in records],
        "keys": [record.key.given for record in records],
        "headers": [record.headers.given for record in records],
    }
    if any(record.time.given is not None for record in records):
        columns["timestamps_ms"] = [1 if record.time.given is None else record.time.given for record in records]
    return columns


def accepted_or_refused(records: list[OddRecord], call: Callable[[], Any]) -> list[OddRecord]:
    """Make the call; it must raise an error of ours exactly when a record can not be stored."""
    is_refused = any(record.stored is REFUSED for record in records)
    try:
        call()
    except eventlog.EventLogError as error:
        assert is_refused, f"refused: {error}"
        assert isinstance(error, eventlog.InvalidRecordError | eventlog.SerializationError) and error.hint
        return []
    finally:
        for record in records:
            record.spoil()
    assert not is_refused, "accepted"
    return records


def options(record: OddRecord) -> dict[str, Any]:
    """What a send is given besides value and key, as far as it is given."""
    given = {"headers": record.headers.given, "timestamp_ms": record.time.given}
    return {name: value for name, value in given.items() if value is not None}


def one_by_one(records: list[OddRecord], send: Callable[..., Any]) -> list[OddRecord]:
    """Send each record by itself."""
    accepted = []
    for record in records:
        accepted += accepted_or_refused(
            [record],
            lambda record=record: send(record.value.given, record.key.given, **options(record)),
        )
    return accepted


WARM = [
    OddRecord(Odd(b"warm", b"warm"), Odd(key, key), Odd(None, ()), Odd(None, None)) for key in (b"k", None, b"k", None)
]


def by_send(log: eventlog.EventLog, records: list[OddRecord]) -> list[OddRecord]:
    with log.producer() as producer:
        for record in WARM:  # from here on the topic is known, and records take the short ways
            producer.send("t", record.value.given, record.key.given)
        accepted = one_by_one(records, lambda *args, **more: producer.send("t", *args, **more))
        producer.send("t", b"good")
    return [*WARM, *accepted]


def by_send_in_transaction(log: eventlog.EventLog, records: list[OddRecord]) -> list[OddRecord]:
    with log.producer(transactional_id="t") as producer, producer.transaction():
        accepted = one_by_one(records, lambda *args, **more: producer.send("t", *args, **more))
        producer.send("t", b"good")
    return accepted


def by_send_many(log: eventlog.EventLog, records: list[OddRecord]) -> list[OddRecord]:
    with log.producer() as producer:
        accepted = accepted_or_refused(records, lambda: producer.send_many("t", **arguments(records)).result())
        producer.send("t", b"good")
    return accepted


def by_send_many_in_transaction(log: eventlog.EventLog, records: list[OddRecord]) -> list[OddRecord]:
    with log.producer(transactional_id="t") as producer, producer.transaction():
        accepted = accepted_or_refused(records, lambda: producer.send_many("t", **arguments(records)))
        producer.send("t", b"good")
    return accepted


def by_append(log: eventlog.EventLog, records: list[OddRecord]) -> list[OddRecord]:
    partition = log.topic("t").partitions[0]
    accepted = accepted_or_refused(records, lambda: partition.append(**arguments(records)))
    partition.append([b"good"])
    return accepted


def asynchronously(log: eventlog.EventLog, write: Callable[[eventlog.AsyncProducer], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with log.async_producer() as producer:
            accepted = await write(producer)
            await producer.send("t", b"good")
            return accepted

    return asyncio.run(asyncio.wait_for(main(), 60))


def by_async_send(log: eventlog.EventLog, records: list[OddRecord]) -> list[OddRecord]:
    async def write(producer: eventlog.AsyncProducer) -> list[OddRecord]:
        accepted = []
        for record in records:
            with contextlib.suppress(eventlog.InvalidRecordError, eventlog.SerializationError):
                await producer.send(
                    "t", record.value.given, record.key.given, headers=record.headers.given,
                    timestamp_ms=record.time.given,
                )  # fmt: skip
                accepted.append(record)
            assert (record not in accepted) is (record.stored is REFUSED)
            record.spoil()
        return accepted

    return asynchronously(log, write)  # type: ignore[no-any-return]


def by_async_send_nowait(log: eventlog.EventLog, records: list[OddRecord]) -> list[OddRecord]:
    async def write(producer: eventlog.AsyncProducer) -> list[OddRecord]:
        return one_by_one(records, lambda *args, **more: producer.send_nowait("t", *args, **more))

    return asynchronously(log, write)  # type: ignore[no-any-return]


def by_async_send_many(log: eventlog.EventLog, records: list[OddRecord]) -> list[OddRecord]:
    async def write(producer: eventlog.AsyncProducer) -> list[OddRecord]:
        call = asyncio.ensure_future(producer.send_many("t", **arguments(records)))
        await asyncio.sleep(0)  # it has begun: from here on the lists are the caller's again
        for record in records:
            record.spoil()
        try:
            await call
        except (eventlog.InvalidRecordError, eventlog.SerializationError):
            assert any(record.stored is REFUSED for record in records)
            return []
        assert all(record.stored is not REFUSED for record in records)
        return records

    return asynchronously(log, write)  # type: ignore[no-any-return]


WRITERS = [
    by_send, by_send_in_transaction, by_send_many, by_send_many_in_transaction, by_append,
    by_async_send, by_async_send_nowait, by_async_send_many,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(records=st.lists(odd_records, min_size=1, max_size=3))
def test_what_is_accepted_is_read_back(
    log: eventlog.EventLog, write: Callable[[eventlog.EventLog, list[OddRecord]], list[OddRecord]],
    records: list[OddRecord],
) -> None:  # fmt: skip
    """Odd arguments of any kind are stored as what they are, or refused by the call itself with an error of ours;
    what their owner does to them afterwards changes nothing, and a good record right behind them is written.
    """
    partition = log.topic("t").partitions[0]
    start = partition.log_end_offset
    accepted = write(log, records)
    *found, good = [record for batch in partition.read(start, 1 << 30) for record in batch.records()]
    assert good.value == b"good"
    assert [(record.value, record.key, record.headers) for record in found] == [
        record.stored[:3] for record in accepted
    ]
    for read, record in zip(found, accepted, strict=True):
        assert record.stored[3] in (read.timestamp_ms, None)


# --- the same by name ---


@pytest.mark.parametrize("name", [FILE_NAME, "\ud800", OwnEncode("n")], ids=ascii)
def test_names_that_cannot_be_stored(log: eventlog.EventLog, name: str) -> None:
    """A header's name that is not UTF-8, or says its bytes itself, is refused by every call, at once."""
    partition = log.topic("t").partitions[0]
    end = partition.log_end_offset
    headers = [(name, b"1")]
    with log.producer() as producer:
        for call in (
            lambda: producer.send("t", b"v", headers=headers),
            lambda: producer.send_many("t", [b"v"], headers=[headers]),
            lambda: partition.append([b"v"], headers=[headers]),
        ):
            with pytest.raises(eventlog.InvalidRecordError, match="header"):
                call()
    assert partition.log_end_offset == end


def test_names_of_an_enumeration(log: eventlog.EventLog) -> None:
    """The names of a StrEnum are names."""
    partition = log.topic("t").partitions[0]
    result = partition.append([b"v"], headers=[[(Field.TRACE, b"1")]])
    (record,) = partition.read(result.base_offset)[0].records()
    assert record.headers == (("trace", b"1"),) and type(record.headers[0][0]) is str


@pytest.mark.parametrize("seconds", [-1.0, -1e-3, float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("kind", ["CreateTime", "LogAppendTime"])
def test_a_clock_that_says_no_possible_time(tmp_path: Path, seconds: float, kind: str) -> None:
    """While the clock is before 1970, or says no time at all, every call that writes raises; then all go on."""
    clock = eventlog.ManualClock(start=1000.0)
    with eventlog.open(tmp_path / "log", clock=clock) as log:
        partition = log.create_topic("t", message_timestamp_type=kind).partitions[0]
        with log.producer(linger_ms=10**6) as producer:
            producer.send("t", b"a")  # from here on plain values take the short way
            clock._wall = seconds
            for call in (
                lambda: producer.send("t", b"x"),
                lambda: producer.send("t", b"x", b"k"),
                lambda: producer.send_many("t", [b"x"]),
                lambda: partition.append([b"x"]),
                lambda: partition.append([b"x", b"x"]),
            ):
                with pytest.raises(eventlog.InvalidRecordError, match="clock"):
                    call()
            clock._wall = 1000.0
            producer.send("t", b"b")
        assert [value for batch in partition.read(0) for value in batch.values()] == [b"a", b"b"]


@pytest.mark.parametrize(
    "columns",
    [
        {"keys": {b"k": 1}},
        {"keys": iter([b"k"])},
        {"keys": {b"k"}},
        {"keys": "k"},
        {"keys": BadList([b"k"])},
        {"headers": {0: None}},
        {"headers": iter([None])},
        {"headers": "h"},
        {"timestamps_ms": {0: 1}},
        {"timestamps_ms": iter([1])},
        {"timestamps_ms": "1"},
        {"timestamps_ms": [True]},
        {"timestamps_ms": np.array([True])},
        {"timestamps_ms": np.array([1.0])},
        {"timestamps_ms": np.array(["2024-01-01"], "datetime64[ms]")},
        {"timestamps_ms": np.array([[1]])},
        {"timestamps_ms": np.array([2**63], np.uint64)},
        {"timestamps_ms": BadList([1])},
        {"timestamps_ms": [BadRepr()]},
        {"values": BadList([b"v"])},
        {"values": {b"v": 1}},
        {"values": np.array([b"v"])},
    ],
    ids=lambda columns: str(next(iter(columns))),
)
def test_columns_that_are_no_lists(log: eventlog.EventLog, columns: dict[str, Any]) -> None:
    """A column that is a mapping, an iterator or a string, or that cannot be read, is refused by every call."""
    given_columns = {"values": [b"v"], **columns}
    with log.producer() as producer:
        for call in (
            lambda: producer.send_many("t", **given_columns),
            lambda: log.topic("t").partitions[0].append(**given_columns),
        ):
            with pytest.raises(eventlog.InvalidRecordError) as caught:
                call()
            assert caught.value.hint


@pytest.mark.parametrize(
    "timestamps", [np.array([5], np.uint16), range(5, 6), (5,), np.array([5], ">i8"), 5, np.int8(5)]
)
def test_timestamps_of_every_whole_kind(log: eventlog.EventLog, timestamps: Any) -> None:
    """Arrays of any integer type and byte order, ranges, tuples and single numbers are timestamps."""
    partition = log.topic("t").partitions[0]
    result = partition.append([b"v"], timestamps_ms=timestamps)
    assert result.timestamp_ms == 5
    with log.producer() as producer:
        assert producer.send_many("t", [b"v"], timestamps_ms=timestamps).results()[0].timestamp_ms == 5  # type: ignore[union-attr]


def test_a_list_of_timestamps_stays_the_callers(log: eventlog.EventLog) -> None:
    """What becomes of the lists after the call changes no metadata, not even in an open transaction."""
    stamps = np.array([1, 2, 3])
    values: list[bytes | None] = [b"a", b"b", b"c"]
    with log.producer(transactional_id="t") as producer:
        with producer.transaction():
            delivery = producer.send_many("t", values, timestamps_ms=stamps)
            stamps[:] = 0
            values.clear()
        assert [found.timestamp_ms for found in delivery.results()] == [1, 2, 3]  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [-1, 2**63, 10**5000], ids=["negative", "2**63", "10**5000"])
def test_messages_about_times(log: eventlog.EventLog, number: int) -> None:
    """A timestamp that is impossible is named by the error, wherever it was given, and its place in a list."""
    what = "is negative" if number < 0 else "is too large"
    partition = log.topic("t").partitions[0]
    with log.producer() as producer:
        for call in (
            lambda: producer.send("t", b"a", timestamp_ms=number),
            lambda: producer.send_many("t", [b"a", b"b"], timestamps_ms=number),
            lambda: partition.append([b"a"], timestamps_ms=number),
        ):
            with pytest.raises(eventlog.InvalidRecordError, match=rf"^timestamp .* {what};"):
                call()
        for call in (
            lambda: producer.send_many("t", [b"a", b"b"], timestamps_ms=[0, number]),
            lambda: partition.append([b"a", b"b"], timestamps_ms=[0, number]),
        ):
            with pytest.raises(eventlog.InvalidRecordError, match=rf"^timestamp .* of record 1 {what};"):
                call()


# --- topics, partitions, serializers, callbacks, timeouts ---


class TopicName(str):
    """A topic's name that says something else when it is asked."""

    __slots__ = ()

    def __str__(self) -> str:
        return "u"


@pytest.mark.parametrize("topic", [np.array(["t", "u"]), b"t", None, 5, BadRepr(), "\ud800", "", ("t",)], ids=kind)
def test_what_is_no_topic(log: eventlog.EventLog, topic: Any) -> None:
    """What is no topic's name is InvalidTopicError, and nothing else."""
    with log.producer() as producer:
        for call in (lambda: producer.send(topic, b"v"), lambda: producer.send_many(topic, [b"v"])):
            with pytest.raises(eventlog.InvalidTopicError):
                call()
    assert log.topics() == ["t"]


def test_a_kind_of_string_is_the_topic_that_it_holds(log: eventlog.EventLog) -> None:
    """A subclass of str names the topic that it equals."""
    with log.producer() as producer:
        delivery = producer.send(TopicName("t"), b"v")
        assert delivery.result().topic == "t" and type(delivery.result().topic) is str


@pytest.mark.parametrize(
    "made", [5, "text", [b"x"], np.zeros(3), object(), memoryview(b"abc")[:0], BadRepr()], ids=type
)
@pytest.mark.parametrize("side", ["key", "value"])
def test_serializers_that_return_nonsense(log: eventlog.EventLog, made: Any, side: str) -> None:
    """What a serializer returns is bytes, or a SerializationError of the call; its lists stay usable."""
    settings_: dict[str, Any] = {f"{side}_serializer": lambda _: made}
    with log.producer(**settings_) as producer:
        for call in (lambda: producer.send("t", b"v", b"k"), lambda: producer.send_many("t", [b"v"], [b"k"])):
            if isinstance(made, memoryview):
                call().result()
            else:
                with pytest.raises(eventlog.SerializationError):
                    call()


@pytest.mark.parametrize("made", [-1, 1, 1.0, True, None, "0", np.array([0, 0]), BadRepr()], ids=kind)
def test_partitioners_that_return_nonsense(log: eventlog.EventLog, made: Any) -> None:
    """A partition that does not exist is UnknownPartitionError of the call, whatever it is."""
    with log.producer(partitioner=lambda *_: made) as producer:
        for call in (lambda: producer.send("t", b"v"), lambda: producer.send_many("t", [b"v"])):
            with pytest.raises(eventlog.UnknownPartitionError):
                call()


@pytest.mark.parametrize("raised", [StopIteration, ValueError, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_partitioners_that_raise_answer_who_awaits(log: eventlog.EventLog, raised: type[BaseException]) -> None:
    """Whatever a partitioner raises, who awaits the send gets an error, and the next send is answered."""
    calls = []

    def partitioner(*_: object) -> int:
        calls.append(1)
        if len(calls) == 1:
            raise raised
        return 0

    async def main() -> None:
        async with log.async_producer(partitioner=partitioner) as producer:
            first = producer.send_nowait("t", b"v")
            await asyncio.wait([first])
            assert first.cancelled() or first.exception() is not None
            assert (await producer.send("t", b"v")).topic == "t"

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("timeout", ["1", b"1", [1], True, float("nan"), 1j, BadRepr()], ids=kind)
def test_what_is_no_timeout(log: eventlog.EventLog, timeout: Any) -> None:
    """A timeout that is no number of seconds is InvalidConfigError of every call that waits."""

    async def main() -> None:
        async with log.async_producer() as producer:
            for call in (producer.flush, producer.close):
                with pytest.raises(eventlog.InvalidConfigError, match="timeout"):
                    await call(timeout)
            assert (await producer.send("t", b"v")).topic == "t"

    with log.producer(linger_ms=10**6) as producer:
        delivery = producer.send("t", b"v")
        for call in (delivery.result, delivery.exception, producer.flush, producer.close):
            with pytest.raises(eventlog.InvalidConfigError, match="timeout"):
                call(timeout)
        assert delivery.result().topic == "t"
    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 10**400, 2**63, np.float32(5), 10], ids=kind)
def test_timeouts_as_long_as_anyone_likes(log: eventlog.EventLog, timeout: Any) -> None:
    """A timeout may be of any size and numeric type."""
    with log.producer() as producer:
        delivery = producer.send("t", b"v")
        producer.flush(timeout)
        assert delivery.result(timeout).topic == "t"
        producer.close(timeout)


@pytest.mark.parametrize("callback", [None, 5, "print"])
def test_what_is_no_callback(log: eventlog.EventLog, callback: Any) -> None:
    """What cannot be called is refused when it is given, before and after the outcome is known."""
    with log.producer(linger_ms=10**6) as producer:
        delivery = producer.send("t", b"v")
        for _ in range(2):
            with pytest.raises(eventlog.InvalidConfigError, match="callback"):
                delivery.add_callback(callback)
            delivery.result()


def test_acks_0_tells_the_records_own_time(log: eventlog.EventLog) -> None:
    """With acks=0 the metadata has no offset, as in Kafka, but the record's own timestamp."""
    with log.producer(acks=0) as producer:
        assert producer.send("t", b"v", timestamp_ms=777).result()[2:4] == (-1, 777)


def test_the_oddities_are_what_they_say() -> None:
    """The examples above are as odd as they claim."""
    assert isinstance(Odd(1, 1), Odd) and len(BadList([1, 2])) == 1
    with pytest.raises(RuntimeError):
        OwnEncode("x").encode()
