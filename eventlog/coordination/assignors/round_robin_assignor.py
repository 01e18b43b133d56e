"""The round robin assignor: all partitions of all topics are dealt out like cards."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

from eventlog.coordination.assignors.assignor import Assignment, MemberSubscription
from eventlog.coordination.assignors.ordering import partitions_of, static_first, subscribed


class RoundRobinAssignor:
    """Deal out the partitions of all topics in turn, as Kafka's ``RoundRobinAssignor`` does.

    A member that did not subscribe to a partition's topic is passed over and loses its turn: with equal subscriptions
    members differ by at most one partition, with unequal ones by more.

    >>> both = {"a": MemberSubscription(("t",)), "b": MemberSubscription(("t",))}
    >>> {member: [tp.partition for tp in tps] for member, tps in RoundRobinAssignor().assign({"t": 3}, both).items()}
    {'a': [0, 2], 'b': [1]}
    """

    name = "roundrobin"
    cooperative = False

    def assign(self, partition_counts: Mapping[str, int], members: Mapping[str, MemberSubscription]) -> Assignment:
        """Return each member's partitions, by member id."""
        order = static_first(members)
        topics = {member_id: frozenset(members[member_id].topics) for member_id in order}
        assignment: Assignment = {member_id: [] for member_id in order}
        turns = cycle(order)
        for tp in partitions_of(subscribed(members.values(), partition_counts), partition_counts):
            taker = next(member_id for member_id in turns if tp.topic in topics[member_id])
            assignment[taker].append(tp)
        return assignment
