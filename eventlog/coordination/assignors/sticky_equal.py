"""Sticky sharing among members that all subscribed to the same topics."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping

from eventlog.coordination.assignors.assignor import Assignment
from eventlog.model import TopicPartition


def share_equally(partitions: Collection[TopicPartition], owned: Mapping[str, Iterable[TopicPartition]]) -> Assignment:
    """Return shares that differ by at most one, with as few partitions moved as that allows.

    ``owned`` has an entry for each member, and no partition twice. Kafka's ``AbstractStickyAssignor``, in the case that
    it calls constrained. Time is in proportion to the partitions, but for sorting.

    >>> have = [TopicPartition("t", number) for number in range(3)]
    >>> shares = share_equally(have, {"a": have, "b": []})
    >>> [tp.partition for tp in shares["a"]], [tp.partition for tp in shares["b"]]
    ([0, 1], [2])
    """
    quota, surplus = divmod(len(partitions), len(owned))
    shares = _keep(owned, quota, surplus)
    kept = {tp for share in shares.values() for tp in share}
    _fill(shares, [tp for tp in partitions if tp not in kept], quota)
    return shares


def _keep(owned: Mapping[str, Iterable[TopicPartition]], quota: int, surplus: int) -> Assignment:
    """Let members keep what they own up to the quota, and ``surplus`` of them one more.

    By number before topic, so that what is given up is spread over the topics (KAFKA-16277). Any order of the members
    moves equally few; this one gives the result of Kafka's own tests, whose order is that of a hash table.
    """
    shares: Assignment = {}
    for member_id in sorted(owned, reverse=True):
        mine = sorted(owned[member_id], key=_number_then_topic)
        has_more = len(mine) > quota and surplus > 0
        surplus -= has_more
        shares[member_id] = mine[: quota + has_more]
    return shares


def _number_then_topic(tp: TopicPartition) -> tuple[int, str]:
    return tp.partition, tp.topic


def _fill(shares: Assignment, free: Iterable[TopicPartition], quota: int) -> None:
    """Deal out what nobody keeps: in turn to members under the quota, then one each to those that have it."""
    order = sorted(shares)
    under = deque(member_id for member_id in order if len(shares[member_id]) < quota)
    filled = deque(member_id for member_id in order if len(shares[member_id]) == quota)
    for tp in free:
        member_id = (under or filled).popleft()
        shares[member_id].append(tp)
        size = len(shares[member_id])
        if size < quota:
            under.append(member_id)
        elif size == quota:
            filled.append(member_id)
