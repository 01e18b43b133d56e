"""Gives every member of a group a new target: which assignor they share, and what there is to share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from eventlog.coordination.assignors.assignor import Assignor
from eventlog.coordination.assignors.choose import BUILT_IN, choose
from eventlog.coordination.group_state import GroupState, Member
from eventlog.model import TopicPartition

PartitionCounts = Callable[[Iterable[str]], dict[str, int]]


class Rebalancer:
    """What one member knows to rebalance its group with. The caller has the group's lock, and writes the state."""

    def __init__(
        self,
        group: str,
        assignors: Mapping[str, Assignor],
        partition_counts: PartitionCounts,
        begin: Callable[[list[TopicPartition]], None],
    ) -> None:
        """``begin`` is told which partitions are new, before anyone has them: they are read from their beginning."""
        self._group = group
        self._assignors = assignors
        self._partition_counts = partition_counts
        self._begin = begin

    def choose(self, state: GroupState, joining: Member | None = None) -> str:
        """Return the name of the assignor that all members know, also the one that is joining.

        Raises InconsistentGroupProtocolError when there is none.
        """
        preferences = {member_id: member.strategies for member_id, member in state.members.items()}
        if joining is not None:
            preferences[joining.member_id] = joining.strategies
        return choose(preferences, group=self._group)

    def counts(self, state: GroupState, topics: Collection[str] = ()) -> dict[str, int]:
        """Return how many partitions there are of each topic that members read, and of these."""
        read = {topic for member in state.members.values() for topic in member.topics}
        return self._partition_counts(read.union(topics))

    def rebalance(self, state: GroupState) -> None:
        """Give every member a new target."""
        if not state.members:
            state.generation += 1
            state.strategy, state.partition_counts = "", {}
            return
        name = self.choose(state)
        assignor = self._assignors.get(name) or BUILT_IN.get(name)
        if assignor is None:  # who leaves need not know the assignor of those who stay
            state.is_unassigned = True
            return
        counts = self.counts(state)
        self._begin(_new_partitions(state.partition_counts, counts))
        state.rebalance(assignor, counts)


def _new_partitions(before: Mapping[str, int], counts: Mapping[str, int]) -> list[TopicPartition]:
    """Return the partitions that were added since the last rebalance."""
    return [
        TopicPartition(topic, number)
        for topic, count in counts.items()
        for number in range(before.get(topic, count), count)
    ]
