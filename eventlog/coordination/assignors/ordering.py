"""In which order Kafka's assignors go through a group's members and partitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventlog.coordination.assignors.assignor import MemberSubscription
from eventlog.model import TopicPartition


def static_first(members: Mapping[str, MemberSubscription]) -> list[str]:
    """Return the member ids: static members by ``group_instance_id``, then the dynamic ones by member id.

    So a static member that restarts, and has a new member id, keeps its place and with it its partitions
    (KIP-345; Kafka's ``AbstractPartitionAssignor.MemberInfo``).

    >>> static_first({"a": MemberSubscription(("t",)), "b": MemberSubscription(("t",), instance_id="z")})
    ['b', 'a']
    """

    def place(member_id: str) -> tuple[bool, str, str]:
        instance_id = members[member_id].instance_id
        return instance_id is None, instance_id or "", member_id

    return sorted(members, key=place)


def subscribed(members: Iterable[MemberSubscription], partition_counts: Mapping[str, int]) -> list[str]:
    """Return the topics that exist and that anybody subscribed to, in order.

    >>> subscribed([MemberSubscription(("b", "missing")), MemberSubscription(("a",))], {"a": 1, "b": 1, "c": 1})
    ['a', 'b']
    """
    return sorted({topic for member in members for topic in member.topics if topic in partition_counts})


def partitions_of(topics: Iterable[str], partition_counts: Mapping[str, int]) -> list[TopicPartition]:
    """Return all partitions of the topics, in the topics' order.

    >>> partitions_of(["t"], {"t": 2})
    [TopicPartition(topic='t', partition=0), TopicPartition(topic='t', partition=1)]
    """
    return [TopicPartition(topic, number) for topic in topics for number in range(partition_counts[topic])]
