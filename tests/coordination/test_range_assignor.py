"""The range assignor gives what Kafka's RangeAssignor gives (the cases of its RangeAssignorTest, without racks)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from eventlog.coordination.assignors.assignor import MemberSubscription
from eventlog.coordination.assignors.range_assignor import RangeAssignor

ONE_TWO = "topic1 topic2"


def member(topics: str, instance_id: str | None = None) -> MemberSubscription:
    return MemberSubscription(tuple(topics.split()), instance_id=instance_id)


def assign(counts: Mapping[str, int], members: Mapping[str, MemberSubscription]) -> dict[str, str]:
    """What each member gets, written as ``topic-partition``, in order."""
    assignment = RangeAssignor().assign(counts, members)
    return {
        member_id: " ".join(f"{tp.topic}-{tp.partition}" for tp in sorted(share))
        for member_id, share in assignment.items()
    }


CASES = [
    pytest.param({}, {"c1": ""}, {"c1": ""}, id="no-topic"),
    pytest.param({}, {"c1": "topic1"}, {"c1": ""}, id="topic-does-not-exist"),
    pytest.param({"topic1": 0}, {"c1": "topic1"}, {"c1": ""}, id="topic-without-partitions"),
    pytest.param({"topic1": 3}, {"c1": "topic1"}, {"c1": "topic1-0 topic1-1 topic1-2"}, id="one-member"),
    pytest.param(
        {"topic1": 3, "other": 3}, {"c1": "topic1"}, {"c1": "topic1-0 topic1-1 topic1-2"}, id="only-subscribed-topics"
    ),
    pytest.param({"topic1": 1, "topic2": 2}, {"c1": ONE_TWO}, {"c1": "topic1-0 topic2-0 topic2-1"}, id="two-topics"),
    pytest.param({"topic1": 1}, {"c1": "topic1", "c2": "topic1"}, {"c1": "topic1-0", "c2": ""}, id="one-is-idle"),
    pytest.param({"topic1": 2}, {"c1": "topic1", "c2": "topic1"}, {"c1": "topic1-0", "c2": "topic1-1"}, id="one-each"),
    pytest.param(
        {"topic1": 3, "topic2": 2},
        {"c1": "topic1", "c2": ONE_TWO, "c3": "topic1"},
        {"c1": "topic1-0", "c2": "topic1-1 topic2-0 topic2-1", "c3": "topic1-2"},
        id="mixed-topics",
    ),
    pytest.param(
        {"topic1": 3, "topic2": 3},
        {"c1": ONE_TWO, "c2": ONE_TWO},
        {"c1": "topic1-0 topic1-1 topic2-0 topic2-1", "c2": "topic1-2 topic2-2"},
        id="the-first-gets-one-more-of-each-topic",
    ),
    pytest.param(
        {"t1": 6, "t2": 7, "t3": 2},
        dict.fromkeys(("c0", "c1", "c2"), "t1 t2 t3"),
        {"c0": "t1-0 t1-1 t2-0 t2-1 t2-2 t3-0", "c1": "t1-2 t1-3 t2-3 t2-4 t3-1", "c2": "t1-4 t1-5 t2-5 t2-6"},
        id="equal-subscriptions",
    ),
    pytest.param(
        {"t1": 6, "t2": 7, "t3": 2},
        {"c0": "t1 t2 t3", "c1": "t1 t2 t3", "c2": "t1 t3"},
        {"c0": "t1-0 t1-1 t2-0 t2-1 t2-2 t2-3 t3-0", "c1": "t1-2 t1-3 t2-4 t2-5 t2-6 t3-1", "c2": "t1-4 t1-5"},
        id="unequal-subscriptions",
    ),
    pytest.param(
        {"t1": 5, "t2": 5, "t3": 5},
        dict.fromkeys(("c0", "c1", "c2"), "t1 t2 t3"),
        {
            "c0": "t1-0 t1-1 t2-0 t2-1 t3-0 t3-1",
            "c1": "t1-2 t1-3 t2-2 t2-3 t3-2 t3-3",
            "c2": "t1-4 t2-4 t3-4",
        },
        id="equal-numbers-of-partitions",
    ),
    pytest.param(
        {"t1": 5, "t2": 5, "t3": 5},
        {"c0": "t1 t2 t3", "c1": "t1 t2 t3", "c2": "t1 t3"},
        {
            "c0": "t1-0 t1-1 t2-0 t2-1 t2-2 t3-0 t3-1",
            "c1": "t1-2 t1-3 t2-3 t2-4 t3-2 t3-3",
            "c2": "t1-4 t3-4",
        },
        id="equal-numbers-of-partitions-unequal-subscriptions",
    ),
    pytest.param(
        {"t1": 6, "t2": 6, "t3": 2, "t4": 2},
        {"c0": "t1 t2", "c1": "t1 t2", "c2": "t3 t4", "c3": "t3 t4"},
        {
            "c0": "t1-0 t1-1 t1-2 t2-0 t2-1 t2-2",
            "c1": "t1-3 t1-4 t1-5 t2-3 t2-4 t2-5",
            "c2": "t3-0 t4-0",
            "c3": "t3-1 t4-1",
        },
        id="co-partitioned-pairs",
    ),
    pytest.param(
        {"t1": 6, "t2": 6, "t3": 2, "t4": 2},
        dict.fromkeys(("c0", "c1", "c2", "c3"), "t1 t2 t3 t4"),
        {
            "c0": "t1-0 t1-1 t2-0 t2-1 t3-0 t4-0",
            "c1": "t1-2 t1-3 t2-2 t2-3 t3-1 t4-1",
            "c2": "t1-4 t2-4",
            "c3": "t1-5 t2-5",
        },
        id="co-partitioned-all",
    ),
    pytest.param(
        {"t1": 6, "t2": 6, "t3": 2, "t4": 2, "t5": 4, "t6": 4},
        dict.fromkeys(("c0", "c1", "c2"), "t1 t2 t3 t4 t5 t6 t7 t8 t9"),
        {
            "c0": "t1-0 t1-1 t2-0 t2-1 t3-0 t4-0 t5-0 t5-1 t6-0 t6-1",
            "c1": "t1-2 t1-3 t2-2 t2-3 t3-1 t4-1 t5-2 t6-2",
            "c2": "t1-4 t1-5 t2-4 t2-5 t5-3 t6-3",
        },
        id="co-partitioned-with-missing-topics",
    ),
]


@pytest.mark.parametrize(("counts", "topics", "expected"), CASES)
def test_the_ranges_are_those_of_kafka(
    counts: dict[str, int], topics: dict[str, str], expected: dict[str, str]
) -> None:
    """Each topic is cut into consecutive ranges over its subscribers in the order of their ids."""
    assert assign(counts, {member_id: member(subscribed) for member_id, subscribed in topics.items()}) == expected


def test_static_members_stand_in_the_order_of_their_instance_ids() -> None:
    """The instance id decides between static members, whatever their member ids."""
    members = {"consumer-b": member(ONE_TWO, "instance1"), "consumer-a": member(ONE_TWO, "instance2")}
    assert assign({"topic1": 3, "topic2": 3}, members) == {
        "consumer-b": "topic1-0 topic1-1 topic2-0 topic2-1",
        "consumer-a": "topic1-2 topic2-2",
    }


def test_static_members_stand_before_dynamic_ones() -> None:
    """A member with an instance id comes before one without, whatever their member ids."""
    members = {"consumer-b": member(ONE_TWO, "instance1"), "consumer-a": member(ONE_TWO)}
    assert assign({"topic1": 3, "topic2": 3}, members) == {
        "consumer-b": "topic1-0 topic1-1 topic2-0 topic2-1",
        "consumer-a": "topic1-2 topic2-2",
    }


@pytest.mark.parametrize("dynamic", ["consumer4", "consumer5", "a"])
def test_static_members_keep_their_ranges_when_a_dynamic_one_is_replaced(dynamic: str) -> None:
    """What a static member gets does not depend on the id of the dynamic member beside it."""
    static = {f"consumer{number}": member(ONE_TWO, f"instance{number}") for number in (1, 2, 3)}
    assert assign({"topic1": 5, "topic2": 4}, {**static, dynamic: member(ONE_TWO)}) == {
        "consumer1": "topic1-0 topic1-1 topic2-0",
        "consumer2": "topic1-2 topic2-1",
        "consumer3": "topic1-3 topic2-2",
        dynamic: "topic1-4 topic2-3",
    }


@pytest.mark.parametrize(
    "ids", [("consumer1", "consumer2", "consumer3"), ("consumer1", "consumer5", "consumer4"), ("z", "y", "x")]
)
def test_a_restarted_static_member_gets_its_ranges_back(ids: tuple[str, str, str]) -> None:
    """With new member ids, each instance gets what it had."""
    first, second, third = ids
    members = {member_id: member(ONE_TWO, f"instance{number}") for number, member_id in enumerate(ids)}
    assert assign({"topic1": 5, "topic2": 5}, members) == {
        first: "topic1-0 topic1-1 topic2-0 topic2-1",
        second: "topic1-2 topic1-3 topic2-2 topic2-3",
        third: "topic1-4 topic2-4",
    }
