"""Which assignor a setting means, and which one a group of members with different settings uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from eventlog.coordination.assignors.assignor import Assignor
from eventlog.coordination.assignors.range_assignor import RangeAssignor
from eventlog.coordination.assignors.round_robin_assignor import RoundRobinAssignor
from eventlog.coordination.assignors.sticky_assignor import CooperativeStickyAssignor, StickyAssignor
from eventlog.errors import InconsistentGroupProtocolError, InvalidConfigError
from eventlog.texts import shown

_ALL: tuple[Assignor, ...] = (RangeAssignor(), RoundRobinAssignor(), StickyAssignor(), CooperativeStickyAssignor())
BUILT_IN: Mapping[str, Assignor] = {assignor.name: assignor for assignor in _ALL}  # they have no state: one for all


def resolve(setting: object) -> Assignor:
    """Return the assignor that an entry of ``partition_assignment_strategy`` means: a built-in one's name, or itself.

    Raises `InvalidConfigError` for another name, and for an object that lacks a part of `Assignor`.

    >>> resolve("cooperative-sticky").cooperative
    True
    """
    if isinstance(setting, str):
        if setting in BUILT_IN:
            return BUILT_IN[setting]
        raise _impossible(setting, f"give one of {', '.join(map(repr, BUILT_IN))}, or an assignor of your own")
    if isinstance(setting, type):
        raise _impossible(setting, f"give an instance, {setting.__name__}(), not the class")
    return _checked(setting)


def _checked(assignor: object) -> Assignor:
    name = getattr(assignor, "name", None)
    if not isinstance(name, str) or not name:
        raise _impossible(assignor, "an assignor has a name: a text that is not empty")
    if not isinstance(getattr(assignor, "cooperative", None), bool):
        raise _impossible(assignor, "an assignor has cooperative: True or False")
    if not isinstance(assignor, Assignor) or not callable(assignor.assign):
        raise _impossible(assignor, "an assignor has a method assign(partition_counts, members)")
    return assignor


def _impossible(setting: object, hint: str) -> InvalidConfigError:
    return InvalidConfigError(f"partition_assignment_strategy={shown(setting)} is not possible", hint=hint)


def choose(preferences: Mapping[str, Sequence[str]], *, group: str) -> str:
    """Return the name of the assignor that a group uses: one that all members know, the one with the most votes.

    ``preferences`` are each member's assignors, by member id, the preferred one first. Each member votes for the first
    that all know, as in Kafka's group coordinator; of equally many votes the first name by alphabet wins. Raises
    `InconsistentGroupProtocolError` when none is known to all.

    >>> choose({"a": ["cooperative-sticky", "range"], "b": ["range"]}, group="billing")
    'range'
    """
    known = [frozenset(names) for names in preferences.values()]
    candidates = frozenset.intersection(*known) if known else frozenset[str]()
    if not candidates:
        raise _inconsistent(preferences, group)
    votes = Counter(next(name for name in names if name in candidates) for names in preferences.values())
    return min(votes, key=lambda name: (-votes[name], name))


def _inconsistent(preferences: Mapping[str, Sequence[str]], group: str) -> InconsistentGroupProtocolError:
    """Name each list once, with the first of its members: a group may have thousands."""
    users: dict[tuple[str, ...], list[str]] = {}
    for member_id in sorted(preferences):
        users.setdefault(tuple(preferences[member_id]), []).append(member_id)
    lists = "; ".join(f"{_some(member_ids)}: {list(names)}" for names, member_ids in users.items())
    return InconsistentGroupProtocolError(
        f"no assignor is known to all members of the group ({lists or 'it has none'})",
        group=group,
        hint="give all members one partition_assignment_strategy in common",
    )


def _some(member_ids: Sequence[str]) -> str:
    first, others = member_ids[0], len(member_ids) - 1
    return f"{first} and {others} more" if others else first
