"""Consumers of one group within one process: who reads what, what listeners are told, what is committed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.clock import ManualClock
from eventlog.consumer.single_thread import Held, SingleThread
from eventlog.coordination.group_directory import GroupDirectory
from eventlog.coordination.liveness import Liveness
from eventlog.files.filesystem import FileSystem

LOOK_AROUND = 0.06  # seconds: a little more than members let pass before they look for dead ones


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1_700_000_000.0)


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log", clock=clock) as opened:
        yield opened


class Listener(eventlog.RebalanceListener):
    """Notes what it is told."""

    def __init__(self, told: list[Any] | None = None) -> None:
        self.told: list[Any] = [] if told is None else told

    def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
        self.told.append(("assigned", numbers(partitions)))

    def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        self.told.append(("revoked", numbers(partitions)))

    def on_partitions_lost(self, partitions: list[TopicPartition]) -> None:
        self.told.append(("lost", numbers(partitions)))


def numbers(partitions: Iterable[TopicPartition]) -> list[int]:
    return sorted(tp.partition for tp in partitions)


def settle(*consumers: eventlog.Consumer, rounds: int = 4) -> list[list[TopicPartition]]:
    """Let everyone poll a few times in turn, and undo what was read; return who has what. At no time do two share."""
    for _ in range(rounds):
        for consumer in consumers:
            for record in reversed(consumer.poll()):
                consumer.seek(TopicPartition(record.topic, record.partition), record.offset)
            every = [tp for each in consumers for tp in each.assignment()]
            assert len(every) == len(set(every))
    return [sorted(consumer.assignment()) for consumer in consumers]


def all_of(shares: list[list[TopicPartition]]) -> list[TopicPartition]:
    return sorted(tp for share in shares for tp in share)


def tps(*places: int, topic: str = "t") -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in places]


def values(records: Iterable[eventlog.Record]) -> list[bytes]:
    return [record.value for record in records if record.value is not None]


def fill(log: eventlog.EventLog, count: int, topic: str = "t") -> None:
    for partition in log.topic(topic).partitions:
        partition.append([b"%d-%d" % (partition.number, number) for number in range(count)])


# --- sharing ---


@pytest.mark.parametrize("strategy", ["cooperative-sticky", "sticky", "range", "roundrobin"])
def test_members_share_and_take_over(log: eventlog.EventLog, strategy: str) -> None:
    """Each partition is one member's; who joins gets its share, and who leaves is replaced at once."""
    log.create_topic("t", partitions=6)
    config = {"group": "g", "partition_assignment_strategy": strategy}
    first = log.consumer("t", **config)
    assert settle(first) == [tps(0, 1, 2, 3, 4, 5)]
    second, third = (log.consumer("t", **config) for _ in range(2))
    shares = settle(first, second, third)
    assert sorted(map(len, shares)) == [2, 2, 2]
    assert all_of(shares) == tps(0, 1, 2, 3, 4, 5)
    second.close()
    shares = settle(first, third)
    assert sorted(map(len, shares)) == [3, 3]
    first.unsubscribe()
    assert settle(third) == [tps(0, 1, 2, 3, 4, 5)]
    assert first.assignment() == []


def test_surplus_members_idle_and_take_over(log: eventlog.EventLog) -> None:
    """A member for whom nothing is left idles, and has the partition with its next poll when the other one leaves."""
    log.create_topic("t").partitions[0].append([b"x"])
    first = log.consumer("t", group="g", auto_offset_reset="earliest")
    second = log.consumer("t", group="g", auto_offset_reset="earliest")
    assert settle(first, second) == [tps(0), []]
    assert second.poll() == []
    first.close()
    assert values(second.poll()) == [b"x"]


def test_groups_are_independent(log: eventlog.EventLog) -> None:
    """Each of several groups reads every record, and has offsets of its own."""
    log.create_topic("t", partitions=2)
    fill(log, 3)
    names = ["a", "a/b", "..", "ü", "A"]
    for name in names:
        with log.consumer("t", group=name, auto_offset_reset="earliest") as consumer:
            assert len(consumer.poll() + consumer.poll()) == 6
            assert consumer.committed(TopicPartition("t", 0)) is None
    for name in names:
        with log.consumer("t", group=name) as consumer:
            assert consumer.committed(TopicPartition("t", 0)) == OffsetAndMetadata(3)


def test_cooperative_members_read_on_during_a_rebalance(log: eventlog.EventLog) -> None:
    """Who keeps a partition keeps its position, uncommitted, when another member comes and goes."""
    log.create_topic("t", partitions=2)
    fill(log, 4)
    told = Listener()
    first = log.consumer(group="g", auto_offset_reset="earliest", enable_auto_commit=False)
    first.subscribe(["t"], listener=told)
    first.poll(max_records=4)
    first.poll(max_records=2)
    second = log.consumer("t", group="g", auto_offset_reset="earliest", enable_auto_commit=False)
    before = {tp: first.position(tp) for tp in first.assignment()}
    settle(second, first)
    (kept,) = first.assignment()
    assert first.position(kept) == before[kept]
    second.close()
    settle(first)
    assert first.position(kept) == before[kept]
    other = next(tp for tp in tps(0, 1) if tp != kept)
    moved = [other.partition]
    assert told.told == [("assigned", [0, 1]), ("revoked", moved), ("assigned", []), ("assigned", moved)]


# --- who hangs ---


def test_a_member_that_hangs_is_evicted_and_comes_back(log: eventlog.EventLog, clock: ManualClock) -> None:
    """Not polling for max_poll_interval_ms costs a member its partitions: its commits are refused, the next poll tells
    the listener what was lost, and joins again.
    """
    log.create_topic("t", partitions=2)
    fill(log, 3)
    told = Listener()
    hung = log.consumer(group="g", auto_offset_reset="earliest", max_poll_interval_ms=10_000)
    hung.subscribe(["t"], listener=told)
    assert len(hung.poll()) == 6
    other = log.consumer("t", group="g", auto_offset_reset="earliest")
    other.poll()
    clock.advance(10)
    other.poll()
    assert other.assignment() == []
    clock.advance(LOOK_AROUND)
    assert len(other.poll()) == 6
    with pytest.raises(eventlog.FencedMemberError) as caught:
        hung.commit()
    assert isinstance(caught.value, eventlog.CommitFailedError)
    assert other.committed(TopicPartition("t", 0)) is None
    other.commit()
    settle(hung, other)
    assert told.told[:2] == [("assigned", [0, 1]), ("lost", [0, 1])]
    assert len(hung.assignment()) == len(other.assignment()) == 1
    (tp,) = hung.assignment()
    assert hung.position(tp) == 3
    hung.commit()


def test_a_waiting_member_does_not_hang(tmp_path: Path) -> None:
    """However short max_poll_interval_ms is, who waits in poll is not evicted, with many members either."""
    with eventlog.open(tmp_path) as log:
        log.create_topic("t", partitions=2)
        crowd = [log.consumer("t", group="g") for _ in range(40)]
        told = Listener()
        waiter = log.consumer(group="g", max_poll_interval_ms=200)
        waiter.subscribe(["t"], listener=told)
        waiter.poll()
        for consumer in crowd:
            consumer.poll()
        assert waiter._group is not None
        assert waiter._group.longest_sleep() <= 0.1


def test_a_member_that_polls_while_another_is_kept_from_looking_is_alive(
    log: eventlog.EventLog, clock: ManualClock
) -> None:
    """Who looks around and has to wait for a processor in the middle of it removes nobody who polled meanwhile."""
    log.create_topic("t")
    consumer = log.consumer("t", group="g", max_poll_interval_ms=1000)
    consumer.poll()

    class Waiting(ManualClock):
        def monotonic(self) -> float:
            clock.advance(2)
            consumer.poll()
            return clock.monotonic()

    directory = GroupDirectory(FileSystem(), log.path, "g")
    assert not Liveness(directory, Waiting()).is_gone(consumer.group_metadata().member_id, 1000)
    directory.close()


# --- listeners ---


def test_listeners_are_told_in_order(log: eventlog.EventLog) -> None:
    """Revoked comes before anyone else is assigned, and before what comes anew; nothing is told of no partitions."""
    log.create_topic("t", partitions=4)
    told: list[Any] = []

    class Named(Listener):
        def __init__(self, name: str) -> None:
            super().__init__(told)
            self.name = name

        def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
            told.append((self.name, "assigned", numbers(partitions)))

        def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
            told.append((self.name, "revoked", numbers(partitions)))

    first, second = (log.consumer(group="g", partition_assignment_strategy="range") for _ in range(2))
    first.subscribe(["t"], listener=Named("first"))
    second.subscribe(["t"], listener=Named("second"))
    settle(first)
    settle(second, first)
    second.close()
    settle(first)
    joining = told[1:4]
    assert told[0] == ("first", "assigned", [0, 1, 2, 3])
    assert joining[0] == ("first", "revoked", [0, 1, 2, 3])
    assert {entry[:2] for entry in joining[1:]} == {("first", "assigned"), ("second", "assigned")}
    assert sorted(number for entry in joining[1:] for number in entry[2]) == [0, 1, 2, 3]
    assert told[4][:2] == ("second", "revoked")
    assert told[5][:2] == ("first", "revoked")
    assert told[6] == ("first", "assigned", [0, 1, 2, 3])


def test_a_listener_may_commit_what_is_revoked(log: eventlog.EventLog) -> None:
    """In on_partitions_revoked the partitions are still this member's: what it commits is where the next begins."""
    log.create_topic("t", partitions=2)
    fill(log, 5)

    class Committing(eventlog.RebalanceListener):
        def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
            first.commit({tp: OffsetAndMetadata(2, "half way") for tp in partitions})

    first = log.consumer(group="g", auto_offset_reset="earliest", enable_auto_commit=False)
    first.subscribe(["t"], listener=Committing())
    assert len(first.poll()) == 10
    second = log.consumer("t", group="g", enable_auto_commit=False)
    settle(second, first)
    (moved,) = second.assignment()
    assert second.committed(moved) == OffsetAndMetadata(2, "half way")
    assert len(second.poll()) == 3
    first.close()
    assert sorted(record.offset for record in second.poll()) == [2, 3, 4]


def test_a_listener_may_seek_in_assigned(log: eventlog.EventLog) -> None:
    """Who keeps offsets elsewhere seeks in on_partitions_assigned, and the poll reads from there."""
    log.create_topic("t", partitions=2)
    fill(log, 5)

    class Seeking(eventlog.RebalanceListener):
        def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
            for tp in partitions:
                assert consumer.position(tp) == 0
                consumer.seek(tp, 4)

    consumer = log.consumer(group="g", auto_offset_reset="earliest")
    consumer.subscribe(["t"], listener=Seeking())
    assert [record.offset for record in consumer.poll()] == [4, 4]


@pytest.mark.parametrize("moment", ["assigned", "revoked", "lost"])
def test_a_listener_that_raises_disturbs_nobody(log: eventlog.EventLog, clock: ManualClock, moment: str) -> None:
    """Its error comes out of the poll when the rebalance is done; the next poll goes on."""
    log.create_topic("t", partitions=2)
    fill(log, 2)
    raised: list[str] = []

    class Raising(Listener):
        def __getattribute__(self, name: str) -> Any:
            if name != f"on_partitions_{moment}":
                return super().__getattribute__(name)
            return self.fail

        def fail(self, partitions: list[TopicPartition]) -> None:
            raised.append(moment)
            raise ZeroDivisionError(moment)

    def poll(consumer: eventlog.Consumer) -> list[eventlog.Record]:
        before = len(raised)
        try:
            found = consumer.poll()
        except ZeroDivisionError:
            assert len(raised) > before
            return consumer.poll()
        assert len(raised) == before
        return found

    first = log.consumer(group="g", auto_offset_reset="earliest", max_poll_interval_ms=1000)
    first.subscribe(["t"], listener=Raising())
    seen = poll(first)
    second = log.consumer("t", group="g", auto_offset_reset="earliest")
    for _ in range(3):
        seen += second.poll()
        seen += poll(first)
    assert len(first.assignment()) == len(second.assignment()) == 1
    clock.advance(2)
    second.poll()
    clock.advance(LOOK_AROUND)
    second.poll()
    for _ in range(3):
        poll(first)
        second.poll()
    assert raised
    assert len(first.assignment()) == len(second.assignment()) == 1
    assert {(record.partition, record.offset) for record in seen} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    if moment == "revoked":
        with pytest.raises(ZeroDivisionError):
            first.close()
    else:
        first.close()
    assert settle(second) == [tps(0, 1)]


def test_a_listener_may_not_rebalance(log: eventlog.EventLog) -> None:
    """Within a listener poll, subscribe, unsubscribe and close are refused; the consumer is unharmed."""
    log.create_topic("t")
    errors: list[str] = []

    class Meddling(eventlog.RebalanceListener):
        def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
            for call in (consumer.poll, lambda: consumer.subscribe(["t"]), consumer.unsubscribe, consumer.close):
                try:
                    call()
                except eventlog.IllegalStateError as error:
                    errors.append(str(error))

    consumer = log.consumer(group="g")
    consumer.subscribe(["t"], listener=Meddling())
    consumer.poll()
    assert len(errors) == 4
    assert consumer.assignment() == tps(0)


def test_unsubscribing_with_a_listener_that_raises_unsubscribes(log: eventlog.EventLog) -> None:
    """A listener's error comes out of unsubscribe, which is done all the same."""
    log.create_topic("t")

    class Raising(eventlog.RebalanceListener):
        def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
            raise ZeroDivisionError

    consumer = log.consumer(group="g")
    consumer.subscribe(["t"], listener=Raising())
    consumer.poll()
    with pytest.raises(ZeroDivisionError):
        consumer.unsubscribe()
    consumer.assign(tps(0))
    assert consumer.assignment() == tps(0)


# --- subscriptions that change ---


def test_new_topics_and_partitions_are_noticed(log: eventlog.EventLog) -> None:
    """A pattern picks up topics that appear, added partitions are shared too, and a deleted topic goes away."""
    log.create_topic("t-1", partitions=2)
    told = Listener()
    first, second = (log.consumer(group="g", auto_offset_reset="earliest") for _ in range(2))
    first.subscribe(pattern="t-.*", listener=told)
    second.subscribe(pattern="t-.*")
    assert all_of(settle(first, second)) == tps(0, 1, topic="t-1")
    log.create_topic("t-2", partitions=2)
    shares = settle(first, second)
    assert sorted(map(len, shares)) == [2, 2]
    log.topic("t-1").add_partitions(4)
    shares = settle(first, second)
    assert all_of(shares) == tps(0, 1, 2, 3, topic="t-1") + tps(0, 1, topic="t-2")
    log.delete_topic("t-1")
    shares = settle(first, second)
    assert all_of(shares) == tps(0, 1, topic="t-2")
    fill(log, 1, "t-2")
    assert len(first.poll() + second.poll()) == 2


def test_a_topic_made_anew_is_read_from_its_beginning(log: eventlog.EventLog) -> None:
    """A topic that is deleted and made anew between two polls is read on, from the new one's first record."""
    log.create_topic("t", partitions=2)
    fill(log, 3)
    consumer = log.consumer("t", group="g", auto_offset_reset="latest")
    consumer.poll()
    consumer.commit()
    log.delete_topic("t")
    log.create_topic("t", partitions=2)
    fill(log, 5)
    assert sorted(record.offset for record in consumer.poll()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_subscribing_again_replaces(log: eventlog.EventLog) -> None:
    """Other topics replace the first ones with the next poll: the old ones are revoked and committed."""
    log.create_topic("t", partitions=2)
    log.create_topic("u", partitions=1)
    fill(log, 1)
    told = Listener()
    consumer = log.consumer("t", group="g", auto_offset_reset="earliest")
    assert len(consumer.poll()) == 2
    other = log.consumer("t", group="g")
    settle(consumer, other)
    consumer.subscribe(["u"], listener=told)
    shares = settle(consumer, other)
    assert shares == [tps(0, topic="u"), tps(0, 1)]
    assert consumer.committed(TopicPartition("t", 0)) == consumer.committed(TopicPartition("t", 1))
    assert [what for what, _ in told.told] == ["revoked", "assigned"]


# --- assignors ---


def test_mixed_strategies_choose_a_common_one(log: eventlog.EventLog) -> None:
    """The group uses an assignor that all know; who shares none is refused, and the others go on."""
    log.create_topic("t", partitions=4)
    first = log.consumer("t", group="g", partition_assignment_strategy=["cooperative-sticky", "range"])
    second = log.consumer("t", group="g", partition_assignment_strategy=["roundrobin", "range"])
    settle(first, second)
    assert settle(first, second) == [tps(0, 1), tps(2, 3)] or settle(first, second) == [tps(2, 3), tps(0, 1)]
    third = log.consumer("t", group="g", partition_assignment_strategy="sticky")
    for _ in range(2):
        with pytest.raises(eventlog.InconsistentGroupProtocolError):
            third.poll()
    assert all_of(settle(first, second)) == tps(0, 1, 2, 3)
    second.close()
    assert settle(first) == [tps(0, 1, 2, 3)]
    third.close()


@pytest.mark.parametrize("how", ["leaves", "hangs"])
def test_who_goes_need_not_know_what_the_others_prefer(log: eventlog.EventLog, clock: ManualClock, how: str) -> None:
    """A member that knows one assignor only may leave, or come back, while the others go over to another one."""
    log.create_topic("t", partitions=4)
    config: dict[str, Any] = {"partition_assignment_strategy": ["cooperative-sticky", "range"]}
    others = [log.consumer("t", group="g", **config) for _ in range(2)]
    old = log.consumer("t", group="g", partition_assignment_strategy="range", max_poll_interval_ms=1000)
    assert all_of(settle(*others, old)) == tps(0, 1, 2, 3)
    if how == "leaves":
        old.close()
        assert all_of(settle(*others)) == tps(0, 1, 2, 3)
        return
    clock.advance(2)
    settle(*others)
    assert all_of(settle(*others)) == tps(0, 1, 2, 3)
    clock.advance(LOOK_AROUND)
    for other in others:
        other.close()
    clock.advance(LOOK_AROUND)
    assert settle(old) == [tps(0, 1, 2, 3)]


class Last:
    """Gives everything to the last member by name."""

    name = "last"
    cooperative = True

    def assign(
        self, partition_counts: Mapping[str, int], members: Mapping[str, Any]
    ) -> dict[str, list[TopicPartition]]:
        found: dict[str, list[TopicPartition]] = {member_id: [] for member_id in members}
        for topic, count in partition_counts.items():
            found[max(members)] += tps(*range(count), topic=topic)
        return found


def test_an_assignor_of_ones_own(log: eventlog.EventLog) -> None:
    """An object with an assignor's methods decides who reads what."""
    log.create_topic("t", partitions=3)
    consumers = [
        log.consumer("t", group="g", client_id=name, partition_assignment_strategy=Last()) for name in ("a", "c", "b")
    ]
    assert settle(*consumers) == [[], tps(0, 1, 2), []]
    consumers[1].close()
    assert settle(consumers[0], consumers[2]) == [[], tps(0, 1, 2)]


def test_an_assignor_that_raises_changes_nothing(log: eventlog.EventLog) -> None:
    """Its error comes out of the poll of who wanted to join; the others go on, and nothing stays locked."""
    log.create_topic("t", partitions=2)

    class Failing(Last):
        fails = False

        def assign(self, *args: Any) -> dict[str, list[TopicPartition]]:
            if self.fails:
                raise ZeroDivisionError
            return super().assign(*args)

    failing = Failing()
    first = log.consumer("t", group="g", client_id="a", partition_assignment_strategy=Last())
    assert settle(first) == [tps(0, 1)]
    second = log.consumer("t", group="g", client_id="b", partition_assignment_strategy=failing)
    failing.fails = True
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            second.poll()
    assert settle(first) == [tps(0, 1)]
    failing.fails = False
    assert settle(first, second) == [[], tps(0, 1)]


# --- static members ---


def test_a_static_member_restarts_without_a_rebalance(log: eventlog.EventLog, clock: ManualClock) -> None:
    """Back within session_timeout_ms it has the same partitions in the same generation, and nobody else notices."""
    log.create_topic("t", partitions=4)
    told = Listener()
    other = log.consumer(group="g", group_instance_id="other")
    other.subscribe(["t"], listener=told)
    config: dict[str, Any] = {"group": "g", "group_instance_id": "me", "session_timeout_ms": 5000}
    me = log.consumer("t", **config)
    share = settle(me, other)[0]
    generation, before = other.group_metadata().generation, list(told.told)
    me.close()
    clock.advance(4)
    settle(other)
    assert len(other.assignment()) == 2
    me = log.consumer("t", **config)
    assert settle(me, other)[0] == share
    assert me.group_metadata().generation == other.group_metadata().generation == generation
    assert told.told == before
    me.close()
    clock.advance(LOOK_AROUND)
    settle(other)
    clock.advance(5)
    assert settle(other) == [tps(0, 1, 2, 3)]
    me = log.consumer("t", **config)
    assert sorted(map(len, settle(me, other))) == [2, 2]


def test_a_second_live_static_member_is_fenced(log: eventlog.EventLog) -> None:
    """Two live members with one group_instance_id: the second is refused until the first is closed."""
    log.create_topic("t")
    first = log.consumer("t", group="g", group_instance_id="me")
    second = log.consumer("t", group="g", group_instance_id="me")
    first.poll()
    with pytest.raises(eventlog.FencedInstanceIdError):
        second.poll()
    assert settle(first) == [tps(0)]
    first.close()
    assert settle(second) == [tps(0)]


def test_a_static_member_that_restarts_sees_new_partitions(log: eventlog.EventLog) -> None:
    """Partitions that were added while the only member was away are read when it is back."""
    log.create_topic("t")
    first = log.consumer("t", group="g", group_instance_id="me")
    settle(first)
    first.close()
    log.topic("t").add_partitions(3)
    assert settle(log.consumer("t", group="g", group_instance_id="me")) == [tps(0, 1, 2)]


# --- committing ---


def test_a_new_owner_goes_on_at_the_commit(log: eventlog.EventLog) -> None:
    """Positions after a reassignment are the committed ones; without a commit auto_offset_reset decides."""
    log.create_topic("t", partitions=3)
    fill(log, 6)
    first = log.consumer("t", group="g", auto_offset_reset="earliest", enable_auto_commit=False)
    first.poll()
    first.commit({TopicPartition("t", 0): 2, TopicPartition("t", 1): OffsetAndMetadata(4, "why", 7)})
    first.close()
    second = log.consumer("t", group="g", auto_offset_reset="earliest", enable_auto_commit=False)
    settle(second)
    assert [second.position(tp) for tp in tps(0, 1, 2)] == [2, 4, 0]
    assert second.committed(TopicPartition("t", 1)) == OffsetAndMetadata(4, "why", 7)
    second.close()
    third = log.consumer("t", group="g", auto_offset_reset="latest", enable_auto_commit=False)
    settle(third)
    assert [third.position(tp) for tp in tps(0, 1, 2)] == [2, 4, 6]
    third.close()
    fourth = log.consumer("t", group="g", auto_offset_reset="none", enable_auto_commit=False)
    with pytest.raises(eventlog.NoOffsetForPartitionError):
        for _ in range(3):
            fourth.poll()
    fourth.close()


def test_automatic_commits(log: eventlog.EventLog, clock: ManualClock) -> None:
    """Positions are committed every auto_commit_interval_ms, by polls, before partitions move, and by close; never
    what the last poll returned before the next one.
    """
    log.create_topic("t", partitions=2)
    fill(log, 4)
    zero, one = tps(0, 1)
    first = log.consumer("t", group="g", auto_offset_reset="earliest", auto_commit_interval_ms=1000)
    settle(first)
    clock.advance(0.9)
    assert len(first.poll()) == 8
    assert first.committed(zero) is None
    clock.advance(0.2)
    assert first.committed(zero) is None
    first.poll()
    assert first.committed(zero) == first.committed(one) == OffsetAndMetadata(4)
    fill(log, 1)
    assert len(first.poll()) == 2
    second = log.consumer("t", group="g", auto_commit_interval_ms=1000)
    settle(second, first)
    (moved,) = second.assignment()
    (kept,) = first.assignment()
    assert first.committed(moved) == OffsetAndMetadata(5)
    assert first.committed(kept) == OffsetAndMetadata(4)
    first.close()
    assert second.committed(kept) == OffsetAndMetadata(5)


def test_without_automatic_commits_nothing_is_committed(log: eventlog.EventLog, clock: ManualClock) -> None:
    """enable_auto_commit=False leaves all commits to the program."""
    log.create_topic("t")
    fill(log, 2)
    with log.consumer("t", group="g", auto_offset_reset="earliest", enable_auto_commit=False) as first:
        first.poll()
        clock.advance(100)
        first.poll()
        assert first.committed(TopicPartition("t", 0)) is None
    with log.consumer("t", group="g", auto_offset_reset="earliest") as second:
        assert len(second.poll()) == 2


def test_committing_what_is_not_owned(log: eventlog.EventLog) -> None:
    """A partition of another member's is refused, and so are the others in the same commit."""
    log.create_topic("t", partitions=2)
    fill(log, 2)
    first, second = (log.consumer("t", group="g", enable_auto_commit=False) for _ in range(2))
    settle(first, second)
    (mine,), (other,) = first.assignment(), second.assignment()
    with pytest.raises(eventlog.CommitFailedError) as caught:
        first.commit({mine: 1, other: 1})
    assert not isinstance(caught.value, eventlog.FencedMemberError)
    assert first.committed(mine) is None
    assert first.committed(other) is None


def test_a_subscriber_that_never_polled_cannot_commit(log: eventlog.EventLog) -> None:
    """Before the first poll a consumer is no member, so its commit is refused like a stranger's."""
    log.create_topic("t")
    consumer = log.consumer("t", group="g")
    consumer.commit()  # of nothing
    with pytest.raises(eventlog.CommitFailedError):
        consumer.commit({TopicPartition("t", 0): 0})


def test_commit_async_tells_in_the_next_poll(log: eventlog.EventLog) -> None:
    """Callbacks run in order within the next poll, or close, with the offsets and the error, if any."""
    log.create_topic("t", partitions=2)
    fill(log, 2)
    told: list[Any] = []
    first, second = (log.consumer("t", group="g", auto_offset_reset="earliest") for _ in range(2))
    settle(first, second)
    (mine,), (other,) = first.assignment(), second.assignment()
    first.commit_async({mine: 1}, lambda offsets, error: told.append((offsets, error)))
    first.commit_async({other: 1}, lambda offsets, error: told.append((offsets, type(error))))
    assert told == []
    assert first.committed(mine) == OffsetAndMetadata(1)
    first.poll()
    assert told == [({mine: OffsetAndMetadata(1)}, None), ({other: OffsetAndMetadata(1)}, eventlog.CommitFailedError)]
    first.commit_async(callback=lambda offsets, error: told.append(offsets))
    first.close()
    assert told[2:] == [{mine: OffsetAndMetadata(2)}]


@pytest.mark.parametrize("how", ["close", "unsubscribe", "subscribe to nothing", "close the log"])
def test_a_callback_that_raises_keeps_nobody_in_the_group(tmp_path: Path, how: str) -> None:
    """Whatever the callbacks raise as a member leaves: all are called, it commits, tells its listener, and is gone."""
    log = eventlog.open(tmp_path / "log")
    log.create_topic("t")
    fill(log, 2)
    consumer = log.consumer(group="g", auto_offset_reset="earliest")
    told: list[Any] = []
    consumer.subscribe(["t"], listener=Listener(told))
    assert len(consumer.poll(timeout=60)) == 2

    def callback(offsets: object, error: object) -> None:
        told.append("called")
        raise ValueError("mine")

    for offset in (0, 1):
        consumer.commit_async({TopicPartition("t", 0): offset}, callback)
    leave: dict[str, Callable[[], None]] = {
        "close": consumer.close, "unsubscribe": consumer.unsubscribe,
        "subscribe to nothing": lambda: consumer.subscribe([]), "close the log": log.close,
    }  # fmt: skip
    with pytest.raises(ValueError, match="mine"):
        leave[how]()
    assert told == [("assigned", [0]), "called", "called", ("revoked", [0])]
    with eventlog.open(tmp_path / "log") as other:
        assert not other.group("g").members
        committed = other.group("g").partitions[0].current_offset
        assert committed == (2 if "close" in how else 1), "who unsubscribes commits nothing"
    log.close()


def test_commit_async_without_a_callback_logs_a_refusal(
    log: eventlog.EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused commit that nobody asks about is in the program's log."""
    log.create_topic("t")
    consumer = log.consumer("t", group="g")
    with caplog.at_level(logging.WARNING, "eventlog"):
        consumer.commit_async({TopicPartition("t", 0): 0})
    assert "commit" in caplog.text
    consumer.poll()


def test_assigned_partitions_commit_without_membership(log: eventlog.EventLog, clock: ManualClock) -> None:
    """assign() with a group reads on at its commits and commits, by the clock too, but not while it has members."""
    log.create_topic("t", partitions=2)
    fill(log, 5)
    zero, one = tps(0, 1)
    first = log.consumer(group="g", auto_offset_reset="earliest", auto_commit_interval_ms=1000)
    first.assign([zero])
    assert len(first.poll(max_records=3)) == 3
    clock.advance(2)
    assert len(first.poll(max_records=1)) == 1
    assert first.committed(zero) == OffsetAndMetadata(3)
    first.commit({one: 2})
    first.close()
    second = log.consumer(group="g", auto_offset_reset="earliest", enable_auto_commit=False)
    second.assign([zero, one])
    assert (second.position(zero), second.position(one)) == (4, 2)
    assert second.group_metadata().generation == -1
    member = log.consumer("t", group="g", enable_auto_commit=False)
    member.poll()
    with pytest.raises(eventlog.CommitFailedError):
        second.commit({zero: 0})
    member.close()
    second.commit({zero: 0})
    assert second.committed(zero) == OffsetAndMetadata(0)


def test_assigning_more_keeps_positions(log: eventlog.EventLog) -> None:
    """Partitions that stay assigned are read on where they are, not at their commit."""
    log.create_topic("t", partitions=2)
    fill(log, 5)
    zero, one = tps(0, 1)
    consumer = log.consumer(group="g", auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign([zero])
    consumer.commit({zero: 1, one: 1})
    consumer.seek(zero, 4)
    consumer.assign([zero, one])
    assert (consumer.position(zero), consumer.position(one)) == (4, 1)


# --- bad input ---


def _commit(value: Any) -> Callable[[eventlog.Consumer], None]:
    return lambda consumer: consumer.commit(value)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (_commit({TopicPartition("t", 7): 0}), eventlog.UnknownPartitionError),
        (_commit({TopicPartition("unknown", 0): 0}), eventlog.UnknownTopicError),
        (_commit({TopicPartition("t", 0): -1}), eventlog.OffsetOutOfRangeError),
        (_commit({TopicPartition("t", 0): 2**63}), eventlog.OffsetOutOfRangeError),
        (_commit({TopicPartition("t", 0): 1.0}), eventlog.InvalidRecordError),
        (_commit({TopicPartition("t", 0): None}), eventlog.InvalidRecordError),
        (_commit({TopicPartition("t", 0): OffsetAndMetadata(1, b"x")}), eventlog.InvalidRecordError),
        (_commit({TopicPartition("t", 0): OffsetAndMetadata(1, "x" * 5000)}), eventlog.RecordTooLargeError),
        (_commit({"t": 1}), eventlog.UnknownPartitionError),
        (_commit([(TopicPartition("t", 0), 1)]), eventlog.InvalidRecordError),
        (_commit(1), eventlog.InvalidRecordError),
        (lambda consumer: consumer.assign(tps(0)), eventlog.IllegalStateError),
        (lambda consumer: consumer.committed(("t", -1)), eventlog.UnknownPartitionError),
        (lambda consumer: consumer.committed("t"), eventlog.UnknownPartitionError),
        (lambda consumer: consumer.subscribe(["t"], listener=print), eventlog.InvalidConfigError),
    ],
)
def test_bad_calls_are_refused(
    log: eventlog.EventLog, call: Callable[[eventlog.Consumer], None], error: type[Exception]
) -> None:
    """Whatever cannot be committed, assigned or asked is an error of its own, and the group goes on."""
    log.create_topic("t")
    fill(log, 3)
    consumer = log.consumer("t", group="g", auto_offset_reset="earliest")
    assert len(consumer.poll()) == 3
    with pytest.raises(error):
        call(consumer)
    consumer.commit()
    assert consumer.committed(TopicPartition("t", 0)) == OffsetAndMetadata(3)


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"group": ""}, eventlog.InvalidGroupError),
        ({"group": 5}, eventlog.InvalidGroupError),
        ({"group": " "}, eventlog.InvalidGroupError),
        ({"group": "\t\n"}, eventlog.InvalidGroupError),
        ({"group": "x" * 2**15}, eventlog.InvalidGroupError),
        ({"group": "\ud800"}, eventlog.InvalidGroupError),
        ({"group": "g", "group_instance_id": ""}, eventlog.InvalidConfigError),
        ({"group": "g", "group_instance_id": " "}, eventlog.InvalidConfigError),
        ({"group": "g", "group_instance_id": "a b"}, eventlog.InvalidConfigError),
        ({"group": "g", "group_instance_id": "a/b"}, eventlog.InvalidConfigError),
        ({"group": "g", "group_instance_id": "\xfc"}, eventlog.InvalidConfigError),
        ({"group": "g", "group_instance_id": ".."}, eventlog.InvalidConfigError),
        ({"group": "g", "group_instance_id": "i" * 250}, eventlog.InvalidConfigError),
        ({"group": "g", "group_instance_id": 1}, eventlog.InvalidConfigError),
        ({"group": "g", "session_timeout_ms": 0}, eventlog.InvalidConfigError),
        ({"group": "g", "max_poll_interval_ms": 0}, eventlog.InvalidConfigError),
        ({"group": "g", "auto_commit_interval_ms": -1}, eventlog.InvalidConfigError),
        ({"group": "g", "enable_auto_commit": 1}, eventlog.InvalidConfigError),
        ({"group": "g", "partition_assignment_strategy": []}, eventlog.InvalidConfigError),
        ({"group": "g", "partition_assignment_strategy": "unknown"}, eventlog.InvalidConfigError),
        ({"group": "g", "partition_assignment_strategy": Last}, eventlog.InvalidConfigError),
        ({"group": "g", "partition_assignment_strategy": None}, eventlog.InvalidConfigError),
    ],
)
def test_bad_settings_are_refused(log: eventlog.EventLog, config: dict[str, Any], error: type[Exception]) -> None:
    """Settings of a group that are not possible are refused when the consumer is made."""
    with pytest.raises(error):
        log.consumer(**config)
    assert list(Path(log.path).glob("groups/*")) == []


def test_odd_names_are_possible(log: eventlog.EventLog) -> None:
    """Any text may be a client id, and any name that a topic may have an instance id."""
    log.create_topic("t")
    for text, instance in (("a/b", "a.b"), ("..", "..."), ("\ud800", "_"), ("\0", "-"), ("ü" * 200, "x" * 249)):
        with log.consumer("t", group="g", client_id=text, group_instance_id=instance, session_timeout_ms=1) as consumer:
            consumer.poll()
            assert consumer.group_metadata().group_instance_id == instance


def test_without_a_group_there_is_nothing_to_commit(log: eventlog.EventLog) -> None:
    """commit, commit_async, committed and group_metadata need a group; a listener does too."""
    log.create_topic("t")
    consumer = log.consumer("t")
    for call in (
        consumer.commit, consumer.commit_async, consumer.group_metadata,
        lambda: consumer.committed(TopicPartition("t", 0)),
        lambda: consumer.subscribe(["t"], listener=Listener()),
    ):  # fmt: skip
        with pytest.raises(eventlog.IllegalStateError):
            call()


def test_closed_is_closed(log: eventlog.EventLog) -> None:
    """After close every call but another close raises ClosedError."""
    log.create_topic("t")
    consumer = log.consumer("t", group="g")
    consumer.poll()
    consumer.close()
    for call in (consumer.poll, consumer.commit, consumer.commit_async, consumer.group_metadata, consumer.unsubscribe):
        with pytest.raises(eventlog.ClosedError):
            call()
    consumer.close()


# --- threads ---


def test_closing_the_log_ends_a_poll_that_waits(tmp_path: Path) -> None:
    """From another thread close ends a poll with ClosedError, and the member has left when it returns."""
    log = eventlog.open(tmp_path)
    log.create_topic("t")
    consumer = log.consumer("t", group="g")
    consumer.poll()
    ended: list[type[BaseException]] = []
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        try:
            consumer.poll(timeout=None)
        except BaseException as error:
            ended.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    waits.wait()
    log.close()
    thread.join(30)
    assert ended == [eventlog.ClosedError]
    assert list((tmp_path / "groups" / "g" / "members").iterdir()) == []


def test_a_call_that_meets_close_raises_closed_error(log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when another thread begins to close the consumer after the call has found it open."""
    log.create_topic("t")
    closing, goes_on = threading.Event(), threading.Event()

    class Slow(eventlog.RebalanceListener):
        def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
            closing.set()
            goes_on.wait(60)

    consumer = log.consumer(group="g")
    consumer.subscribe(["t"], listener=Slow())
    consumer.poll()
    closer = threading.Thread(target=consumer.close)
    held = SingleThread.held

    def while_another_closes(thread: SingleThread) -> Held:
        closer.start()
        closing.wait(60)
        return held(thread)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(SingleThread, "held", while_another_closes)
            with pytest.raises(eventlog.ClosedError):
                consumer.commit()
    finally:
        goes_on.set()
        closer.join()


def test_a_second_thread_is_refused(log: eventlog.EventLog) -> None:
    """While a listener runs, its own thread may use the consumer, and another one gets ConcurrentAccessError."""
    log.create_topic("t")
    errors: list[BaseException] = []

    class Asking(eventlog.RebalanceListener):
        def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
            consumer.commit()

    def ask() -> None:
        try:
            consumer.commit()
        except eventlog.ConcurrentAccessError as error:
            errors.append(error)

    consumer = log.consumer(group="g")
    consumer.subscribe(["t"], listener=Asking())
    consumer.poll()
    assert len(errors) == 1


def test_a_sleeping_member_notices_who_joins_and_leaves(tmp_path: Path) -> None:
    """A poll that waits for ever takes part in rebalances: it gives up, and takes over, without a record coming."""
    with eventlog.open(tmp_path) as log:
        log.create_topic("t", partitions=2)
        told = Listener()
        changed = threading.Semaphore(0)

        class Signalling(Listener):
            def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
                super().on_partitions_assigned(partitions)
                changed.release()

            def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
                super().on_partitions_revoked(partitions)
                changed.release()

        sleeper = log.consumer(group="g")
        sleeper.subscribe(["t"], listener=(told := Signalling()))

        def sleep() -> None:
            with pytest.raises(eventlog.WakeupError):
                sleeper.poll(timeout=None)

        thread = threading.Thread(target=sleep)
        thread.start()
        assert changed.acquire(timeout=30)
        other = log.consumer("t", group="g")
        other.poll()
        assert changed.acquire(timeout=30)
        while not other.assignment():
            other.poll(timeout=0.1)
        assert changed.acquire(
            timeout=30
        )  # the round in which it gave up the partition ends with what it gets: nothing
        other.close()
        assert changed.acquire(timeout=30)
        sleeper.wakeup()
        thread.join(30)
        (moved,) = told.told[1][1]
        assert told.told == [("assigned", [0, 1]), ("revoked", [moved]), ("assigned", []), ("assigned", [moved])]
