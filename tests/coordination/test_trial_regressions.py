"""Defects that users of groups found, each told by what is true now that it is mended."""

from __future__ import annotations

import asyncio

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition

T0 = TopicPartition("t", 0)


class Told(eventlog.RebalanceListener):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        self.calls.append("revoked")

    def on_partitions_lost(self, partitions: list[TopicPartition]) -> None:
        self.calls.append("lost")


def ten(log: eventlog.EventLog) -> None:
    log.create_topic("t").partitions[0].append([b"%d" % n for n in range(10)])


def place(log: eventlog.EventLog) -> OffsetAndMetadata | None:
    with log.consumer(group="g") as consumer:
        return consumer.committed(T0)


def test_an_error_in_a_with_commits_nothing(log: eventlog.EventLog) -> None:
    """What poll returned may not have been handled: the next member gets it again. Without an error it is committed."""
    ten(log)
    with pytest.raises(ZeroDivisionError), log.consumer("t", group="g", auto_offset_reset="earliest") as consumer:
        assert len(consumer.poll(max_records=5)) == 5
        _ = 1 // 0
    assert place(log) is None
    with log.consumer("t", group="g", auto_offset_reset="earliest") as consumer:
        assert len(consumer.poll(max_records=5)) == 5
    assert place(log) == OffsetAndMetadata(5)


def test_an_error_in_a_with_of_a_log_commits_nothing(log: eventlog.EventLog) -> None:
    """The same holds for consumers that the log closes because of an error."""
    ten(log)
    with pytest.raises(ZeroDivisionError), eventlog.open(log.path) as other:
        consumer = other.consumer("t", group="g", auto_offset_reset="earliest")
        assert len(consumer.poll(max_records=5)) == 5
        _ = 1 // 0
    assert place(log) is None


def test_an_error_in_an_async_with_commits_nothing(log: eventlog.EventLog) -> None:
    """The same holds in asyncio."""
    ten(log)

    async def main() -> None:
        async with log.async_consumer("t", group="g", auto_offset_reset="earliest") as consumer:
            assert len(await consumer.poll(max_records=5)) == 5
            _ = 1 // 0

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert place(log) is None


def test_a_subscribed_topic_that_is_deleted_keeps_nobody_from_the_others(log: eventlog.EventLog) -> None:
    """Members read the topics that are left, and go on sharing them; when all are gone, poll says so."""
    for name in ("t", "u"):
        log.create_topic(name, partitions=2)
    first = log.consumer("t", "u", group="g", auto_offset_reset="earliest")
    first.poll()
    log.delete_topic("t")
    for partition in log.topic("u").partitions:
        partition.append([b"v"])
    second = log.consumer("u", group="g", auto_offset_reset="earliest")
    found = [record.topic for _ in range(5) for consumer in (first, second) for record in consumer.poll()]
    assert sorted(set(found)) == ["u"]
    assert len(first.assignment()) == len(second.assignment()) == 1
    log.delete_topic("u")
    with pytest.raises(eventlog.UnknownTopicError):
        first.poll()


def test_a_removed_member_is_told_of_the_loss_when_it_closes(log_path: object) -> None:
    """Partitions that are another member's already are lost, not revoked, also for one that closes or unsubscribes."""
    clock = eventlog.ManualClock()
    with eventlog.EventLog(str(log_path), clock=clock) as log:
        log.create_topic("t")
        for leave in (eventlog.Consumer.close, eventlog.Consumer.unsubscribe):
            told = Told()
            hung = log.consumer(group="g", max_poll_interval_ms=100)
            hung.subscribe(["t"], listener=told)
            hung.poll()
            clock.advance(0.2)
            with log.consumer("t", group="g") as other:
                other.poll()
                assert len(other.assignment()) == 1
                leave(hung)
            assert told.calls == ["lost"]


def test_a_commit_before_the_first_poll(log: eventlog.EventLog) -> None:
    """A subscribed consumer is told to poll first; one that subscribed to nothing sets the place of an idle group."""
    ten(log)
    with pytest.raises(eventlog.CommitFailedError, match="not joined") as caught:
        log.consumer("t", group="g").commit({T0: 1})
    assert not isinstance(caught.value, eventlog.FencedMemberError)
    log.consumer(group="g").commit({T0: 7})
    with log.consumer("t", group="g") as consumer:
        assert [record.offset for record in consumer.poll()] == [7, 8, 9]
        with pytest.raises(eventlog.CommitFailedError, match="members"):
            log.consumer(group="g").commit({T0: 1})


@pytest.mark.parametrize("setting", [{"client_id": 5}, {"client_id": None}, {"group_instance_id": "x", "group": None}])
def test_settings_that_are_not_possible(log: eventlog.EventLog, setting: dict[str, object]) -> None:
    """They are named."""
    log.create_topic("t")
    with pytest.raises(eventlog.InvalidConfigError, match=next(iter(setting))):
        log.consumer("t", **{"group": "g", **setting})


def test_a_callback_that_is_none(log: eventlog.EventLog) -> None:
    """What cannot be called is refused when it is given, and nothing is committed."""
    ten(log)
    with log.consumer("t", group="g", auto_offset_reset="earliest", enable_auto_commit=False) as consumer:
        consumer.poll()
        with pytest.raises(eventlog.InvalidConfigError, match="callback"):
            consumer.commit_async(callback=5)  # type: ignore[arg-type]
        assert consumer.committed(T0) is None


def test_the_generation_of_a_member_that_a_rebalance_does_not_concern(log: eventlog.EventLog) -> None:
    """It is the group's all the same; a member that has something to give up is still of the one before."""
    log.create_topic("t", partitions=2)
    first, second, surplus = (log.consumer("t", group="g") for _ in range(3))
    first.poll()
    assert first.group_metadata().generation == 1
    second.poll()
    assert first.group_metadata().generation == 1  # has to give up one of its two
    first.poll()
    second.poll()
    assert {first.group_metadata().generation, second.group_metadata().generation} == {2}
    surplus.poll()
    assert {one.group_metadata().generation for one in (first, second, surplus)} == {3}
