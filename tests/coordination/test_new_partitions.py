"""Nothing that is written to a new partition, or a new topic, is passed by, also with auto_offset_reset="latest"."""

from __future__ import annotations

import pytest

import eventlog
from eventlog import TopicPartition


def values_of(*consumers: eventlog.Consumer) -> list[bytes]:
    """Let everyone poll until the group has settled and nothing comes any more; return what came."""
    found: list[bytes] = []
    for _ in range(8):
        for consumer in consumers:
            found += [record.value or b"" for record in consumer.poll()]
    return sorted(found)


@pytest.mark.parametrize("joins", [False, True])
def test_partitions_added_while_a_group_runs(log: eventlog.EventLog, joins: bool) -> None:
    """What is written to a partition before any member has noticed it is read, whoever notices it first."""
    topic = log.create_topic("t")
    topic.partitions[0].append([b"before"])
    members = [log.consumer("t", group="g")]
    assert values_of(*members) == []
    topic.add_partitions(3)
    for partition in topic.partitions:
        partition.append([b"after %d" % partition.number])
    if joins:
        members.insert(0, log.consumer("t", group="g"))  # polls first
    assert values_of(*members) == [b"after 0", b"after 1", b"after 2"]
    assert all(members[0].committed(TopicPartition("t", n)) is not None for n in (1, 2))


def test_a_topic_that_comes_to_match_a_pattern(log: eventlog.EventLog) -> None:
    """A new topic is read from its beginning; one that the member subscribes to later is not."""
    log.create_topic("old").partitions[0].append([b"old"])
    log.create_topic("a")
    consumer = log.consumer(group="g")
    consumer.subscribe(pattern="a|new")
    assert values_of(consumer) == []
    log.create_topic("new").partitions[0].append([b"new"])
    assert values_of(consumer) == [b"new"]
    consumer.subscribe(pattern="a|new|old")
    assert values_of(consumer) == []


def test_a_group_without_members_begins_as_its_setting_says(log: eventlog.EventLog) -> None:
    """Partitions that were added while nobody was there have no commit: the next member begins at their end."""
    topic = log.create_topic("t")
    with log.consumer("t", group="g") as consumer:
        assert values_of(consumer) == []
    topic.add_partitions(2)
    topic.partitions[1].append([b"unseen"])
    with log.consumer("t", group="g") as consumer:
        assert values_of(consumer) == []
