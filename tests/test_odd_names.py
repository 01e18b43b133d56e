"""Names and texts of a class that says something else than it holds, and things that cannot even be shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import eventlog
from eventlog import GroupMetadata, OffsetAndMetadata, TopicPartition
from tests.producer.odd_input import OwnEncode


class Wrong(str):
    """Encodes itself as what is no text."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"\xff\xfe"


class Large(str):
    """Encodes itself as more than any record takes."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return bytes(100_000)


class Unequal(str):
    """Is never equal to anything, itself included."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 7


class Elsewhere(str):
    """Prints itself as a path."""

    __slots__ = ()

    def __str__(self) -> str:
        return "../elsewhere"

    def __format__(self, spec: str) -> str:
        return "../elsewhere"

    def strip(self, *_: object) -> str:  # type: ignore[override]
        return ""


KINDS = (Wrong, Large, OwnEncode, Unequal, Elsewhere)


@pytest.fixture(params=KINDS, ids=lambda kind: str(kind.__name__))
def odd(request: pytest.FixtureRequest) -> Callable[[str], str]:
    kind: Callable[[str], str] = request.param
    return kind


def test_topics_and_records(log: eventlog.EventLog, odd: Callable[[str], str]) -> None:
    """A topic is found by the text that a name holds, in every call that takes one."""
    log.create_topic(odd("t"), message_timestamp_type=odd("CreateTime"))
    assert log.topics() == ["t"]
    log.topic(odd("t")).partitions[0].append([b"a"])
    with log.producer(linger_ms=0) as producer:
        for name in ("t", odd("t")):
            producer.send(name, b"b").result(timeout=60)
            producer.send(name, b"b", key=b"k").result(timeout=60)
            producer.send_many(name, [b"b"]).result(timeout=60)
    tp = TopicPartition(odd("t"), 0)
    with log.consumer(auto_offset_reset="earliest") as consumer:
        consumer.assign([tp])
        assert len(consumer.poll()) == 7
        consumer.seek(tp, 1)
        assert consumer.position(tp) == 1
        assert consumer.end_offsets([tp]) == {TopicPartition("t", 0): 7}
        consumer.unsubscribe()
        consumer.subscribe([odd("t")])
        assert consumer.subscription() == ["t"]
    log.delete_topic(odd("t"))
    assert log.topics() == []


def test_a_group(log: eventlog.EventLog, odd: Callable[[str], str]) -> None:
    """So is a group, its clients and what they commit; nothing is written that cannot be read again."""
    log.create_topic("t").partitions[0].append([b"a"] * 5)
    options = {"group": odd("g"), "client_id": odd("c"), "group_instance_id": odd("i")}
    with log.consumer("t", auto_offset_reset=odd("earliest"), **options) as consumer:
        assert len(consumer.poll(timeout=60)) == 5
        (member,) = log.group(odd("g")).members
        assert (member.client_id, member.group_instance_id) == ("c", "i")
        tp = TopicPartition(odd("t"), 0)
        consumer.commit({tp: OffsetAndMetadata(3, odd("note"))})
        assert consumer.committed(tp) == OffsetAndMetadata(3, "note")
    assert log.groups() == ["g"]
    log.delete_group(odd("g"))
    assert log.groups() == []


def test_a_transaction(log: eventlog.EventLog, odd: Callable[[str], str]) -> None:
    """An odd name leaves no outcome in the journal that nobody can read: all other transactions go on."""
    log.create_topic("t")
    group = GroupMetadata(odd("g"), -1, odd(""))
    for transactional_id in (odd("tx"), "after"):
        with log.producer(transactional_id=transactional_id) as producer, producer.transaction():
            producer.send(odd("t"), b"a")
            offsets = {TopicPartition(odd("t"), 0): OffsetAndMetadata(1, odd("note"))}
            producer.send_offsets_to_transaction(offsets, group)
    assert [outcome.transactional_id for outcome in log.recent_transactions()] == ["tx", "after"]
    assert log.group("g").partitions[0].current_offset == 1
    assert not log.verify_transactions().problems


def test_a_name_that_is_never_equal_is_no_way_out(log: eventlog.EventLog) -> None:
    """Neither the parent directory nor an internal topic is created or deleted by such a name."""
    for name in ("..", ".", "__consumer_offsets"):
        for call in (log.create_topic, log.delete_topic, lambda name: log.producer().send(name, b"x")):
            with pytest.raises(eventlog.InvalidTopicError):
                call(Unequal(name))


class Unshowable:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not now")


CALLS: dict[str, Callable[[eventlog.EventLog, Any], object]] = {
    "create_topic": lambda log, thing: log.create_topic(thing),
    "partitions": lambda log, thing: log.create_topic("new", partitions=thing),
    "a setting": lambda log, thing: log.create_topic("new", segment_bytes=thing),
    "add_partitions": lambda log, thing: log.topic("t").add_partitions(thing),
    "a partition": lambda log, thing: log.topic("t").partitions[thing],
    "topic": lambda log, thing: log.topic(thing),
    "read": lambda log, thing: log.topic("t").partitions[0].read(thing),
    "max_bytes": lambda log, thing: log.topic("t").partitions[0].read(0, thing),
    "times": lambda log, thing: log.topic("t").partitions[0].offset_for_time(thing),
    "consumer": lambda log, thing: log.consumer(thing),
    "async_consumer": lambda log, thing: log.async_consumer(thing),
    "group": lambda log, thing: log.group(thing),
    "consumer of a group": lambda log, thing: log.consumer(group=thing),
    "delete_group": lambda log, thing: log.delete_group(thing),
    "recent": lambda log, thing: log.recent_transactions(thing),
    "assign": lambda log, thing: log.consumer().assign(thing),
    "assign one": lambda log, thing: log.consumer().assign([thing]),
    "assign a number": lambda log, thing: log.consumer().assign([TopicPartition("t", thing)]),
    "pattern": lambda log, thing: log.consumer().subscribe(pattern=thing),
    "subscribe": lambda log, thing: log.consumer().subscribe(thing),
    "listener": lambda log, thing: log.consumer(group="g").subscribe(["t"], listener=thing),
    "max_records": lambda log, thing: _assigned(log).poll(0.0, thing),
    "timeout": lambda log, thing: _assigned(log).poll(thing),
    "seek": lambda log, thing: _assigned(log).seek(TopicPartition("t", 0), thing),
    "commit": lambda log, thing: log.consumer(group="g").commit({TopicPartition("t", 0): thing}),
    "an epoch": lambda log, thing: log.consumer(group="g").commit(
        {TopicPartition("t", 0): OffsetAndMetadata(1, "", thing)}
    ),
    "callback": lambda log, thing: log.consumer(group="g").commit_async({}, thing),
    "acks": lambda log, thing: log.producer(acks=thing),
    "serializer": lambda log, thing: log.producer(value_serializer=thing),
    "assignor": lambda log, thing: log.consumer(group="g", partition_assignment_strategy=thing),
    "send": lambda log, thing: log.producer().send("t", b"x", partition=thing),
    "open": lambda log, thing: eventlog.open(log.path, lock_timeout_ms=thing),
    "limits": lambda log, thing: setattr(eventlog.limits, "max_empty_records", thing),
}


NUMBER_IS_FINE = ("timeout", "max_bytes", "max_records", "recent", "times")
LONG_IS_FINE = ("pattern", "consumer of a group", "async_consumer")  # which subscribes later


def _assigned(log: eventlog.EventLog) -> eventlog.Consumer:
    consumer = log.consumer(auto_offset_reset="earliest")
    consumer.assign([TopicPartition("t", 0)])
    return consumer


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[eventlog.EventLog]:
    """A log with a record, for all calls that write nothing."""
    with eventlog.open(tmp_path_factory.mktemp("shared") / "log") as opened:
        opened.create_topic("t").partitions[0].append([b"a"])
        yield opened


THINGS: dict[str, Any] = {
    "unshowable": Unshowable(), "endless": 10**5000, "endless below zero": -(10**5000), "long": "x" * 10_000
}  # fmt: skip


@pytest.mark.parametrize("thing", THINGS.values(), ids=THINGS)
@pytest.mark.parametrize("name", CALLS)
def test_what_cannot_be_shown_is_refused_as_anything_else(shared: eventlog.EventLog, name: str, thing: Any) -> None:
    """The error is ours and its text short, whatever the argument's own repr does."""
    try:
        CALLS[name](shared, thing)
    except eventlog.EventLogError as error:
        assert str(error) and len(error.reason) < 300
    else:
        assert name in (LONG_IS_FINE if isinstance(thing, str) else NUMBER_IS_FINE), "accepted"


GROUPS: list[Any] = [
    GroupMetadata("g", 1, []), GroupMetadata("g", "1", "m"), GroupMetadata("g", None), GroupMetadata("g", 1.0, "m"),
    GroupMetadata("g", 0, "m", 5), GroupMetadata("g", 0, None), GroupMetadata("g", True, "m"), GroupMetadata(5),
    ("g", -1, "", None), GroupMetadata("g", 1),
]  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_what_is_no_groups_metadata(log: eventlog.EventLog, group: Any) -> None:
    """It is refused as it is given, and the transaction goes on without it."""
    log.create_topic("t")
    with log.producer(transactional_id="tx") as producer, producer.transaction():
        producer.send("t", b"a")
        with pytest.raises((eventlog.InvalidRecordError, eventlog.InvalidGroupError)):
            producer.send_offsets_to_transaction({TopicPartition("t", 0): 1}, group)
    assert log.topic("t").partitions[0].log_end_offset == 1
