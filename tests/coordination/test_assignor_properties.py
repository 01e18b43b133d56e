"""What holds for every assignor and every group, compared with simple models that share no code with them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from random import Random

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.coordination.assignors.assignor import Assignment, Assignor, MemberSubscription
from eventlog.coordination.assignors.choose import BUILT_IN
from eventlog.model import TopicPartition

Members = dict[str, MemberSubscription]
Group = tuple[dict[str, int], Members]

TOPICS = ("t0", "t1", "t2", "t3")
EVERY = pytest.mark.parametrize("assignor", BUILT_IN.values(), ids=lambda assignor: assignor.name)
STICKY = pytest.mark.parametrize(
    "assignor", [BUILT_IN["sticky"], BUILT_IN["cooperative-sticky"]], ids=lambda assignor: assignor.name
)

counts_of_partitions = st.dictionaries(st.sampled_from(TOPICS), st.integers(0, 7))
subscriptions = st.lists(st.sampled_from([*TOPICS, "missing"]), unique=True).map(tuple)
claims = st.lists(
    st.builds(TopicPartition, st.sampled_from([*TOPICS, "missing"]), st.integers(0, 8)), max_size=12, unique=True
).map(tuple)


@st.composite
def groups(draw: st.DrawFn, *, equal: bool | None = None) -> Group:
    """A group with any claims, contradictory ones too; its subscriptions are equal, or not necessarily."""
    counts = draw(counts_of_partitions)
    one = draw(subscriptions)
    members: Members = {}
    for number in range(draw(st.integers(1, 6))):
        static = draw(st.booleans())
        members[draw(st.sampled_from("abc")) + str(number)] = MemberSubscription(
            topics=one if equal else draw(subscriptions),
            owned=draw(claims),
            generation=draw(st.integers(-1, 2)),
            instance_id=f"i{9 - number}" if static else None,
        )
    return counts, members


@st.composite
def owners(draw: st.DrawFn) -> Group:
    """A group whose members subscribed to different topics and own, without contradiction, nearly all of them."""
    counts = draw(st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 7), min_size=2))
    wanted = st.lists(st.sampled_from(sorted(counts)), unique=True, min_size=1)
    topics = draw(st.lists(wanted, min_size=2, max_size=6))
    owned: list[list[TopicPartition]] = [[] for _ in topics]
    for tp in (TopicPartition(topic, number) for topic in sorted(counts) for number in range(counts[topic])):
        readers = [had for had, mine in zip(owned, topics, strict=True) if tp.topic in mine]
        if readers and draw(st.integers(0, 4)):
            draw(st.sampled_from(readers)).append(tp)
    members = {
        f"m{number}": MemberSubscription(tuple(mine), tuple(had), generation=1)
        for number, (mine, had) in enumerate(zip(topics, owned, strict=True))
    }
    return counts, members


any_group = st.one_of(groups(), groups(equal=True), owners())


def existing(counts: Mapping[str, int], member: MemberSubscription) -> set[TopicPartition]:
    """The partitions that a member may get."""
    return {TopicPartition(topic, n) for topic in member.topics for n in range(counts.get(topic, 0))}


def kept(group: Group) -> dict[str, set[TopicPartition]]:
    """What each member has, of what it may still have: where two claim it, the only one of the latest generation."""
    counts, members = group
    found: dict[str, set[TopicPartition]] = {member_id: set() for member_id in members}
    for tp in {tp for member in members.values() for tp in member.owned}:
        claimants = [member_id for member_id, member in members.items() if tp in member.owned]
        latest = max(members[member_id].generation for member_id in claimants)
        right = [member_id for member_id in claimants if members[member_id].generation == latest]
        if len(right) == 1 and tp in existing(counts, members[right[0]]):
            found[right[0]].add(tp)
    return found


def settled(members: Members, assignment: Assignment, generation: int = 7) -> Members:
    """The members after they have taken what they were assigned."""
    return {
        member_id: attrs.evolve(member, owned=tuple(assignment[member_id]), generation=generation)
        for member_id, member in members.items()
    }


def as_sets(assignment: Assignment) -> dict[str, set[TopicPartition]]:
    return {member_id: set(share) for member_id, share in assignment.items()}


def kafkas_order(members: Members) -> list[str]:
    """Static members by instance id, then dynamic ones by member id."""
    static = sorted((member.instance_id, member_id) for member_id, member in members.items() if member.instance_id)
    dynamic = sorted(member_id for member_id, member in members.items() if not member.instance_id)
    return [member_id for _, member_id in static] + dynamic


# --- every assignor ---


@EVERY
@given(group=any_group)
def test_everything_is_given_out_once_and_to_subscribers_only(assignor: Assignor, group: Group) -> None:
    """Every member has an entry, and every partition of a subscribed topic is in exactly one, of a subscriber."""
    counts, members = group
    assignment = assignor.assign(counts, members)
    assert assignment.keys() == members.keys()
    given_out = [tp for share in assignment.values() for tp in share]
    assert len(given_out) == len(set(given_out))
    assert set(given_out) == set().union(*(existing(counts, member) for member in members.values()))
    assert all(set(share) <= existing(counts, members[member_id]) for member_id, share in assignment.items())


@EVERY
@given(group=any_group, source=st.randoms(use_true_random=False))
def test_only_what_is_given_decides_and_not_its_order(assignor: Assignor, group: Group, source: Random) -> None:
    """The same group in another order (members, topics, claims) gets the same, and its arguments stay as they are."""
    counts, members = group
    before = dict(counts), dict(members)
    assignment = assignor.assign(counts, members)
    assert (counts, members) == before

    def shuffled(items: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(source.sample(items, len(items)))

    others = {
        member_id: attrs.evolve(member, topics=shuffled(member.topics), owned=shuffled(member.owned))
        for member_id, member in shuffled(tuple(members.items()))  # type: ignore[misc]
    }
    again = assignor.assign(dict(shuffled(tuple(counts.items()))), others)  # type: ignore[arg-type]
    assert again == assignment


@EVERY
def test_a_group_of_nobody_gets_nothing(assignor: Assignor) -> None:
    """Without members there is an empty assignment, and no error."""
    assert assignor.assign({"t0": 3}, {}) == {}


@EVERY
@given(group=groups(equal=True))
def test_equal_members_have_equal_parts(assignor: Assignor, group: Group) -> None:
    """With equal subscriptions members differ by at most one partition; the range assignor by one of each topic."""
    counts, members = group
    sizes = [len(share) for share in assignor.assign(counts, members).values()]
    topics = len(next(iter(members.values())).topics)
    assert max(sizes) - min(sizes) <= (topics if assignor.name == "range" else 1)


# --- range and round robin: models ---


@given(group=any_group)
def test_a_range_is_a_piece_of_an_array_split(group: Group) -> None:
    """Each subscriber, in Kafka's order, has its piece of each topic as NumPy cuts an array into equal parts."""
    counts, members = group
    assignment = BUILT_IN["range"].assign(counts, members)
    for topic, count in counts.items():
        readers = [member_id for member_id in kafkas_order(members) if topic in members[member_id].topics]
        for member_id, piece in zip(readers, np.array_split(np.arange(count), max(1, len(readers))), strict=False):
            assert [tp.partition for tp in assignment[member_id] if tp.topic == topic] == piece.tolist()


@given(group=any_group)
def test_round_robin_passes_over_who_did_not_subscribe(group: Group) -> None:
    """A pointer goes round the members, and stops at the next subscriber of each partition in turn."""
    counts, members = group
    order, place = kafkas_order(members), 0
    expected: Assignment = {member_id: [] for member_id in members}
    for tp in sorted(set().union(*(existing(counts, member) for member in members.values()))):
        while tp.topic not in members[order[place % len(order)]].topics:
            place += 1
        expected[order[place % len(order)]].append(tp)
        place += 1
    assert BUILT_IN["roundrobin"].assign(counts, members) == expected


# --- sticky: balance ---


@STICKY
@given(group=any_group)
def test_no_partition_could_go_to_a_member_with_two_fewer(assignor: Assignor, group: Group) -> None:
    """Whatever was owned before, no single move makes the sizes more equal: balance is never traded for stickiness."""
    counts, members = group
    assignment = assignor.assign(counts, members)
    for (giver, share), taker in itertools.product(assignment.items(), members):
        if set(share) & existing(counts, members[taker]):
            assert len(assignment[taker]) >= len(share) - 1, f"{giver} could give to {taker}"


# --- sticky: stickiness ---


@STICKY
@given(group=any_group)
def test_what_is_settled_stays(assignor: Assignor, group: Group) -> None:
    """A second assignment of unchanged members moves nothing."""
    counts, members = group
    first = assignor.assign(counts, members)
    assert as_sets(assignor.assign(counts, settled(members, first))) == as_sets(first)


@STICKY
@given(group=groups(equal=True))
def test_equal_members_keep_as_much_as_balance_allows(assignor: Assignor, group: Group) -> None:
    """As many partitions stay as can: of each member up to the quota, and one more of as many as may have it."""
    counts, members = group
    total = len(existing(counts, next(iter(members.values()))))
    quota, surplus = divmod(total, len(members))
    before, after = kept(group), as_sets(assignor.assign(counts, members))
    possible = sum(min(len(had), quota) for had in before.values())
    possible += min(surplus, sum(len(had) > quota for had in before.values()))
    assert sum(len(had & after[member_id]) for member_id, had in before.items()) == possible


@STICKY
@settings(max_examples=400)
@given(group=any_group)
def test_nobody_loses_a_partition_of_a_topic_and_gets_another_one(assignor: Assignor, group: Group) -> None:
    """Partitions of one topic are alike for balance: who gives one up gets none of that topic."""
    before, after = kept(group), as_sets(assignor.assign(*group))
    for member_id, had in before.items():
        lost = {tp.topic for tp in had - after[member_id]}
        gained = {tp.topic for tp in after[member_id] - had}
        assert not lost & gained


@STICKY
@given(group=groups(equal=True), source=st.randoms(use_true_random=False))
def test_when_an_equal_member_leaves_only_its_own_partitions_move(
    assignor: Assignor, group: Group, source: Random
) -> None:
    """The others keep everything that they have."""
    counts, members = group
    first = assignor.assign(counts, members)
    left = settled(members, first)
    del left[source.choice(sorted(left))]
    second = as_sets(assignor.assign(counts, left))
    assert all(set(first[member_id]) <= share for member_id, share in second.items())


@STICKY
@given(group=groups(equal=True))
def test_when_an_equal_member_joins_nobody_else_gets_anything(assignor: Assignor, group: Group) -> None:
    """The others only give up, and only as much as the new member gets."""
    counts, members = group
    first = assignor.assign(counts, members)
    joined = settled(members, first)
    joined["new"] = MemberSubscription(next(iter(members.values())).topics)
    second = as_sets(assignor.assign(counts, joined))
    assert all(second[member_id] <= set(share) for member_id, share in first.items())


@STICKY
@given(group=any_group, more=counts_of_partitions)
def test_partitions_that_are_added_move_no_others_between_equal_members(
    assignor: Assignor, group: Group, more: dict[str, int]
) -> None:
    """Equal members keep everything when topics grow; among unequal ones the balance rule above holds."""
    counts, members = group
    grown = {topic: max(count, more.get(topic, 0)) for topic, count in counts.items()}
    first = assignor.assign(counts, members)
    second = as_sets(assignor.assign(grown, settled(members, first)))
    if len({frozenset(existing(grown, member)) for member in members.values()}) == 1:
        assert all(set(share) <= second[member_id] for member_id, share in first.items())
