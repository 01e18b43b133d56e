"""What a member gives up while others join."""

from __future__ import annotations

import pytest

import eventlog
from eventlog import TopicPartition


@pytest.mark.parametrize("strategy", ["cooperative-sticky", "sticky", "range"])
def test_a_member_gives_up_only_what_it_has_stopped_reading(log: eventlog.EventLog, strategy: str) -> None:
    """When a member joins while another one is giving partitions up, no partition is ever read by two members."""
    log.create_topic("t", partitions=6)
    settings = {"group": "g", "partition_assignment_strategy": strategy}
    told: list[TopicPartition] = []
    members = [log.consumer("t", **settings) for _ in range(2)]
    late = log.consumer("t", **settings)

    class Joins(eventlog.RebalanceListener):
        def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
            told.extend(partitions)
            if len(members) == 2:  # between the look at what is to be given up, and giving it up
                members.append(late)
                late.poll()

    first = log.consumer(**settings)
    first.subscribe(["t"], listener=Joins())
    members[0] = first
    first.poll()
    before = set(first.assignment())
    assert len(before) == 6
    for _ in range(4):
        for member in list(members):
            member.poll()
            owned = [tp for other in members for tp in other.assignment()]
            assert len(owned) == len(set(owned))
            first.commit()
    assert sorted(len(member.assignment()) for member in members) == [2, 2, 2]
    assert before - set(first.assignment()) <= set(told)
    for member in members:
        member.close()
