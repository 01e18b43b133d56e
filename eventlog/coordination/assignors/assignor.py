"""What an assignor is given, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import attrs

from eventlog.model import TopicPartition

Assignment = dict[str, list[TopicPartition]]


@attrs.frozen
class MemberSubscription:
    """What one member tells an assignor about itself.

    ``owned`` are the partitions it has now, ``generation`` is the one in which it got them (-1: none yet): when two
    members claim the same partition, the later generation is right. ``instance_id`` is its ``group_instance_id``.
    """

    topics: tuple[str, ...]
    owned: tuple[TopicPartition, ...] = ()
    generation: int = -1
    instance_id: str | None = None


@runtime_checkable
class Assignor(Protocol):
    """Shares partitions among members. One of your own goes into ``partition_assignment_strategy`` as an object.

    ``cooperative`` tells that members keep what stays theirs and go on reading during a rebalance (KIP-429); with an
    eager one all members give up everything first.
    """

    name: str
    cooperative: bool

    def assign(self, partition_counts: Mapping[str, int], members: Mapping[str, MemberSubscription]) -> Assignment:
        """Return each member's partitions, by member id; every member has an entry.

        ``partition_counts`` has the number of partitions of every topic that exists; a topic that a member subscribed
        to and that is missing there is left out. Must depend on its arguments alone: any process may ask.
        """
        ...
