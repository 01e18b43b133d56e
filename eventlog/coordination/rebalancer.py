"""Gives every member of a group a new target: which assignor they share, and what there is to share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from eventlog.coordination.assignors.assignor import Assignor
from eventlog.coordination.assignors.choose import BUILT_IN, choose
from eventlog.coordination.group_state import GroupState
from eventlog.errors import IllegalStateError
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

    def counts(self, state: GroupState, topics: Collection[str] = ()) -> dict[str, int]:
        """Return how many partitions there are of each topic that members read, and of these."""
        read = {topic for member in state.members.values() for topic in member.topics}
        return self._partition_counts(read.union(topics))

    def rebalance(self, state: GroupState) -> None:
        """Give every member a new target. Raises InconsistentGroupProtocolError when no assignor is known to all."""
        if not state.members:
            state.generation += 1
            state.strategy, state.partition_counts = "", {}
            return
        name = choose({member_id: one.strategies for member_id, one in state.members.items()}, group=self._group)
        assignor = self._assignors.get(name) or BUILT_IN.get(name)
        if assignor is None:  # who leaves need not know the assignor of those who stay
            state.is_unassigned = True
            return
        counts = self.counts(state)
        self._begin(_new_partitions(state.partition_counts, counts))
        try:
            state.rebalance(assignor, counts)
        except (AttributeError, TypeError) as error:
            raise self._bad(name, f"returned no assignment ({error})") from error
        if name not in BUILT_IN:
            self._check_targets(state, name)

    def _check_targets(self, state: GroupState, name: str) -> None:
        """Refuse what an assignor of the caller's own made up, before anybody reads by it."""
        given: set[TopicPartition] = set()
        for member in state.members.values():
            for tp in member.target:
                exists = tp.topic in member.topics and 0 <= tp.partition < state.partition_counts.get(tp.topic, 0)
                if tp in given or not exists:
                    raise self._bad(name, f"gave {member.member_id} {tp.topic}-{tp.partition}, which is not to be had")
                given.add(tp)

    def _bad(self, name: str, what: str) -> IllegalStateError:
        return IllegalStateError(
            f"the assignor {name!r} {what}", group=self._group,
            hint="it must return a dict: for each member id, partitions of its topics, each given once",
        )  # fmt: skip


def _new_partitions(before: Mapping[str, int], counts: Mapping[str, int]) -> list[TopicPartition]:
    """Return the partitions that were added since the last rebalance."""
    return [
        TopicPartition(topic, number)
        for topic, count in counts.items()
        for number in range(before.get(topic, count), count)
    ]
