"""Settings become assignors, and a group agrees on one, as in Kafka's group coordinator."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.coordination.assignors.assignor import Assignment, Assignor, MemberSubscription
from eventlog.coordination.assignors.choose import BUILT_IN, choose, resolve
from eventlog.errors import InconsistentGroupProtocolError, InvalidConfigError


class EverythingToTheFirst:
    """An assignor of a user's own."""

    def __init__(self, **parts: Any) -> None:
        self.name = "first"
        self.cooperative = False
        vars(self).update(parts)

    def assign(self, partition_counts: Mapping[str, int], members: Mapping[str, MemberSubscription]) -> Assignment:
        return {member_id: [] for member_id in members}


@pytest.mark.parametrize(
    ("name", "cooperative"),
    [("range", False), ("roundrobin", False), ("sticky", False), ("cooperative-sticky", True)],
)
def test_the_built_in_assignors_have_kafkas_names(name: str, cooperative: bool) -> None:
    """Each of Kafka's four names means an assignor of that name; only cooperative-sticky is cooperative."""
    assignor = resolve(name)
    assert isinstance(assignor, Assignor)
    assert (assignor.name, assignor.cooperative) == (name, cooperative)
    assert len(BUILT_IN) == 4


def test_an_assignor_of_ones_own_is_taken_as_it_is() -> None:
    """An object with name, cooperative and assign() means itself."""
    mine = EverythingToTheFirst()
    assert resolve(mine) is mine
    assert resolve(BUILT_IN["range"]) is BUILT_IN["range"]


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("stikcy", "give one of 'range', 'roundrobin', 'sticky', 'cooperative-sticky'"),
        ("", "give one of 'range'"),
        ("org.apache.kafka.clients.consumer.RangeAssignor", "give one of 'range'"),
        (EverythingToTheFirst, r"give an instance, EverythingToTheFirst\(\), not the class"),
        (type(BUILT_IN["range"]), r"give an instance, RangeAssignor\(\)"),
        (None, "has a name"),
        (7, "has a name"),
        (["range"], "has a name"),
        (EverythingToTheFirst(name=""), "has a name"),
        (EverythingToTheFirst(name=b"first"), "has a name"),
        (EverythingToTheFirst(cooperative=None), "True or False"),
        (EverythingToTheFirst(assign=None), r"assign\(partition_counts, members\)"),
    ],
)
def test_what_is_no_assignor_is_refused_with_a_hint(setting: object, hint: str) -> None:
    """A wrong setting is an error that shows it, and says what to give instead."""
    with pytest.raises(InvalidConfigError, match=hint) as caught:
        resolve(setting)
    assert f"partition_assignment_strategy={setting!r} is not possible" in str(caught.value)


@pytest.mark.parametrize(
    ("preferences", "chosen"),
    [
        ([["range"]], "range"),
        ([["range", "roundrobin"], ["range", "roundrobin"]], "range"),
        ([["range", "roundrobin"], ["roundrobin"]], "roundrobin"),
        ([["range", "roundrobin"], ["roundrobin", "range"], ["roundrobin", "range"]], "roundrobin"),
        ([["sticky", "range"], ["sticky", "roundrobin", "range"], ["range", "roundrobin"]], "range"),
        ([["cooperative-sticky", "range"], ["range", "cooperative-sticky"]], "cooperative-sticky"),
        ([["mine", "range"], ["range", "mine"], ["mine", "range"]], "mine"),
    ],
)
def test_the_assignor_that_all_know_and_most_prefer_is_chosen(preferences: list[list[str]], chosen: str) -> None:
    """Members vote for the first name that all know; of equally many votes the first by alphabet wins."""
    for order in itertools.permutations(preferences):
        assert choose({f"m{number}": names for number, names in enumerate(order)}, group="g") == chosen


NAMES = st.lists(st.sampled_from(["range", "roundrobin", "sticky", "mine"]), min_size=1, max_size=4, unique=True)


@given(st.lists(NAMES, min_size=1, max_size=6))
def test_no_other_assignor_has_more_votes(lists: list[list[str]]) -> None:
    """What is chosen is in every list, and no name in every list is the first such of more members."""
    common = [name for name in lists[0] if all(name in names for names in lists)]
    members = {f"m{number}": names for number, names in enumerate(lists)}
    if not common:
        with pytest.raises(InconsistentGroupProtocolError):
            choose(members, group="g")
        return

    def votes(name: str) -> int:
        return sum(min(common, key=names.index) == name for names in lists)

    chosen = choose(members, group="g")
    assert chosen in common
    assert all((votes(name), chosen) <= (votes(chosen), name) for name in common)


def test_without_a_common_assignor_the_error_names_every_list() -> None:
    """The error tells the group, and each list once with its members: nobody has to ask who is different."""
    preferences = {"m3": ["range"], "m1": ["range"], "m2": ["sticky", "mine"], "m0": ["range"]}
    with pytest.raises(InconsistentGroupProtocolError) as caught:
        choose(preferences, group="billing")
    assert caught.value.group == "billing"
    assert str(caught.value) == (
        "no assignor is known to all members of the group (m0 and 2 more: ['range']; m2: ['sticky', 'mine'])"
        " [group='billing']; give all members one partition_assignment_strategy in common"
    )


@pytest.mark.parametrize("preferences", [{}, {"m1": []}, {"m1": ["range"], "m2": []}])
def test_who_knows_no_assignor_has_none_in_common(preferences: dict[str, list[str]]) -> None:
    """A group of nobody, or with a member that knows none, has no assignor."""
    with pytest.raises(InconsistentGroupProtocolError, match="no assignor is known to all members"):
        choose(preferences, group="g")
