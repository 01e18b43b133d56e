"""What a consumer reads, and what it refuses: as the Java client's subscribe, assign and unsubscribe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition

T0 = TopicPartition("t", 0)
EARLIEST: dict[str, Any] = {"auto_offset_reset": "earliest"}
WAITED_FOR = "the topic nope is subscribed to: it does not exist, and is read once it does"
DELETED = "the topic nope is subscribed to: it was deleted"
Choose = Callable[[eventlog.Consumer], None]


@pytest.fixture(params=[None, "g"])
def group(request: pytest.FixtureRequest) -> str | None:
    found: str | None = request.param
    return found


def fill(log: eventlog.EventLog, name: str = "t", partitions: int = 1) -> None:
    for partition in log.create_topic(name, partitions=partitions).partitions:
        partition.append([b"0", b"1"])


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


# --- nothing ---


@pytest.mark.parametrize("nothing", [lambda c: c.assign([]), lambda c: c.subscribe([]), lambda c: c.subscribe(())])
@pytest.mark.parametrize("before", [lambda c: None, lambda c: c.assign([T0]), lambda c: c.subscribe(["t"])])
def test_nothing_chosen_is_nothing_to_poll(
    log: eventlog.EventLog, group: str | None, before: Choose, nothing: Choose
) -> None:
    """assign([]) and subscribe([]) are unsubscribe(), whatever was read before: poll raises IllegalStateError."""
    fill(log)
    with log.consumer(group=group, **EARLIEST) as consumer:
        before(consumer)
        nothing(consumer)
        assert consumer.assignment() == [] and consumer.subscription() == []
        for poll in (consumer.poll, consumer.poll_batches):
            with pytest.raises(eventlog.IllegalStateError, match="nothing to poll"):
                poll()
        consumer.subscribe(pattern="t")
        assert len(consumer.poll()) == 2


def test_subscribing_to_nothing_leaves_the_group(log: eventlog.EventLog) -> None:
    """Another member takes over at once, as after unsubscribe()."""
    fill(log)
    with log.consumer("t", group="g", **EARLIEST) as first, log.consumer("t", group="g", **EARLIEST) as second:
        first.poll(max_records=1)
        first.subscribe([])
        assert len(second.poll()) == 2 and second.assignment() == [T0]


# --- one of three kinds ---

KINDS: dict[str, Choose] = {
    "topics": lambda consumer: consumer.subscribe(["t"]),
    "pattern": lambda consumer: consumer.subscribe(pattern="t"),
    "partitions": lambda consumer: consumer.assign([T0]),
}


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_topics_patterns_and_partitions_exclude_each_other(
    log: eventlog.EventLog, group: str | None, first: str, second: str
) -> None:
    """Changing from one kind to another is an error until unsubscribe(), which leaves what is read alone."""
    fill(log)
    with log.consumer(group=group, **EARLIEST) as consumer:
        KINDS[first](consumer)
        if first != second:
            with pytest.raises(eventlog.IllegalStateError, match="unsubscribe"):
                KINDS[second](consumer)
        assert len(consumer.poll()) == 2
        consumer.unsubscribe()
        KINDS[second](consumer)
        consumer.poll()
        assert consumer.assignment() == [T0]


def test_one_subscription_replaces_another_of_its_kind(log: eventlog.EventLog, group: str | None) -> None:
    """A list after a list, and a pattern after a pattern; subscription() tells the topics, each once, sorted."""
    fill(log, "t"), fill(log, "u")
    with log.consumer(group=group) as consumer:
        consumer.subscribe(["u", "t", "u"])
        assert consumer.subscription() == ["t", "u"]
        consumer.subscribe({"t"})
        assert consumer.subscription() == ["t"]
    with log.consumer(group=group) as consumer:
        consumer.subscribe(pattern="[tu]")
        assert consumer.subscription() == ["t", "u"]
        consumer.subscribe(pattern="u|v")
        assert consumer.subscription() == ["u"]
        log.create_topic("v")
        assert consumer.subscription() == ["u", "v"]
    with log.consumer() as consumer:
        consumer.assign([T0, T0])
        assert consumer.subscription() == [] and consumer.assignment() == [T0]


def test_a_refused_subscription_changes_nothing(log: eventlog.EventLog, group: str | None) -> None:
    """Names that no topic can have, no list, and an empty pattern leave the subscription of before."""
    fill(log)
    with log.consumer("t", group=group, **EARLIEST) as consumer:
        for bad in (["a b"], [""], [None], "t", 5, [".."]):
            with pytest.raises((eventlog.InvalidTopicError, eventlog.IllegalStateError)):
                consumer.subscribe(bad)
        for arguments in ({"pattern": ""}, {"pattern": "("}, {"pattern": b"t"}, {"topics": ["t"], "pattern": "t"}, {}):
            with pytest.raises((eventlog.InvalidConfigError, eventlog.IllegalStateError)):
                consumer.subscribe(**arguments)  # type: ignore[arg-type]
        assert consumer.subscription() == ["t"] and len(consumer.poll()) == 2


# --- topics that do not exist ---


def test_a_topic_that_does_not_exist_is_waited_for(
    log: eventlog.EventLog, group: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """As with Kafka's clients there is one warning; the topic is read, from its beginning, as soon as it is there."""
    fill(log)
    with log.consumer("nope", "t", group=group, auto_offset_reset="latest") as consumer:
        for _ in range(3):
            assert consumer.poll() == []
            log.create_topic(f"other-{len(log.topics())}")  # which makes everyone look again
        assert consumer.assignment() == [T0] and consumer.subscription() == ["nope", "t"]
        assert warnings(caplog) == [WAITED_FOR]
        fill(log, "nope", partitions=2)
        found = [record for _ in range(5) for record in consumer.poll()]
        assert sorted({(record.topic, record.partition) for record in found}) == [("nope", 0), ("nope", 1)]
        assert len(found) == 4
    assert warnings(caplog) == [WAITED_FOR]


def test_a_waiting_poll_finds_the_only_topic(log: eventlog.EventLog, group: str | None, run_python: Any) -> None:
    """A poll that waits for a topic that another process creates returns its first records."""
    with log.consumer("nope", group=group) as consumer:
        assert consumer.poll() == [] and consumer.assignment() == []
        run_python(
            "import eventlog; eventlog.open(ARGS[0]).create_topic('nope').partitions[0].append([b'v'])", log.path
        )
        assert [record.value for record in consumer.poll(timeout=60)] == [b"v"]


def test_members_wait_for_a_topic_together(log: eventlog.EventLog) -> None:
    """All members of a group share a topic that appears after they have joined, and pass nothing by."""
    config = {"group": "g", "auto_offset_reset": "latest"}
    with log.consumer("nope", **config) as first, log.consumer("nope", **config) as second:
        assert first.poll() == second.poll() == []
        assert {len(member.assignment) for member in log.group("g").members} == {0}
        fill(log, "nope", partitions=4)
        found = [record for _ in range(10) for member in (first, second) for record in member.poll()]
        assert len(found) == 8
        assert len(first.assignment()) == len(second.assignment()) == 2


def test_a_topic_that_was_deleted_is_no_topic_to_wait_for(
    log: eventlog.EventLog, group: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """What was not read yet is lost, and poll says so, until it is made anew or unsubscribed from."""
    with log.consumer("nope", group=group, **EARLIEST) as consumer:
        consumer.poll()
        fill(log, "nope")
        assert [len(consumer.poll()) for _ in range(3)].count(2) == 1
        log.delete_topic("nope")
        for _ in range(2):
            with pytest.raises(eventlog.UnknownTopicError):
                consumer.poll()
        assert warnings(caplog) == [WAITED_FOR, DELETED]
        consumer.unsubscribe()
        consumer.subscribe(["nope"])
        assert consumer.poll() == []
        fill(log, "nope")
        assert len([record for _ in range(3) for record in consumer.poll()]) == 2
    assert warnings(caplog) == [WAITED_FOR, DELETED, WAITED_FOR]


# --- leaving ---


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("leave", ["unsubscribe", "subscribe", "assign"])
def test_unsubscribing_commits_nothing(log: eventlog.EventLog, by_hand: bool, leave: str) -> None:
    """As in Kafka: what was read since the last automatic commit is read again; close() does commit."""
    fill(log)
    told: list[tuple[str, list[TopicPartition]]] = []

    class Listener(eventlog.RebalanceListener):
        def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
            told.append(("revoked", partitions))

    config: dict[str, Any] = {"group": "g", "auto_commit_interval_ms": 1_000_000, **EARLIEST}
    with log.consumer(**config) as consumer:
        if by_hand:
            consumer.assign([T0])
        else:
            consumer.subscribe(["t"], listener=Listener())
        assert len(consumer.poll()) == 2
        consumer.unsubscribe() if leave == "unsubscribe" else getattr(consumer, leave)([])
        assert consumer.committed(T0) is None
        assert told == ([] if by_hand else [("revoked", [T0])])
        consumer.assign([T0])
        assert len(consumer.poll()) == 2  # it goes on committing
    with log.consumer(**config) as later:
        assert later.committed(T0) == OffsetAndMetadata(2)


def test_the_async_consumer_chooses_likewise(log: eventlog.EventLog) -> None:
    """subscribe, assign and unsubscribe of the asyncio twin do and refuse the same."""
    fill(log)

    async def main() -> None:
        async with log.async_consumer("t", group="g", auto_commit_interval_ms=10**6, **EARLIEST) as consumer:
            assert len(await consumer.poll()) == 2
            with pytest.raises(eventlog.IllegalStateError):
                await consumer.subscribe(pattern="t")
            await consumer.subscribe([])
            with pytest.raises(eventlog.IllegalStateError):
                await consumer.poll()
            assert await consumer.committed(T0) is None
            await consumer.subscribe(pattern="t")
            assert await consumer.subscription() == ["t"]
            await consumer.unsubscribe()
            await consumer.assign([])
            for call in (consumer.pause, consumer.resume, consumer.seek_to_end, consumer.position):
                with pytest.raises(eventlog.NotAssignedError):
                    await call(T0)

    asyncio.run(main())
