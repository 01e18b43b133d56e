"""What a group has committed for a topic is nothing to another topic of the same name."""

from __future__ import annotations

import pytest

import eventlog
from eventlog import TopicPartition

TP = TopicPartition("t", 0)


@pytest.mark.parametrize("is_away", [True, False])
def test_a_topic_made_anew_is_read_from_its_beginning(log: eventlog.EventLog, is_away: bool) -> None:
    """The group begins at the first record of the new topic, whether or not a member lived while the old one went."""
    log.create_topic("t").partitions[0].append([b"old"] * 5)
    log.create_topic("u")
    member = log.consumer(group="g", auto_offset_reset="earliest")
    member.subscribe(pattern="t|u")
    assert len(member.poll()) == 5
    member.commit()
    if is_away:
        member.close()
    log.delete_topic("t")
    if not is_away:
        member.poll()
        member.commit()
    assert log.group("g").partitions == () or all(lag.topic == "u" for lag in log.group("g").partitions)
    log.create_topic("t").partitions[0].append([b"new"] * 9)
    with log.consumer("t", group="g", auto_offset_reset="earliest") if is_away else member as reader:
        records = reader.poll() or reader.poll()
        assert [record.offset for record in records] == list(range(9))
