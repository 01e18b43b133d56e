"""Sticky sharing among members that subscribed to different topics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from operator import attrgetter

from eventlog.coordination.assignors.assignor import Assignment
from eventlog.coordination.assignors.loads import Loads
from eventlog.coordination.assignors.ordering import partitions_of
from eventlog.model import TopicPartition


def share(
    partition_counts: Mapping[str, int],
    topics: Mapping[str, frozenset[str]],
    owned: Mapping[str, Collection[TopicPartition]],
) -> Assignment:
    """Return shares in which no partition could go to a subscriber that has two or more partitions fewer.

    ``topics`` are each member's, all of them existing ones; ``owned`` has no partition twice. The steps and their order
    are those of Kafka's ``AbstractStickyAssignor``, in the case that it calls general.

    >>> different = {"a": frozenset(["t", "u"]), "b": frozenset(["t"])}
    >>> share({"t": 1, "u": 1}, different, {"a": [TopicPartition("t", 0)], "b": []})["b"]
    [TopicPartition(topic='t', partition=0)]
    """
    balance = _Balance(topics, owned)
    partitions = partitions_of(balance.topics_by_subscribers(), partition_counts)
    free = [tp for tp in partitions if balance.is_free(tp)]
    balance.place(free)
    balance.level(free)  # first by what moves anyway
    balance.level(partitions)
    balance.bring_home(partitions)
    return balance.shares(partitions)


class _Balance:
    """Who holds which partition. Members are numbered in the order of their ids, as in `Loads`."""

    def __init__(self, topics: Mapping[str, frozenset[str]], owned: Mapping[str, Collection[TopicPartition]]) -> None:
        self._ids = sorted(topics)
        self._homes = {tp: member for member, member_id in enumerate(self._ids) for tp in sorted(owned[member_id])}
        self._holders = dict(self._homes)
        self._subscribers: dict[str, int] = {}  # by topic, as bits
        for member, member_id in enumerate(self._ids):
            for topic in topics[member_id]:
                self._subscribers[topic] = self._subscribers.get(topic, 0) | 1 << member
        self._loads = Loads(len(owned[member_id]) for member_id in self._ids)

    def topics_by_subscribers(self) -> list[str]:
        """Return the topics, those with the fewest subscribers, for which there is the least choice, first."""
        return sorted(self._subscribers, key=lambda topic: (self._subscribers[topic].bit_count(), topic))

    def is_free(self, tp: TopicPartition) -> bool:
        """Tell whether nobody holds the partition."""
        return tp not in self._holders

    def place(self, free: Iterable[TopicPartition]) -> None:
        """Give each free partition to the subscriber that has least."""
        for tp in free:
            taker = self._loads.least(self._subscribers[tp.topic])
            self._holders[tp] = taker
            self._loads.change(taker, +1)

    def level(self, partitions: Iterable[TopicPartition]) -> None:
        """Move partitions until none of these could go to a subscriber that has two or more fewer.

        This ends: each move makes the sum of the squared loads smaller.
        """
        movable = [tp for tp in partitions if self._subscribers[tp.topic].bit_count() > 1]
        moves = 1
        while moves:
            moves = sum(map(self._relieve, movable))

    def _relieve(self, tp: TopicPartition) -> bool:
        """Move the partition if that makes the loads more equal; tell whether it did."""
        giver = self._holders[tp]
        taker = self._loads.least(self._subscribers[tp.topic])
        if self._loads.of(giver) <= self._loads.of(taker) + 1:
            return False
        self._holders[tp] = taker
        self._loads.change(giver, -1)
        self._loads.change(taker, +1)
        return True

    def bring_home(self, partitions: Iterable[TopicPartition]) -> None:
        """Exchange partitions of one topic until no member lacks one of its own while it holds another's.

        Loads stay as they are. Kafka has the same aim for pairs of members (``PartitionMovements``).
        """
        for _, of_topic in groupby(partitions, key=attrgetter("topic")):
            self._bring_home(list(of_topic))

    def _bring_home(self, tps: list[TopicPartition]) -> None:
        away = [tp for tp in tps if self._homes.get(tp) != self._holders[tp]]
        room = Counter(self._holders[tp] for tp in away)
        away = self._enter(away, self._homes, room)
        away = self._enter(away, self._holders, room)
        self._holders.update(zip(away, room.elements(), strict=True))

    def _enter(
        self, tps: list[TopicPartition], wanted: Mapping[TopicPartition, int], room: Counter[int]
    ) -> list[TopicPartition]:
        """Let each partition's wanted member hold it if there is room; return those for which there was none."""
        left = []
        for tp in tps:
            member = wanted.get(tp)
            if member is None or not room[member]:
                left.append(tp)
                continue
            room[member] -= 1
            self._holders[tp] = member
        return left

    def shares(self, partitions: Iterable[TopicPartition]) -> Assignment:
        """Return each member's partitions, in the order of ``partitions``."""
        found: Assignment = {member_id: [] for member_id in self._ids}
        for tp in partitions:
            found[self._ids[self._holders[tp]]].append(tp)
        return found
