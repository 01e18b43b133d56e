"""The sticky assignors: as balanced as possible, and members keep what they have. KIP-54, KIP-341, KIP-429."""

from __future__ import annotations

from collections.abc import Mapping

from eventlog.coordination.assignors import sticky_general
from eventlog.coordination.assignors.assignor import Assignment, MemberSubscription
from eventlog.coordination.assignors.ordering import partitions_of
from eventlog.coordination.assignors.sticky_equal import share_equally
from eventlog.model import TopicPartition


class StickyAssignor:
    """Balance first, then keep partitions where they are, as Kafka's ``StickyAssignor`` does.

    With equal subscriptions, members differ by at most one partition and no fewer could move. With unequal ones, no
    partition could go to a subscriber that has two or more fewer. Balance is never given up to move less.

    >>> before = {"a": MemberSubscription(("t",)), "b": MemberSubscription(("t",))}
    >>> first = StickyAssignor().assign({"t": 4}, before)
    >>> [tp.partition for tp in first["b"]]
    [1, 3]
    >>> left = {"b": MemberSubscription(("t",), owned=tuple(first["b"]), generation=1)}
    >>> [tp.partition for tp in StickyAssignor().assign({"t": 4}, left)["b"]]
    [1, 3, 0, 2]
    """

    name = "sticky"
    cooperative = False

    def assign(self, partition_counts: Mapping[str, int], members: Mapping[str, MemberSubscription]) -> Assignment:
        """Return each member's partitions, by member id."""
        if not members:
            return {}
        topics = {
            member_id: frozenset(topic for topic in member.topics if topic in partition_counts)
            for member_id, member in members.items()
        }
        owned = _owned(partition_counts, topics, members)
        different = set(topics.values())
        if len(different) > 1:
            return sticky_general.share(partition_counts, topics, owned)
        return share_equally(partitions_of(sorted(different.pop()), partition_counts), owned)


class CooperativeStickyAssignor(StickyAssignor):
    """Share as `StickyAssignor` does, and let members go on reading what stays theirs. KIP-429.

    Kafka's ``CooperativeStickyAssignor`` leaves out what another member must give up first, and asks for a second
    rebalance; here the whole target is returned, and the group holds a partition back until it is free.

    >>> have = (TopicPartition("t", 0), TopicPartition("t", 1))
    >>> joined = {"a": MemberSubscription(("t",), owned=have, generation=1), "b": MemberSubscription(("t",))}
    >>> CooperativeStickyAssignor().assign({"t": 2}, joined)["b"]
    [TopicPartition(topic='t', partition=1)]
    """

    name = "cooperative-sticky"
    cooperative = True


def _owned(
    partition_counts: Mapping[str, int],
    topics: Mapping[str, frozenset[str]],
    members: Mapping[str, MemberSubscription],
) -> dict[str, list[TopicPartition]]:
    """Return what each member may keep: its own, of partitions that exist, in topics that it still subscribes to."""
    owned: dict[str, list[TopicPartition]] = {member_id: [] for member_id in members}
    for tp, member_id in _owners(members).items():
        if tp.topic in topics[member_id] and 0 <= tp.partition < partition_counts[tp.topic]:
            owned[member_id].append(tp)
    return owned


def _owners(members: Mapping[str, MemberSubscription]) -> dict[TopicPartition, str]:
    """Return each partition's owner: who claims it in the latest generation, unless several do (KIP-341)."""
    claims: dict[TopicPartition, tuple[int, str | None]] = {}
    for member_id, member in members.items():
        for tp in set(member.owned):
            latest = claims.get(tp)
            if latest is None or member.generation > latest[0]:
                claims[tp] = (member.generation, member_id)
            elif member.generation == latest[0]:
                claims[tp] = (member.generation, None)
    return {tp: member_id for tp, (_, member_id) in claims.items() if member_id is not None}
