"""When a rebalance listener is called, and with what: compared with the Java client's calls, member by member."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

import eventlog
from eventlog import TopicPartition
from eventlog.clock import ManualClock

EAGER = ["range", "sticky", "roundrobin"]


class Listener(eventlog.RebalanceListener):
    """Notes its calls, for all members in one list."""

    def __init__(self, name: str, calls: list[tuple[str, str, list[TopicPartition]]]) -> None:
        self.name, self.calls = name, calls

    def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
        self.calls.append((self.name, "assigned", partitions))

    def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        self.calls.append((self.name, "revoked", partitions))

    def on_partitions_lost(self, partitions: list[TopicPartition]) -> None:
        self.calls.append((self.name, "lost", partitions))


class Group:
    """Members by name, polled in turn until nothing changes any more."""

    def __init__(self, log: eventlog.EventLog, strategy: str) -> None:
        self.log, self.config = log, {"group": "g", "partition_assignment_strategy": strategy}
        self.members: dict[str, eventlog.Consumer] = {}
        self.calls: list[tuple[str, str, list[TopicPartition]]] = []

    def join(self, name: str, **config: Any) -> None:
        self.members[name] = member = self.log.consumer(**self.config, **config)
        member.subscribe(["t"], listener=Listener(name, self.calls))

    def leave(self, name: str) -> None:
        self.members.pop(name).close()

    def settle(self) -> list[str]:
        """Return what was called: ``A+0`` for A was assigned 0, ``A-0`` for revoked, ``A!0`` for lost."""
        for _ in range(6):
            for member in self.members.values():
                member.poll()
        found = []
        for name, what, partitions in self.calls:
            sign = {"assigned": "+", "revoked": "-", "lost": "!"}[what]
            found.append(name + sign + ",".join(str(tp.partition) for tp in partitions))
        self.calls.clear()
        return found

    def of(self, calls: list[str], name: str) -> list[str]:
        return [call for call in calls if call.startswith(name)]


def test_members_without_partitions_are_told_so(log: eventlog.EventLog) -> None:
    """In a cooperative group all are told in each rebalance, of nothing when nothing comes, and nothing is revoked."""
    log.create_topic("t")
    group = Group(log, "cooperative-sticky")
    group.join("A")
    assert group.settle() == ["A+0"]
    group.join("B")
    assert sorted(group.settle()) == ["A+", "B+"]
    group.join("C")
    assert sorted(group.settle()) == ["A+", "B+", "C+"]
    group.leave("B")
    assert sorted(group.settle()) == ["A+", "C+"]
    group.leave("A")
    assert group.settle() == ["A-0", "C+0"]
    assert group.settle() == []


def test_a_partition_that_moves_in_a_cooperative_group(log: eventlog.EventLog) -> None:
    """Who gives one up is told that it gets nothing; who takes it is told when it has it: Kafka's second round."""
    log.create_topic("t", partitions=2)
    group = Group(log, "cooperative-sticky")
    group.join("A")
    assert group.settle() == ["A+0,1"]
    group.join("B")
    calls = group.settle()
    assert group.of(calls, "A") == ["A-1", "A+"]
    assert group.of(calls, "B") == ["B+", "B+1"]
    assert calls.index("A-1") < calls.index("B+1")


@pytest.mark.parametrize("strategy", EAGER)
def test_eager_members_revoke_and_are_assigned_once_a_rebalance(log: eventlog.EventLog, strategy: str) -> None:
    """All give up what they have, if it is nothing too, and then are told once of all that they have."""
    log.create_topic("t")
    group = Group(log, strategy)
    group.join("A")
    assert group.settle() == ["A+0"]
    group.join("B")
    calls = group.settle()
    kept = "A" if "A+0" in calls else "B"
    assert group.of(calls, "A") == ["A-0", f"A+{'0' if kept == 'A' else ''}"]
    assert group.of(calls, "B") == [f"B+{'0' if kept == 'B' else ''}"]
    group.join("C")
    calls = group.settle()
    for name in "ABC":
        mine = group.of(calls, name)
        revoked = [] if name == "C" else [f"{name}-{'0' if name == kept else ''}"]
        assert mine[:-1] == revoked and mine[-1] in (f"{name}+", f"{name}+0")
    assert sum(call.endswith("+0") for call in calls) == 1
    assert group.settle() == []


@pytest.mark.parametrize("strategy", EAGER)
def test_eager_members_that_share(log: eventlog.EventLog, strategy: str) -> None:
    """Each is told of its whole share, once, when all have given up theirs."""
    log.create_topic("t", partitions=2)
    group = Group(log, strategy)
    group.join("A")
    assert group.settle() == ["A+0,1"]
    group.join("B")
    calls = group.settle()
    assert group.of(calls, "A")[0] == "A-0,1" and len(group.of(calls, "A")) == 2
    assert len(group.of(calls, "B")) == 1
    assert sorted(call[1:] for call in calls if "+" in call) == ["+0", "+1"]
    group.leave("B")
    calls = group.settle()
    assert group.of(calls, "A")[0][1] == "-" and group.of(calls, "A")[1:] == ["A+0,1"]


def test_a_removed_member_is_told_of_its_loss_and_of_what_it_gets(log_path: Any) -> None:
    """Lost, then assigned, with the new membership; who lost nothing is told of no loss."""
    clock = ManualClock()
    with eventlog.EventLog(log_path, clock=clock) as log:
        log.create_topic("t")
        group = Group(log, "cooperative-sticky")
        group.join("A", max_poll_interval_ms=100)
        group.settle()
        group.join("B")
        group.settle()
        clock.advance(1)
        for _ in range(2):
            group.members["B"].poll()
        assert group.settle() == ["B+0", "A!0", "A+", "B+"]


@pytest.mark.parametrize("strategy", ["cooperative-sticky", *EAGER])
def test_the_last_call_of_each_generation_tells_what_a_member_has(log: eventlog.EventLog, strategy: str) -> None:
    """However members come and go, what was assigned less what was revoked is what each has; all are told each time."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    log.create_topic("t", partitions=3)
    group = Group(log, strategy)
    has: dict[str, set[TopicPartition]] = {}
    for step in range(25):
        if group.members and choose.random() < 0.4:
            gone = choose.choice(list(group.members))
            group.leave(gone)
            group.calls[:] = [call for call in group.calls if call[0] != gone]
            del has[gone]
        else:
            group.join(f"m{step}")
            has[f"m{step}"] = set()
        for _ in range(8):
            for member in group.members.values():
                member.poll()
        for name, what, partitions in group.calls:
            assert what != "assigned" or not has[name] & set(partitions)
            has[name] = has[name] | set(partitions) if what == "assigned" else has[name] - set(partitions)
        assert {name for name, what, _ in group.calls if what == "assigned"} == has.keys()
        assert {name: set(member.assignment()) for name, member in group.members.items()} == has
        group.calls.clear()


def test_an_error_in_a_call_for_nothing_comes_out_of_that_poll(log: eventlog.EventLog) -> None:
    """As any listener's error; the member goes on, and is not told again."""
    log.create_topic("t")
    calls: list[list[TopicPartition]] = []

    class Failing(eventlog.RebalanceListener):
        def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
            calls.append(partitions)
            if not partitions:
                raise ZeroDivisionError

    with log.consumer("t", group="g") as first, log.consumer(group="g") as second, log.consumer(group="g") as third:
        first.poll()
        second.subscribe(["t"], listener=Failing())
        with pytest.raises(ZeroDivisionError):
            second.poll()
        assert second.poll() == []
        third.subscribe(["t"])
        third.poll()
        with pytest.raises(ZeroDivisionError):
            second.poll()
        assert second.poll() == []
    assert calls == [[], []]


def test_every_rebalance_counts(log: eventlog.EventLog) -> None:
    """rebalance_total counts those that did not concern the member, too, as Kafka's does."""
    log.create_topic("t")
    group = Group(log, "cooperative-sticky")
    for number, name in enumerate("ABC"):
        group.join(name)
        group.settle()
        assert group.members["A"].metrics()["rebalance_total"] == number + 1
    group.leave("C")
    group.settle()
    assert [group.members[name].metrics()["rebalance_total"] for name in "AB"] == [4, 3]


def test_the_async_listener_is_told_of_nothing_too(log: eventlog.EventLog) -> None:
    """The coroutine of an AsyncRebalanceListener is awaited for each rebalance."""
    log.create_topic("t")
    told: list[list[TopicPartition]] = []

    class Told(eventlog.AsyncRebalanceListener):
        async def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
            await asyncio.sleep(0)
            told.append(partitions)

    async def main() -> None:
        with log.consumer("t", group="g") as first:
            first.poll()
            async with log.async_consumer(group="g") as second:
                await second.subscribe(["t"], listener=Told())
                for _ in range(3):
                    await second.poll()
                    first.poll()
                assert told == [[]]

    asyncio.run(main())
