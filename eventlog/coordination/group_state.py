"""A group's state: its members, what each should read (target) and what each has (owned). Pure: no files, no clock.

A rebalance gives every member a new target and the group a new generation. Then the group settles, one member at a
time: a member first gives up what is not its own any more, and takes what it should have once nobody has it. So at no
time two members own one partition, and nobody waits for the slowest member with partitions that stay (KIP-429,
KIP-848). With an eager assignor all members give up everything before anyone takes anything.

A member leaves the state when it says so, when it died, or when it was evicted: its partitions are free at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs

from eventlog.coordination.assignors.assignor import Assignor, MemberSubscription
from eventlog.files.json_fields import Fields
from eventlog.model import TopicPartition

Partitions = frozenset[TopicPartition]
_NOTHING: Partitions = frozenset()
_MOST = 2**63 - 1
MOST_PARTITIONS = 2**31
MEMBER_ID = r"(?!\.\.?$)[!-.0-~]{1,255}"  # it is the name of a file, too


@attrs.define
class Member:
    """One consumer. Times are in milliseconds; ``gone_at`` is when a static member was found dead, since the epoch.

    ``generation`` is the one for which it has given up what it must, and from which its ``owned`` are.
    """

    member_id: str
    client_id: str
    host: str
    pid: int
    topics: tuple[str, ...]
    strategies: tuple[str, ...]
    session_timeout_ms: int
    max_poll_interval_ms: int
    instance_id: str | None = None
    generation: int = -1
    owned: Partitions = _NOTHING
    target: Partitions = _NOTHING
    gone_at: int | None = None


@attrs.define
class GroupState:
    """The whole of a group, as one file holds it.

    ``partition_counts`` are those of the last rebalance. ``strangers`` are the ids of live members whose partitions
    nobody knows, since the state was lost: until they have joined again or died, nothing is taken. ``is_unassigned``
    tells that one left who could not rebalance the others: the next of them that looks does.
    """

    generation: int = 0
    strategy: str = ""
    cooperative: bool = True
    members: dict[str, Member] = attrs.Factory(dict)
    partition_counts: dict[str, int] = attrs.Factory(dict)
    strangers: frozenset[str] = frozenset()
    is_unassigned: bool = False

    # --- membership ---

    def with_instance(self, instance_id: str) -> Member | None:
        """Return the static member of this ``group_instance_id``."""
        return next((member for member in self.members.values() if member.instance_id == instance_id), None)

    def replace(self, old_id: str, member: Member) -> None:
        """Put a restarted static member in the place of its predecessor: same partitions, no rebalance. KIP-345."""
        member.target = self.members.pop(old_id).target
        self.members[member.member_id] = member

    def mark_gone(self, member_id: str, now_ms: int) -> None:
        """Keep a dead static member's partitions for it, until it is back or its session is over."""
        member = self.members[member_id]
        member.owned, member.generation, member.gone_at = _NOTHING, self.generation, now_ms

    def remove(self, member_ids: Collection[str]) -> bool:
        """Take members out; tell whether anybody was there. The caller then rebalances."""
        present = [member_id for member_id in member_ids if self.members.pop(member_id, None) is not None]
        return bool(present)

    # --- rebalancing ---

    def rebalance(self, assignor: Assignor, partition_counts: Mapping[str, int]) -> None:
        """Give every member a new target, and the group a new generation."""
        assignment = assignor.assign(partition_counts, self.subscriptions())
        self.generation += 1
        self.is_unassigned = False
        self.strategy, self.cooperative = assignor.name, assignor.cooperative
        self.partition_counts = dict(partition_counts)
        for member_id, member in self.members.items():
            member.target = frozenset(assignment.get(member_id, ()))

    def subscriptions(self) -> dict[str, MemberSubscription]:
        """Return what assignors are given, by member id.

        What a member should have counts as its own, even if the one before has not given it up yet: or else a second
        rebalance would tear apart what the first has not finished.
        """
        return {
            member_id: MemberSubscription(
                member.topics, tuple(sorted(member.target)), self.generation, member.instance_id
            )
            for member_id, member in self.members.items()
        }

    def to_revoke(self, member_id: str) -> Partitions:
        """Return what the member has to give up now."""
        member = self.members[member_id]
        if self.cooperative:
            return member.owned - member.target
        return member.owned if member.generation < self.generation else _NOTHING

    def revoke(self, member_id: str) -> Partitions:
        """Note that the member has given up what it had to, which is returned."""
        member = self.members[member_id]
        given_up = self.to_revoke(member_id)
        member.owned -= given_up
        member.generation = self.generation
        return given_up

    def to_take(self, member_id: str) -> Partitions:
        """Return what the member should have, has not, and nobody else has any more."""
        return self._to_take(member_id, self._owners())

    def _to_take(self, member_id: str, owners: Mapping[TopicPartition, str]) -> Partitions:
        member = self.members[member_id]
        if self.strangers or not (self.cooperative or self._all_gave_up()):
            return _NOTHING
        return frozenset(tp for tp in member.target - member.owned if tp not in owners)

    def take(self, member_id: str) -> Partitions:
        """Make the member the owner of what it can take, which is returned."""
        taken = self.to_take(member_id)
        member = self.members[member_id]
        member.owned |= taken
        return taken

    def waiting(self) -> Iterator[str]:
        """Yield the members that have something to give up or to take now."""
        owners = self._owners()
        for member_id, member in self.members.items():
            if member.gone_at is not None:
                continue
            behind = not self.cooperative and member.generation < self.generation
            if behind or self.is_unassigned or self.to_revoke(member_id) or self._to_take(member_id, owners):
                yield member_id

    def is_settled(self) -> bool:
        """Tell whether every member has exactly what it should have."""
        if self.strangers or self.is_unassigned:
            return False
        return all(member.owned == member.target for member in self.members.values() if member.gone_at is None)

    def _all_gave_up(self) -> bool:
        return all(
            member.generation == self.generation or member.gone_at is not None for member in self.members.values()
        )

    def _owners(self) -> dict[TopicPartition, str]:
        return {tp: member_id for member_id, member in self.members.items() for tp in member.owned}

    # --- checking ---

    def check(self) -> None:
        """Raise AssertionError unless the invariants hold: one owner, and one target, for each partition."""
        for kind in ("owned", "target"):
            found: list[TopicPartition] = [tp for member in self.members.values() for tp in getattr(member, kind)]
            assert len(found) == len(set(found)), f"{kind} twice"
        for member_id, member in self.members.items():
            assert member.member_id == member_id
            assert member.generation <= self.generation
            assert all(tp.topic in member.topics for tp in member.target)

    # --- as JSON ---

    def to_fields(self) -> dict[str, object]:
        """Return the state as JSON has it."""
        fields = attrs.asdict(self, recurse=False)
        fields["strangers"] = sorted(self.strangers)
        fields["members"] = [_member_fields(member) for member in self.members.values()]
        return fields

    @classmethod
    def from_fields(cls, fields: Mapping[str, object], path: str = "") -> GroupState:
        """Return the state that `to_fields` has described. Raises CorruptMetadataError, with ``path``, for others."""
        found = Fields(fields.items(), path)
        found.only(*_STATE_FIELDS)
        members = [_member(entry) for entry in found.inners("members")]
        counts = found.inner("partition_counts")
        state = cls(
            found.whole("generation", 0, _MOST), found.text("strategy"), found.flag("cooperative"),
            {member.member_id: member for member in members},
            {topic: counts.whole(topic, 0, MOST_PARTITIONS) for topic in counts},
            frozenset(found.texts("strangers")), found.flag("is_unassigned"),
        )  # fmt: skip
        owned = [tp for member in members for tp in member.owned]
        if len(state.members) < len(members) or len(set(owned)) < len(owned):
            found.wrong("members", "a list in which no member, and no partition that one owns, stands twice")
        if not all(map(_is_file_name, state.strangers)):
            found.wrong("strangers", "a list of members' ids")
        return state


_STATE_FIELDS = tuple(field.name for field in attrs.fields(GroupState))
_MEMBER_FIELDS = tuple(field.name for field in attrs.fields(Member))


def _member_fields(member: Member) -> dict[str, object]:
    fields = attrs.asdict(member, recurse=False)
    fields["owned"], fields["target"] = by_topic(member.owned), by_topic(member.target)
    return fields


def _member(fields: Fields) -> Member:
    fields.only(*_MEMBER_FIELDS)
    for name in ("instance_id", "gone_at"):
        fields.setdefault(name, None)
    return Member(
        fields.text("member_id", MEMBER_ID), fields.text("client_id"), fields.text("host"),
        fields.whole("pid", 0, _MOST), fields.texts("topics"), fields.texts("strategies"),
        fields.whole("session_timeout_ms", 0, _MOST), fields.whole("max_poll_interval_ms", 0, _MOST),
        None if fields["instance_id"] is None else fields.text("instance_id"),
        fields.whole("generation", -1, _MOST), _partitions(fields.inner("owned")), _partitions(fields.inner("target")),
        None if fields["gone_at"] is None else fields.whole("gone_at", 0, _MOST),
    )  # fmt: skip


def _partitions(fields: Fields) -> Partitions:
    found = []
    for topic, numbers in fields.items():
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < MOST_PARTITIONS for n in numbers):
            fields.wrong(topic, "a list of partitions' numbers")
        found += [TopicPartition(topic, number) for number in numbers]
    return frozenset(found)


def _is_file_name(member_id: str) -> bool:
    return re.fullmatch(MEMBER_ID, member_id) is not None


def by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[int]]:
    """Return the partitions' numbers by topic, in order.

    >>> by_topic([TopicPartition("t", 2), TopicPartition("t", 0)])
    {'t': [0, 2]}
    """
    found: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        found.setdefault(topic, []).append(number)
    return found
