"""The round robin assignor gives what Kafka's gives (the cases of its RoundRobinAssignorTest)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from eventlog.coordination.assignors.assignor import MemberSubscription
from eventlog.coordination.assignors.round_robin_assignor import RoundRobinAssignor

ONE_TWO = "topic1 topic2"


def member(topics: str, instance_id: str | None = None) -> MemberSubscription:
    return MemberSubscription(tuple(topics.split()), instance_id=instance_id)


def assign(counts: Mapping[str, int], members: Mapping[str, MemberSubscription]) -> dict[str, str]:
    """What each member gets, written as ``topic-partition``, in the order in which it was dealt out."""
    assignment = RoundRobinAssignor().assign(counts, members)
    return {
        member_id: " ".join(f"{tp.topic}-{tp.partition}" for tp in share) for member_id, share in assignment.items()
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
        {"c1": "topic1-0 topic1-2 topic2-1", "c2": "topic1-1 topic2-0 topic2-2"},
        id="turns-go-on-from-topic-to-topic",
    ),
    pytest.param(
        {"t0": 1, "t1": 2, "t2": 3},
        {"c0": "t0", "c1": "t0 t1", "c2": "t0 t1 t2"},
        {"c0": "t0-0", "c1": "t1-0", "c2": "t1-1 t2-0 t2-1 t2-2"},
        id="unequal-subscriptions-may-be-unbalanced",
    ),
    pytest.param(
        {"topic1": 2, "topic2": 1, "topic3": 2, "topic4": 1, "topic5": 2},
        {
            "c1": "topic1 topic2 topic3 topic4 topic5",
            "c2": "topic1 topic3 topic5",
            "c3": "topic1 topic3 topic5",
            "c4": "topic1 topic2 topic3 topic4 topic5",
        },
        {
            "c1": "topic1-0 topic3-0 topic5-0",
            "c2": "topic1-1 topic3-1 topic5-1",
            "c3": "",
            "c4": "topic2-0 topic4-0",
        },
        id="where-sticky-does-better",
    ),
]


@pytest.mark.parametrize(("counts", "topics", "expected"), CASES)
def test_the_turns_are_those_of_kafka(counts: dict[str, int], topics: dict[str, str], expected: dict[str, str]) -> None:
    """Partitions are dealt out in order, to members in the order of their ids; who did not subscribe is passed over."""
    assert assign(counts, {member_id: member(subscribed) for member_id, subscribed in topics.items()}) == expected


def test_static_members_take_turns_in_the_order_of_their_instance_ids() -> None:
    """The instance id decides between static members, whatever their member ids."""
    members = {"consumer-b": member(ONE_TWO, "instance1"), "consumer-a": member(ONE_TWO, "instance2")}
    assert assign({"topic1": 3, "topic2": 3}, members) == {
        "consumer-b": "topic1-0 topic1-2 topic2-1",
        "consumer-a": "topic1-1 topic2-0 topic2-2",
    }


def test_static_members_take_turns_before_dynamic_ones() -> None:
    """A member with an instance id comes before one without, whatever their member ids."""
    members = {"consumer-b": member(ONE_TWO, "instance1"), "consumer-a": member(ONE_TWO)}
    assert assign({"topic1": 3, "topic2": 3}, members) == {
        "consumer-b": "topic1-0 topic1-2 topic2-1",
        "consumer-a": "topic1-1 topic2-0 topic2-2",
    }


@pytest.mark.parametrize("dynamic", ["consumer4", "consumer5", "a"])
def test_static_members_keep_their_turns_when_a_dynamic_one_is_replaced(dynamic: str) -> None:
    """What a static member gets does not depend on the id of the dynamic member beside it."""
    static = {f"consumer{number}": member(ONE_TWO, f"instance{number}") for number in (1, 2, 3)}
    assert assign({"topic1": 3, "topic2": 3}, {**static, dynamic: member(ONE_TWO)}) == {
        "consumer1": "topic1-0 topic2-1",
        "consumer2": "topic1-1 topic2-2",
        "consumer3": "topic1-2",
        dynamic: "topic2-0",
    }


@pytest.mark.parametrize("ids", [("consumer1", "consumer2", "consumer3"), ("consumer4", "consumer5", "consumer1")])
def test_a_restarted_static_member_gets_its_partitions_back(ids: tuple[str, str, str]) -> None:
    """With new member ids, each instance gets what it had."""
    members = {member_id: member(ONE_TWO, f"instance{number}") for number, member_id in enumerate(ids)}
    expected = {member_id: f"topic1-{number} topic2-{number}" for number, member_id in enumerate(ids)}
    assert assign({"topic1": 3, "topic2": 3}, members) == expected
