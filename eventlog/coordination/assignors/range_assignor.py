"""The range assignor: each topic is cut into consecutive ranges, one a member."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from eventlog.coordination.assignors.assignor import Assignment, MemberSubscription
from eventlog.coordination.assignors.ordering import static_first, subscribed
from eventlog.model import TopicPartition


class RangeAssignor:
    """Give each member a range of each topic, as Kafka's ``RangeAssignor`` does without racks.

    The first members get one partition more where a topic does not divide evenly. Topics with equally many partitions
    and the same subscribers are cut alike: records of one key, in several topics, meet in one member.

    >>> both = {"a": MemberSubscription(("t",)), "b": MemberSubscription(("t",))}
    >>> {member: [tp.partition for tp in tps] for member, tps in RangeAssignor().assign({"t": 3}, both).items()}
    {'a': [0, 1], 'b': [2]}
    """

    name = "range"
    cooperative = False

    def assign(self, partition_counts: Mapping[str, int], members: Mapping[str, MemberSubscription]) -> Assignment:
        """Return each member's partitions, by member id."""
        assignment: Assignment = {member_id: [] for member_id in members}
        for topic, readers in _readers(partition_counts, members).items():
            for member_id, numbers in zip(readers, _ranges(partition_counts[topic], len(readers)), strict=True):
                assignment[member_id] += [TopicPartition(topic, number) for number in numbers]
        return assignment


def _readers(partition_counts: Mapping[str, int], members: Mapping[str, MemberSubscription]) -> dict[str, list[str]]:
    """Return each topic's members, both in order."""
    readers: dict[str, list[str]] = {topic: [] for topic in subscribed(members.values(), partition_counts)}
    for member_id in static_first(members):
        for topic in readers.keys() & members[member_id].topics:
            readers[topic].append(member_id)
    return readers


def _ranges(total: int, parts: int) -> list[range]:
    """Cut ``range(total)`` into consecutive parts that differ by at most one, the longer ones first."""
    size, longer = divmod(total, parts)
    starts = [size * part + min(part, longer) for part in range(parts + 1)]
    return [range(start, end) for start, end in pairwise(starts)]
