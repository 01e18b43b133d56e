"""The sticky assignors give what Kafka's give (the cases of its AbstractStickyAssignorTest and its two children).

Kafka's cooperative assignor holds back what another member must give up first; ours returns the whole target. So each
case that Kafka plays over several rebalances holds here after one, and holds for both assignors alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import pytest

from eventlog.coordination.assignors.assignor import MemberSubscription
from eventlog.coordination.assignors.loads import Loads
from eventlog.coordination.assignors.sticky_assignor import CooperativeStickyAssignor, StickyAssignor
from eventlog.model import TopicPartition

Members = Mapping[str, MemberSubscription]
Shares = dict[str, str]

NOBODY = -1


@pytest.fixture(params=[StickyAssignor, CooperativeStickyAssignor], ids=lambda cls: cls.name)
def assignor(request: pytest.FixtureRequest) -> StickyAssignor:
    """Each of the two, which share one algorithm."""
    made = request.param()
    assert isinstance(made, StickyAssignor)
    return made


def partitions(text: str) -> tuple[TopicPartition, ...]:
    """``"t1-0 t2-3"`` as partitions."""
    pairs = (word.rsplit("-", 1) for word in text.split())
    return tuple(TopicPartition(topic, int(number)) for topic, number in pairs)


def text(tps: Iterable[TopicPartition]) -> str:
    """Partitions as ``"t1-0 t2-3"``, sorted."""
    return " ".join(f"{tp.topic}-{tp.partition}" for tp in sorted(tps))


def member(topics: str, owned: str = "", generation: int = 1) -> MemberSubscription:
    return MemberSubscription(tuple(topics.split()), partitions(owned), generation if owned else NOBODY)


def shares(assignor: StickyAssignor, counts: Mapping[str, int], members: Members) -> Shares:
    """What each member gets, as text, after a look at its validity and balance."""
    assignment = assignor.assign(counts, members)
    check(counts, members, assignment)
    return {member_id: text(share) for member_id, share in assignment.items()}


def check(counts: Mapping[str, int], members: Members, assignment: Mapping[str, list[TopicPartition]]) -> None:
    """Everything is given out once, to subscribers only, and nothing could go to one that has two or more fewer."""
    wanted = {topic for subscription in members.values() for topic in subscription.topics} & counts.keys()
    given = [tp for share in assignment.values() for tp in share]
    assert sorted(given) == sorted(TopicPartition(topic, n) for topic in wanted for n in range(counts[topic]))
    assert assignment.keys() == members.keys()
    for member_id, share in assignment.items():
        topics = {tp.topic for tp in share}
        assert topics <= set(members[member_id].topics)
        for other, subscription in members.items():
            if topics & set(subscription.topics):
                assert len(assignment[other]) >= len(share) - 1, f"{member_id} could give to {other}"


def sizes(found: Shares) -> list[int]:
    return [len(share.split()) for share in found.values()]


def again(members: Members, found: Shares, generation: int = 1) -> dict[str, MemberSubscription]:
    """The same members, each with what it got."""
    return {
        member_id: member(" ".join(subscription.topics), found[member_id], generation)
        for member_id, subscription in members.items()
    }


FRESH = [
    pytest.param({}, {"c": ""}, {"c": ""}, id="no-topic"),
    pytest.param({}, {"c": "t"}, {"c": ""}, id="topic-does-not-exist"),
    pytest.param({"t": 0}, {"c": "t"}, {"c": ""}, id="topic-without-partitions"),
    pytest.param({"t": 3}, {"c": "t"}, {"c": "t-0 t-1 t-2"}, id="one-member"),
    pytest.param({"t": 2, "other": 2}, {"c": "t"}, {"c": "t-0 t-1"}, id="only-subscribed-topics"),
    pytest.param({"t1": 1, "t2": 2}, {"c": "t1 t2"}, {"c": "t1-0 t2-0 t2-1"}, id="two-topics"),
    pytest.param({"t": 1}, {"c1": "t", "c2": "t"}, {"c1": "t-0", "c2": ""}, id="one-is-idle"),
    pytest.param({"t": 2}, {"c1": "t", "c2": "t"}, {"c1": "t-0", "c2": "t-1"}, id="one-each"),
    pytest.param(
        {"t1": 3, "t2": 2},
        {"c1": "t1", "c2": "t1 t2", "c3": "t1"},
        {"c1": "t1-0 t1-2", "c2": "t2-0 t2-1", "c3": "t1-1"},
        id="mixed-topics",
    ),
    pytest.param(
        {"t1": 3, "t2": 3},
        {"c1": "t1 t2", "c2": "t2 t1"},
        {"c1": "t1-0 t1-2 t2-1", "c2": "t1-1 t2-0 t2-2"},
        id="six-partitions",
    ),
    pytest.param(
        {"t1": 2, "t2": 1, "t3": 2, "t4": 1, "t5": 2},
        {"c1": "t1 t2 t3 t4 t5", "c2": "t1 t3 t5", "c3": "t1 t3 t5", "c4": "t1 t2 t3 t4 t5"},
        {"c1": "t2-0 t3-0", "c2": "t1-0 t3-1", "c3": "t1-1 t5-0", "c4": "t4-0 t5-1"},
        id="where-round-robin-does-worse",
    ),
    pytest.param(
        {"t1": 6, "t2": 7, "t3": 2},
        dict.fromkeys(("c0", "c1", "c2"), "t1 t2 t3"),
        {
            "c0": "t1-0 t1-3 t2-0 t2-3 t2-6",
            "c1": "t1-1 t1-4 t2-1 t2-4 t3-0",
            "c2": "t1-2 t1-5 t2-2 t2-5 t3-1",
        },
        id="equal-subscriptions",
    ),
    pytest.param(
        {"t1": 6, "t2": 7, "t3": 2},
        {"c0": "t1 t2 t3", "c1": "t1 t2 t3", "c2": "t1 t3"},
        {
            "c0": "t1-5 t2-0 t2-2 t2-4 t2-6",
            "c1": "t1-3 t2-1 t2-3 t2-5 t3-0",
            "c2": "t1-0 t1-1 t1-2 t1-4 t3-1",
        },
        id="unequal-subscriptions",
    ),
]


@pytest.mark.parametrize(("counts", "topics", "expected"), FRESH)
def test_a_new_group_gets_what_kafkas_gets(
    assignor: StickyAssignor, counts: dict[str, int], topics: dict[str, str], expected: Shares
) -> None:
    """With nothing owned, partitions go in order to who has least; and a second time everything stays."""
    members = {member_id: member(subscribed) for member_id, subscribed in topics.items()}
    assert shares(assignor, counts, members) == expected
    assert shares(assignor, counts, again(members, expected)) == expected


OWNED = [
    pytest.param(
        {"t1": 2, "t2": 3},
        {"c1": "t1-0 t2-1", "c2": "t1-1 t2-2"},
        {"c1": "t1-0 t2-0 t2-1", "c2": "t1-1 t2-2"},
        id="one-of-those-with-the-quota-gets-one-more",
    ),
    pytest.param(
        {"t1": 2, "t2": 2},
        {"c1": "t1-0 t2-0", "c2": "t1-1 t2-1", "c3": ""},
        {"c1": "t1-0", "c2": "t1-1 t2-1", "c3": "t2-0"},
        id="more-have-one-more-than-may",
    ),
    pytest.param(
        {"t1": 2, "t2": 3},
        {"c1": "t1-0", "c2": "t1-1", "c3": ""},
        {"c1": "t1-0 t2-1", "c2": "t1-1 t2-2", "c3": "t2-0"},
        id="all-are-under-the-quota",
    ),
    pytest.param({"t": 3}, {"c1": "t-0 t-1 t-2", "c2": ""}, {"c1": "t-0 t-1", "c2": "t-2"}, id="a-second-member-joins"),
    pytest.param({"t": 3}, {"c2": "t-2"}, {"c2": "t-0 t-1 t-2"}, id="the-other-member-left"),
    pytest.param(
        {"t1": 3, "t2": 4},
        {"c1": "t1-0 t1-2 t2-1 t2-3", "c2": "t1-1 t2-0 t2-2", "c3": "", "c4": ""},
        {"c1": "t1-0 t2-1", "c2": "t1-1 t2-0", "c3": "t1-2 t2-3", "c4": "t2-2"},
        id="two-members-join",
    ),
    pytest.param(
        {"t1": 3, "t2": 4},
        {"c3": "t1-2 t2-3", "c4": "t2-2"},
        {"c3": "t1-0 t1-2 t2-1 t2-3", "c4": "t1-1 t2-0 t2-2"},
        id="two-members-left",
    ),
    pytest.param(
        {"t": 4},
        {"c1": "t-0 t-1", "c2": "t-2", "c3": ""},
        {"c1": "t-0 t-1", "c2": "t-2", "c3": "t-3"},
        id="all-have-their-quota",
    ),
    pytest.param(
        {"t": 3}, {"c1": "t-0", "c2": "t-1", "c3": ""}, {"c1": "t-0", "c2": "t-1", "c3": "t-2"}, id="one-is-new"
    ),
    pytest.param({"t": 2, "other": 2}, {"c": "t-0 t-1 other-0"}, {"c": "t-0 t-1"}, id="a-topic-no-longer-subscribed"),
    pytest.param({"t": 2}, {"c": "t-0 t-1 t-2 gone-0"}, {"c": "t-0 t-1"}, id="partitions-that-are-gone"),
]


@pytest.mark.parametrize(("counts", "owned", "expected"), OWNED)
def test_equal_members_keep_what_kafkas_keep(
    assignor: StickyAssignor, counts: dict[str, int], owned: dict[str, str], expected: Shares
) -> None:
    """Members keep what they own up to their quota; the rest goes in turn to those that have least."""
    topics = " ".join(topic for topic in counts if topic != "other")
    members = {member_id: member(topics, had) for member_id, had in owned.items()}
    assert shares(assignor, counts, members) == expected


def test_what_moves_is_spread_over_the_topics(assignor: StickyAssignor) -> None:
    """Members that join and leave have equally many partitions of each topic, not one topic each (KAFKA-16277)."""
    counts, members = {"t1": 12, "t2": 12}, {"c1": member("t1 t2")}
    for joining, leaving in ((["c2"], []), (["c3", "c4"], []), ([], ["c1", "c2"])):
        members = again(members, shares(assignor, counts, members)) | dict.fromkeys(joining, member("t1 t2"))
        for member_id in leaving:
            del members[member_id]
        share = shares(assignor, counts, members)
        assert {had.count("t1-") for had in share.values()} == {12 // len(members)}
        assert {had.count("t2-") for had in share.values()} == {12 // len(members)}


def test_a_topic_added_or_removed_moves_nothing_of_another(assignor: StickyAssignor) -> None:
    """A new topic is added to what members have; when the old one goes, they keep of the new one what they can."""
    members = {"c1": member("t"), "c2": member("t")}
    first = shares(assignor, {"t": 3}, members)
    both = {member_id: member("t t2", first[member_id]) for member_id in members}
    second = shares(assignor, {"t": 3, "t2": 3}, both)
    assert sizes(second) == [3, 3]
    assert all(set(first[member_id].split()) <= set(second[member_id].split()) for member_id in members)
    only = {member_id: member("t2", second[member_id]) for member_id in members}
    third = shares(assignor, {"t2": 3}, only)
    assert sorted(sizes(third)) == [1, 2]
    assert all(set(third[member_id].split()) <= set(second[member_id].split()) for member_id in members)


def test_a_topic_that_was_deleted_is_left_out(assignor: StickyAssignor) -> None:
    """Of three subscribed topics the two that exist are shared; when the only topic is gone, nothing is left."""
    found = shares(assignor, {"t1": 1, "t3": 100}, {"c": member("t1 t2 t3")})
    assert sizes(found) == [101]
    assert shares(assignor, {}, {"c": member("t1 t3", found["c"])}) == {"c": ""}


def test_a_member_without_partitions_takes_over_from_one_that_left(assignor: StickyAssignor) -> None:
    """Of four members of three partitions one is idle; when a busy one leaves, the idle one takes its place."""
    members = {f"c{number}": member("t") for number in (1, 2, 3, 4)}
    first = shares(assignor, {"t": 3}, members)
    assert first == {"c1": "t-0", "c2": "t-1", "c3": "t-2", "c4": ""}
    left = again(members, first)
    del left["c1"]
    assert shares(assignor, {"t": 3}, left) == {"c2": "t-1", "c3": "t-2", "c4": "t-0"}


@pytest.mark.parametrize("leaving", range(1, 20))
def test_a_staircase_of_subscriptions_stays_balanced_when_one_leaves(assignor: StickyAssignor, leaving: int) -> None:
    """When one of nineteen members of one to nineteen topics each leaves, the rest is balanced, and stays so."""
    counts = {f"t{number:02}": number for number in range(1, 20)}
    members = {f"c{number:02}": member(" ".join(list(counts)[:number])) for number in range(1, 20)}
    left = again(members, shares(assignor, counts, members))
    del left[f"c{leaving:02}"]
    after = shares(assignor, counts, left)
    assert shares(assignor, counts, again(left, after)) == after


def test_equal_members_of_many_topics_keep_theirs_when_one_leaves(assignor: StickyAssignor) -> None:
    """When one of eight equal members leaves, the others keep all of their partitions of fourteen topics."""
    counts = {f"t{number:02}": number for number in range(1, 15)}
    members = {f"c{number}": member(" ".join(counts)) for number in range(1, 9)}
    first = shares(assignor, counts, members)
    left = again(members, first)
    del left["c5"]
    second = shares(assignor, counts, left)
    assert all(set(first[member_id].split()) <= set(second[member_id].split()) for member_id in left)


def test_a_balanced_assignment_stays_though_a_chain_of_moves_would_level_it(assignor: StickyAssignor) -> None:
    """Nothing moves while no single partition could go to a member with two fewer: 1, 2 and 3 stay, as in Kafka."""
    members = {
        "c1": member("t1 t2", "t1-0"),
        "c2": member("t1 t2 t3 t4", "t2-0 t3-0"),
        "c3": member("t2 t3 t4 t5 t6", "t4-0 t5-0 t6-0"),
    }
    counts = {f"t{number}": 1 for number in range(1, 7)}
    assert shares(assignor, counts, members) == {"c1": "t1-0", "c2": "t2-0 t3-0", "c3": "t4-0 t5-0 t6-0"}


def test_partitions_of_one_topic_are_not_exchanged(assignor: StickyAssignor) -> None:
    """Where a member gives up a partition and another gets in its stead one of the same topic, both stay as they are.

    The free t1-2 goes to c1 at first, which then has too much and would give up t1-0 of its own.
    """
    members = {"c0": member("t2"), "c1": member("t0 t1 t2", "t1-0 t1-1"), "c2": member("t0 t1 t2", "t2-0")}
    assert shares(assignor, {"t0": 1, "t1": 3, "t2": 1}, members) == {
        "c0": "t2-0",
        "c1": "t1-0 t1-1",
        "c2": "t0-0 t1-2",
    }


def test_what_nobody_owned_moves_first(assignor: StickyAssignor) -> None:
    """Balance is sought among the free partitions before anything is taken from its owner."""
    members = {"c0": member("t0 t1", "t0-0 t0-2"), "c1": member("t0 t1"), "c2": member("t1"), "c3": member("t0")}
    found = shares(assignor, {"t0": 3, "t1": 2}, members)
    assert found["c0"] == "t0-0 t0-2"


def test_a_member_that_subscribes_to_more_takes_its_part(assignor: StickyAssignor) -> None:
    """A member without topics that subscribes to one takes a partition of it if that is fairer."""
    counts = {f"t{number}": 1 for number in range(1, 5)}
    members = {"c0": member(""), "c1": member("t1"), "c2": member("t2 t3 t4")}
    assert shares(assignor, counts, members) == {"c0": "", "c1": "t1-0", "c2": "t2-0 t3-0 t4-0"}
    owned = {"c0": member("t2"), "c1": member("t1", "t1-0"), "c2": member("t2 t3 t4", "t2-0 t3-0 t4-0")}
    assert shares(assignor, counts, owned) == {"c0": "t2-0", "c1": "t1-0", "c2": "t3-0 t4-0"}


def test_partitions_of_an_unsubscribed_topic_go_where_kafka_lets_them_go(assignor: StickyAssignor) -> None:
    """What a member may not keep goes to others, and they give it other partitions in exchange for balance.

    Kafka's cooperative assignor comes to the second of these in two rebalances, by way of what is common to both.
    """
    counts, all_topics = {"t1": 6, "t2": 7, "t3": 2}, "t1 t2 t3"
    before = {
        "c0": member(all_topics, "t1-0 t1-1 t1-2 t1-3 t1-4"),
        "c1": member(all_topics, "t1-5 t2-0 t2-1 t2-2 t2-3"),
        "c2": member("t1 t3", "t2-4 t2-5 t2-6 t3-0 t3-1"),
    }
    assert shares(assignor, counts, before) == {
        "c0": "t1-2 t1-3 t1-4 t2-4 t2-6",
        "c1": "t2-0 t2-1 t2-2 t2-3 t2-5",
        "c2": "t1-0 t1-1 t1-5 t3-0 t3-1",
    }
    revoked = {
        "c0": member(all_topics, "t1-2 t1-3 t1-4"),
        "c1": member(all_topics, "t2-0 t2-1 t2-2 t2-3"),
        "c2": member("t1 t3", "t3-0 t3-1"),
    }
    assert shares(assignor, counts, revoked) == {
        "c0": "t1-2 t1-3 t1-4 t2-4 t2-5",
        "c1": "t2-0 t2-1 t2-2 t2-3 t2-6",
        "c2": "t1-0 t1-1 t1-5 t3-0 t3-1",
    }


# --- claims of different generations ---


@pytest.mark.parametrize("older", [9, 8, NOBODY])
def test_a_claim_of_an_older_generation_counts_for_nothing(assignor: StickyAssignor, older: int) -> None:
    """Two claim the same three partitions: the later generation keeps them, the other gets the other three."""
    members = {
        "c1": member("t t2", "t-0 t-2 t2-1", generation=10),
        "c2": member("t t2", "t-0 t-2 t2-1", generation=older),
    }
    assert shares(assignor, {"t": 3, "t2": 3}, members) == {"c1": "t-0 t-2 t2-1", "c2": "t-1 t2-0 t2-2"}


def test_an_older_claim_is_good_where_there_is_no_later_one(assignor: StickyAssignor) -> None:
    """Generations decide partition by partition: a member behind the others keeps what nobody else claims."""
    both = {
        "c1": member("t t2", "t-0 t-1 t2-1", generation=10),
        "c2": member("t t2", "t-0 t2-1 t2-2", generation=8),
    }
    assert shares(assignor, {"t": 3, "t2": 3}, both) == {"c1": "t-0 t-1 t2-1", "c2": "t-2 t2-0 t2-2"}
    topics = "t t2 t3"
    three = {
        "c1": member(topics, "t-0 t2-0 t3-0", generation=10),
        "c2": member(topics, "t-1 t2-1 t3-1", generation=9),
        "c3": member(topics, "t2-1 t3-0 t3-2", generation=8),
    }
    assert shares(assignor, {"t": 3, "t2": 3, "t3": 3}, three) == {
        "c1": "t-0 t2-0 t3-0",
        "c2": "t-1 t2-1 t3-1",
        "c3": "t-2 t2-2 t3-2",
    }


def test_members_of_different_generations_keep_all_when_one_joins(assignor: StickyAssignor) -> None:
    """A new member gets what nobody had; the others, each of another generation, keep what they have."""
    topics, counts = "t t2 t3 t1", {"t": 3, "t1": 3, "t2": 3, "t3": 3}
    members = {
        "c1": member(topics),
        "c2": member(topics, "t-0 t2-0 t1-0", generation=9),
        "c3": member(topics, "t3-2 t2-2 t1-1", generation=8),
        "c4": member(topics, "t3-1 t-1 t-2", generation=7),
    }
    assert shares(assignor, counts, members) == {
        "c1": "t1-2 t2-1 t3-0",
        "c2": "t-0 t1-0 t2-0",
        "c3": "t1-1 t2-2 t3-2",
        "c4": "t-1 t-2 t3-1",
    }


@pytest.mark.parametrize(
    ("count", "expected"),
    [(3, {"c1": "t-1", "c2": "t-2", "c3": "t-0"}), (4, {"c1": "t-1 t-3", "c2": "t-2", "c3": "t-0"})],
)
def test_a_partition_claimed_twice_in_one_generation_belongs_to_neither(
    assignor: StickyAssignor, count: int, expected: Shares
) -> None:
    """Two that claim one partition in the same generation both lose it, and keep their others."""
    members = {"c1": member("t", "t-0 t-1"), "c2": member("t", "t-0 t-2"), "c3": member("t")}
    assert shares(assignor, {"t": count}, members) == expected


def test_a_later_claim_is_good_though_two_older_ones_contradict_each_other(assignor: StickyAssignor) -> None:
    """Only the latest generation counts, in whatever order the claims come."""
    claims = {"c1": ("t-0 t-1", 1), "c2": ("t-0 t-2", 1), "c3": ("t-0 t-3", 2)}
    for order in itertools.permutations(claims):
        members = {member_id: member("t", *claims[member_id]) for member_id in order}
        assert shares(assignor, {"t": 6}, members) == {"c1": "t-1 t-4", "c2": "t-2 t-5", "c3": "t-0 t-3"}


@pytest.mark.parametrize("generations", list(itertools.permutations((1, 2, 3))))
def test_of_three_claims_among_unequal_members_the_latest_counts(
    assignor: StickyAssignor, generations: tuple[int, int, int]
) -> None:
    """The latest of three owners has the partition; what is more than its part then goes to who has least."""
    owned = {"c0": "t-0 t-2", "c1": "t-1 t-2 t-3", "c2": "t-2 t-4 t-5"}
    claims = zip(owned.items(), generations, strict=True)
    members = {member_id: member("t", had, generation) for (member_id, had), generation in claims}
    found = shares(assignor, {"t": 6, "t1": 1}, {**members, "c3": member("t1", "t1-0", generation=2)})
    if generations[1] == 3:  # it has 1, 2 and 3, and gives 1
        assert found == {"c0": "t-0 t-1", "c1": "t-2 t-3", "c2": "t-4 t-5", "c3": "t1-0"}
    else:
        assert found == {"c0": "t-0 t-2", "c1": "t-1 t-3", "c2": "t-4 t-5", "c3": "t1-0"}


@pytest.mark.parametrize("equal", [True, False])
def test_a_member_returns_with_old_claims(assignor: StickyAssignor, equal: bool) -> None:
    """A member that missed a generation claims what another has got since: that one keeps it, and both have six."""
    counts, narrow = {"t": 6, "t2": 6}, "t t2" if equal else "t"
    members = {"c1": member("t t2"), "c2": member(narrow), "c3": member("t t2")}
    first = shares(assignor, counts, members)
    assert sizes(first) == [4, 4, 4]
    two = again(members, first)
    del two["c3"]
    second = shares(assignor, counts, two)
    assert sizes(second) == [6, 6]
    assert set(first["c2"].split()) <= set(second["c2"].split())
    assert not equal or set(first["c1"].split()) <= set(second["c1"].split())
    back = {"c2": member(narrow, second["c2"], generation=2), "c3": member("t t2", first["c3"], generation=1)}
    third = shares(assignor, counts, back)
    assert sizes(third) == [6, 6]
    assert third["c2"] == second["c2"]


@pytest.mark.parametrize("equal", [True, False])
def test_two_members_return_with_old_claims(assignor: StickyAssignor, equal: bool) -> None:
    """One member has had everything meanwhile; all three have four again, and that one only its own."""
    counts = {"t": 4, "t2": 4, "t3": 4}
    narrow, wider = ("t t2 t3", "t t2 t3") if equal else ("t", "t t2")
    members = {"c1": member(narrow), "c2": member("t t2 t3"), "c3": member(wider)}
    first = shares(assignor, counts, members)
    assert sizes(first) == [4, 4, 4]
    alone = shares(assignor, counts, {"c2": member("t t2 t3", first["c2"])})
    assert sizes(alone) == [12]
    back = again(members, first) | {"c2": member("t t2 t3", alone["c2"], generation=2)}
    assert sizes(shares(assignor, counts, back)) == [4, 4, 4]


@pytest.mark.parametrize("equal", [True, False])
def test_later_claims_win_over_contradicting_older_ones(assignor: StickyAssignor, equal: bool) -> None:
    """Two of the later generation end with four of their six each, and the older claims get what they give up."""
    narrow, wider = ("t t2 t3", "t t2 t3") if equal else ("t", "t t2")
    old = "t-0 t-1 t-2 t2-2 t2-3 t3-0" if equal else "t-0 t-1 t-2 t-3"
    second, third = "t-0 t-1 t2-0 t2-1 t2-2 t2-3", "t-2 t-3 t3-0 t3-1 t3-2 t3-3"
    members = {
        "c1": member(narrow, old, generation=1),
        "c2": member(wider, second, generation=2),
        "c3": member("t t2 t3", third, generation=2),
    }
    found = shares(assignor, {"t": 4, "t2": 4, "t3": 4}, members)
    assert sizes(found) == [4, 4, 4]
    assert set(found["c2"].split()) <= set(second.split())
    assert set(found["c3"].split()) <= set(third.split())


def test_a_member_that_has_no_generation_keeps_what_nobody_else_claims(assignor: StickyAssignor) -> None:
    """Partitions owned in no known generation stay, when they are claimed once."""
    members = {"c1": member("t", "t-0 t-2"), "c2": member("t", "t-1", generation=NOBODY), "c3": member("t")}
    assert shares(assignor, {"t": 3}, members) == {"c1": "t-0", "c2": "t-1", "c3": "t-2"}


# --- size ---


@pytest.mark.parametrize("equal", [True, False])
def test_a_large_group_is_shared_evenly_and_stays(assignor: StickyAssignor, equal: bool) -> None:
    """A hundred members of 20,000 partitions have 200 each, and a second time nothing moves."""
    counts = {f"t{number:03}": 200 for number in range(100)}
    everything = " ".join(counts)
    members = {f"c{number:03}": member(everything) for number in range(100)}
    if not equal:
        members["c099"] = member("t000")
    found = shares(assignor, counts, members)
    assert set(sizes(found)) == {200}
    assert shares(assignor, counts, again(members, found)) == found


def test_loads_know_the_least_of_any_set() -> None:
    """After each change, the least loaded member of every set is the one that a plain search finds."""
    plain = [3, 1, 1, 0, 7]
    loads = Loads(plain)
    for member_number, by in ((3, +1), (1, -1), (4, -7), (0, +2), (2, +1), (3, +1), (4, +5)):
        loads.change(member_number, by)
        plain[member_number] += by
        loads.check()
        for among in range(1, 1 << len(plain)):
            inside = [number for number in range(len(plain)) if among >> number & 1]
            assert loads.least(among) == min(inside, key=lambda number: (plain[number], number))
    with pytest.raises(ValueError, match="none of these"):
        loads.least(0)
