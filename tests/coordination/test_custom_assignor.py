"""An assignor of one's own shares the partitions; what it makes up is refused before anybody reads by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import eventlog
from eventlog import MemberSubscription, TopicPartition


class FirstTakesAll:
    """Gives everything to the first member; or, wrongly, what ``wrong`` says to everyone."""

    name = "first-takes-all"
    cooperative = True

    def __init__(self, *wrong: TopicPartition) -> None:
        self.wrong = list(wrong)

    def assign(
        self, partition_counts: Mapping[str, int], members: Mapping[str, MemberSubscription]
    ) -> dict[str, list[TopicPartition]]:
        if self.wrong:
            return dict.fromkeys(members, self.wrong)
        everything = [TopicPartition(topic, n) for topic, count in partition_counts.items() for n in range(count)]
        return {member_id: everything if n == 0 else [] for n, member_id in enumerate(sorted(members))}


def test_an_assignor_of_ones_own(log: eventlog.EventLog) -> None:
    """All members use it, and the group says its name."""
    log.create_topic("t", partitions=3)
    members = [log.consumer("t", group="g", partition_assignment_strategy=FirstTakesAll()) for _ in range(3)]
    for _ in range(4):
        for member in members:
            member.poll()
    assert sorted(len(member.assignment()) for member in members) == [0, 0, 3]
    assert log.group("g").assignor == "first-takes-all"


@pytest.mark.parametrize("wrong", [TopicPartition("t", 3), TopicPartition("u", 0), TopicPartition("t", -1)])
def test_a_partition_that_is_not_to_be_had(log: eventlog.EventLog, wrong: TopicPartition) -> None:
    """A partition that does not exist, or of a topic that nobody subscribed to, is refused by name; nobody joins."""
    log.create_topic("t", partitions=3)
    log.create_topic("u")
    member = log.consumer("t", group="g", partition_assignment_strategy=FirstTakesAll(wrong))
    with pytest.raises(eventlog.IllegalStateError, match=f"first-takes-all.*{wrong.topic}-{wrong.partition}"):
        member.poll()
    assert log.group("g").members == ()


def test_no_assignment_at_all(log: eventlog.EventLog) -> None:
    """An assignor that returns nothing is named."""
    log.create_topic("t")
    strategy = FirstTakesAll()
    strategy.assign = lambda partition_counts, members: None  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(eventlog.IllegalStateError, match="first-takes-all"):
        log.consumer("t", group="g", partition_assignment_strategy=strategy).poll()


def test_a_partition_given_twice(log: eventlog.EventLog) -> None:
    """Two members never get one partition: the second one's join is refused, and the first reads on."""
    log.create_topic("t").partitions[0].append([b"v"])
    strategy = FirstTakesAll(TopicPartition("t", 0))
    first = log.consumer("t", group="g", auto_offset_reset="earliest", partition_assignment_strategy=strategy)
    second = log.consumer("t", group="g", partition_assignment_strategy=strategy)
    assert len(first.poll()) == 1
    with pytest.raises(eventlog.IllegalStateError, match="first-takes-all"):
        second.poll()
    assert first.poll() == []
    assert first.assignment() == [TopicPartition("t", 0)]


class Raising(eventlog.RebalanceListener):
    """Fails when partitions are revoked."""

    def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        raise RuntimeError("no")


def test_a_listener_that_raises_keeps_no_log_open(log_path: Path) -> None:
    """Closing a log closes everything, also behind a consumer whose listener raises; then it raises that error."""
    log = eventlog.open(log_path)
    log.create_topic("t")
    consumers = [log.consumer(group=f"g{n}") for n in range(3)]
    producer = log.producer(linger_ms=10_000)
    for consumer in consumers:
        consumer.subscribe(["t"], listener=Raising())
        consumer.poll()
    sent = producer.send("t", b"v")
    with pytest.raises(RuntimeError, match="no"):
        log.close()
    assert sent.result(timeout=0).offset == 0
    with eventlog.open(log_path) as again:
        assert [again.group(f"g{n}").members for n in range(3)] == [(), (), ()]
        recovery = again.topic("t").partitions[0].recovery
        assert recovery is not None and recovery.scanned_bytes == 0  # what was written was flushed
