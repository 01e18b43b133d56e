"""Looking at groups, listing and deleting them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import FileSystem

ROOT = Path(__file__).resolve().parents[2]
MEMBER = """
import sys, eventlog
log = eventlog.open(sys.argv[1])
consumer = log.consumer("orders", group="billing", auto_offset_reset="earliest", client_id="child")
consumer.poll()
if sys.argv[2] == "commit":
    consumer.commit()
print("in", flush=True)
for line in sys.stdin:
    consumer.poll()
    print("polled", flush=True)
"""


def member(log: eventlog.EventLog, group: str = "billing", **config: Any) -> eventlog.Consumer:
    """A consumer that has joined."""
    config = {"auto_offset_reset": "earliest", "enable_auto_commit": False, **config}
    consumer = log.consumer("orders", group=group, **config)
    consumer.poll()
    return consumer


def settle(*consumers: eventlog.Consumer) -> None:
    """Poll until everyone has what it should have: each has its turn to give up, and one to take."""
    for _ in range(3):
        for consumer in consumers:
            consumer.poll(max_records=1)


@contextlib.contextmanager
def child(log_path: Path, what: str = "commit") -> Iterator[subprocess.Popen[str]]:
    """A member in a process of its own, until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", MEMBER, str(log_path), what], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "in\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def orders(log: eventlog.EventLog) -> eventlog.Topic:
    """A topic of three partitions, with 3, 2 and no records."""
    topic = log.create_topic("orders", partitions=3)
    topic.partitions[0].append([b"a", b"b", b"c"])
    topic.partitions[1].append([b"d", b"e"])
    return topic


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below ``root`` with its bytes and its time of change."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*") if path.is_file()
    }  # fmt: skip


# --- members and lag ---


def test_a_group_is_described(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """Members appear with who and where they are and what they own, partitions with commit, end, lag and owner."""
    first = member(log, client_id="one", group_instance_id="left")
    second = member(log, client_id="two")
    settle(first, second)
    first_tp, second_tp = first.assignment()[0], second.assignment()[0]
    first.commit({first_tp: eventlog.OffsetAndMetadata(1, "so far")})
    found = log.group("billing")
    assert (found.group, found.state, found.assignor) == ("billing", "stable", "cooperative-sticky")
    assert found.generation == first.group_metadata().generation
    by_client = {one.client_id: one for one in found.members}
    assert by_client.keys() == {"one", "two"}
    for consumer, name, instance in ((first, "one", "left"), (second, "two", None)):
        one = by_client[name]
        assert one.member_id == consumer.group_metadata().member_id
        assert (one.host, one.pid, one.group_instance_id) == (socket.gethostname(), os.getpid(), instance)
        assert (one.topics, one.assignment) == (("orders",), tuple(sorted(consumer.assignment())))
        assert one.is_alive and one.last_poll_ms_ago is not None and one.last_poll_ms_ago >= 0
    assert [(one.topic, one.partition) for one in found.partitions] == [("orders", n) for n in range(3)]
    lags = {eventlog.TopicPartition(one.topic, one.partition): one for one in found.partitions}
    end = orders.partitions[first_tp.partition].log_end_offset
    assert lags[first_tp] == eventlog.PartitionLag(
        *first_tp, 1, end, "so far", first.group_metadata().member_id
    )  # fmt: skip
    assert lags[first_tp].lag == end - 1
    uncommitted = lags[second_tp]
    assert (uncommitted.current_offset, uncommitted.lag) == (None, None)
    assert uncommitted.member_id == second.group_metadata().member_id
    assert uncommitted.log_end_offset == orders.partitions[second_tp.partition].log_end_offset


def test_lag_is_added_up(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """total_lag and records_lag_max are over all partitions whose lag is known; a negative lag is none."""
    with member(log) as consumer:
        consumer.commit({eventlog.TopicPartition("orders", n): 0 for n in (0, 1)})
        found = log.group("billing")
        assert [one.lag for one in found.partitions] == [3, 2, None]
        assert (found.total_lag, found.records_lag_max) == (5, 3)
    assert eventlog.PartitionLag("t", 0, 7, 5).lag is None
    assert eventlog.GroupDescription("g", "empty").records_lag_max == 0


def test_a_topic_that_is_gone_leaves_the_rest_readable(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """What was committed for a deleted topic is gone with it; a member's partition of one has no end, and no lag."""
    log.create_topic("other").partitions[0].append([b"x", b"y"])
    with log.consumer(group="billing", enable_auto_commit=False) as consumer:
        consumer.assign([eventlog.TopicPartition("orders", 0), eventlog.TopicPartition("other", 0)])
        consumer.commit({eventlog.TopicPartition("orders", 0): 3, eventlog.TopicPartition("other", 0): 1})
    log.create_topic("third")
    with log.consumer(group="billing") as reader:
        reader.subscribe(pattern="third")
        reader.poll()
        log.delete_topic("orders")
        log.delete_topic("third")
        other, third = log.group("billing").partitions
        assert (other.log_end_offset, other.lag) == (2, 1)
        assert (third.topic, third.current_offset, third.log_end_offset, third.lag) == ("third", None, None, None)
    log.create_topic("orders").partitions[0].append([b"new"])
    assert [lag.topic for lag in log.group("billing").partitions] == ["other"]


def test_the_last_poll_is_told_by_the_clock(log_path: Path) -> None:
    """last_poll_ms_ago grows with the time since the poll; after a restart of the machine's clock it is not known."""
    clock = eventlog.ManualClock()
    clock.advance(50)
    with eventlog.open(log_path, clock=clock) as log:
        log.create_topic("orders")
        consumer = member(log)
        clock.advance(1.5)
        assert log.group("billing").members[0].last_poll_ms_ago == 1500
        consumer.poll()
        assert log.group("billing").members[0].last_poll_ms_ago == 0
        with eventlog.open(log_path, clock=eventlog.ManualClock()) as later:
            assert later.group("billing").members[0].last_poll_ms_ago is None


# --- states ---


def test_a_group_rebalances_until_everyone_has_its_own(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """From a join until partitions have changed hands the group is rebalancing, before and after it is stable."""
    first = member(log)
    assert log.group("billing").state == "stable"
    second = member(log)
    assert log.group("billing").state == "rebalancing"
    first.poll()
    assert log.group("billing").state == "rebalancing"
    second.poll()
    assert log.group("billing").state == "stable"


def test_a_group_without_members_is_empty_or_dead(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """When all have left, committed offsets make the group empty; without any it is dead, and not listed."""
    with member(log, "with commits") as consumer:
        consumer.commit()
    member(log, "without").close()
    assert log.group("with commits").state == "empty"
    assert log.group("with commits").members == ()
    assert log.group("without") == eventlog.GroupDescription("without", "dead", log.group("without").generation)
    assert log.groups() == ["with commits"]


def test_a_killed_member_is_not_alive_before_anyone_has_noticed(log_path: Path, orders: eventlog.Topic) -> None:
    """After kill -9 the description says so at once: not alive and rebalancing; when the others know, it is gone."""
    with eventlog.open(log_path) as log:
        ours = member(log, client_id="ours")
        with child(log_path) as process:
            settle(ours)
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("poll\n")
            process.stdin.flush()
            assert process.stdout.readline() == "polled\n"
            assert log.group("billing").state == "stable"
            process.send_signal(signal.SIGKILL)
            process.wait()
            found = log.group("billing")
            assert {one.client_id: one.is_alive for one in found.members} == {"ours": True, "child": False}
            assert found.state == "rebalancing"
            while len(log.group("billing").members) > 1:
                ours.poll(timeout=0.1, max_records=1)
        settle(ours)
        found = log.group("billing")
        assert (found.state, [one.client_id for one in found.members]) == ("stable", ["ours"])
        assert {one.member_id for one in found.partitions} == {ours.group_metadata().member_id}


@pytest.mark.parametrize(("what", "state", "listed"), [("commit", "empty", ["billing"]), ("nothing", "dead", [])])
def test_a_group_whose_members_were_all_killed(
    log: eventlog.EventLog, log_path: Path, orders: eventlog.Topic, what: str, state: str, listed: list[str]
) -> None:
    """It is listed and stable while its only member lives; killed, it is empty or dead, with nobody to notice."""
    with child(log_path, what) as process:
        assert (log.groups(), log.group("billing").state) == (["billing"], "stable")
        process.kill()
        process.wait()
        found = log.group("billing")
        assert (found.state, [one.is_alive for one in found.members]) == (state, [False])
        assert log.groups() == listed
        log.delete_group("billing")
        assert log.group("billing").members == ()


def test_a_static_member_that_is_away_is_expected_back(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """A static member that was closed stays in the list, not alive; the group is stable, and its partitions wait."""
    other = member(log)
    static = member(log, group_instance_id="left")
    settle(other, static)
    waiting = static.assignment()
    static.close()
    found = log.group("billing")
    assert {one.group_instance_id: one.is_alive for one in found.members} == {None: True, "left": False}
    settle(other)
    assert not set(other.assignment()) & set(waiting)
    assert log.group("billing").state == "stable"


def test_members_of_a_group_that_lost_its_state_are_seen(log: eventlog.EventLog, log_path: Path) -> None:
    """Without its state file, a group's living members are listed by their ids, until they have joined again."""
    log.create_topic("orders")
    consumer = member(log, client_id="one")
    known = consumer.group_metadata().member_id
    (log_path / "groups" / "billing" / "state.json").unlink()
    found = log.group("billing")
    assert found.state == "rebalancing"
    assert [(one.member_id, one.pid, one.is_alive) for one in found.members] == [(known, None, True)]
    assert log.groups() == ["billing"]
    with pytest.raises(eventlog.GroupNotEmptyError):
        log.delete_group("billing")


class _WhenListed(FileSystem):
    """Does something once, right after the members of a group are listed."""

    then: Any = None

    def listdir(self, path: str) -> list[str]:  # type: ignore[override]
        names = os.listdir(path)
        if self.then is not None and path.endswith("members"):
            then, self.then = self.then, None
            then()
        return names


@pytest.mark.parametrize("does", ["leave", "join"])
def test_who_comes_or_goes_while_the_group_is_looked_at_does_not_appear_dead(log_path: Path, does: str) -> None:
    """A member that leaves or joins between two readings of the files is either there and alive, or not there."""
    fs = _WhenListed()
    with eventlog.open(log_path) as log, eventlog.open(log_path, filesystem=fs) as looking:
        log.create_topic("orders", partitions=2)
        first = member(log, client_id="first")
        if does == "leave":
            second = member(log, client_id="second")
            settle(first, second)
            fs.then = second.close
        else:
            fs.then = lambda: member(log, client_id="second")
        found = [(one.client_id, one.is_alive) for one in looking.group("billing").members]
        assert sorted(found) == [("first", True), ("second", True)][: 1 if does == "leave" else 2]
        assert fs.then is None


# --- looking changes nothing ---


def test_looking_takes_no_lock(log: eventlog.EventLog, log_path: Path, orders: eventlog.Topic) -> None:
    """A group is described and listed while somebody else holds its lock."""
    consumer = member(log)
    lock = FileLock(FileSystem(), str(log_path / "groups" / "billing" / "lock"))
    with lock:
        assert log.group("billing").state == "stable"
        assert log.groups() == ["billing"]
    lock.close()
    consumer.close()


def test_looking_at_a_readonly_log_changes_no_byte(log_path: Path) -> None:
    """Opened for reading only, groups are listed and described as ever, and not one file is changed or made."""
    with eventlog.open(log_path) as log:
        log.create_topic("orders").partitions[0].append([b"a", b"b"])
        with member(log) as consumer:
            consumer.commit({eventlog.TopicPartition("orders", 0): 1})
        member(log, "dead").close()
    before = contents(log_path)
    with eventlog.open(log_path, readonly=True) as log:
        assert log.groups() == ["billing"]
        found = log.group("billing")
        assert (found.state, [one.lag for one in found.partitions]) == ("empty", [1])
        assert log.group("dead").state == "dead"
        with pytest.raises(eventlog.UnknownGroupError):
            log.group("never was")
        with pytest.raises(eventlog.ReadOnlyLogError):
            log.delete_group("billing")
    assert contents(log_path) == before


def test_members_are_seen_from_a_readonly_log(log: eventlog.EventLog, log_path: Path, orders: eventlog.Topic) -> None:
    """Who may only read sees the living members with their partitions and their last poll."""
    consumer = member(log)
    with eventlog.open(log_path, readonly=True) as looking:
        found = looking.group("billing")
        assert (found.state, looking.groups()) == ("stable", ["billing"])
        assert found.members[0].is_alive and found.members[0].last_poll_ms_ago is not None
        assert found.members[0].assignment == tuple(consumer.assignment())


def test_a_log_without_groups(log_path: Path) -> None:
    """A log that never had a group lists none, also for reading only, and makes no directory for them."""
    with eventlog.open(log_path) as log:
        assert log.groups() == []
        with pytest.raises(eventlog.UnknownGroupError, match="never was"):
            log.group("never was")
        with pytest.raises(eventlog.UnknownGroupError, match="never was"):
            log.delete_group("never was")
    with eventlog.open(log_path, readonly=True) as log:
        assert log.groups() == []
    assert not (log_path / "groups").exists()


@pytest.mark.parametrize("name", ["", " ", None, 7, "x" * 2**15], ids=lambda name: repr(name)[:9])
def test_what_is_no_name_of_a_group_is_refused(log: eventlog.EventLog, name: Any) -> None:
    """Looking at or deleting it is InvalidGroupError."""
    for call in (log.group, log.delete_group):
        with pytest.raises(eventlog.InvalidGroupError):
            call(name)


def test_any_name_is_listed_as_it_was_given(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """Names with slashes, dots, spaces and other letters come back unchanged, sorted."""
    names = ["../up", "a b", "billing/eu", "größe", "."]
    for number, name in enumerate(names):
        with member(log, name) as consumer:
            if number % 2:
                consumer.commit()
            assert name in log.groups()
            assert log.group(name).state == "stable"
    assert log.groups() == sorted(names[1::2])


def test_a_closed_log_shows_no_group(log: eventlog.EventLog) -> None:
    """Once the log is closed, all three are ClosedError."""
    log.close()
    for call in (log.groups, lambda: log.group("g"), lambda: log.delete_group("g")):
        with pytest.raises(eventlog.ClosedError):
            call()


# --- deleting ---


def test_a_deleted_group_begins_anew(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """Its commits are gone, others' stay, it is not listed, and its next member reads by auto_offset_reset."""
    for group in ("billing", "shipping"):
        with member(log, group) as consumer:
            consumer.commit({eventlog.TopicPartition("orders", 0): 3})
    generation = log.group("billing").generation
    log.delete_group("billing")
    assert (log.groups(), log.group("billing").state) == (["shipping"], "dead")
    assert log.group("shipping").partitions[0].current_offset == 3
    with pytest.raises(eventlog.UnknownGroupError):
        log.delete_group("billing")
    with log.consumer("orders", group="billing", auto_offset_reset="earliest") as consumer:
        assert len(consumer.poll()) == 5
        assert consumer.committed(eventlog.TopicPartition("orders", 0)) is None
        assert consumer.group_metadata().generation > generation


def test_a_group_with_living_members_is_not_deleted(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """The refusal changes nothing: the members go on, and their commits are there."""
    with member(log) as consumer:
        consumer.commit()
        before = log.group("billing").partitions
        with pytest.raises(eventlog.GroupNotEmptyError, match="1 living member "):
            log.delete_group("billing")
        assert log.group("billing").partitions == before
        assert log.group("billing").state == "stable"
        consumer.commit()
    log.delete_group("billing")


def test_a_group_that_only_committed_is_deleted(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """Commits of a consumer that chose its partitions itself make a group, and go with it."""
    with log.consumer(group="billing", enable_auto_commit=False) as consumer:
        consumer.assign([eventlog.TopicPartition("orders", 0)])
        consumer.commit({eventlog.TopicPartition("orders", 0): 2})
    assert (log.groups(), log.group("billing").state) == (["billing"], "empty")
    log.delete_group("billing")
    assert log.groups() == []


def test_a_member_that_nobody_could_see_is_fenced_when_its_group_is_deleted(
    log: eventlog.EventLog, log_path: Path, orders: eventlog.Topic
) -> None:
    """A living member whose page was removed does not keep the group; its commit is refused, and it joins again."""
    consumer = member(log)
    consumer.commit()
    (log_path / "groups" / "billing" / "members" / consumer.group_metadata().member_id).unlink()
    log.delete_group("billing")
    with pytest.raises(eventlog.FencedMemberError):
        consumer.commit()
    assert log.groups() == []
    consumer.poll()
    assert len(consumer.assignment()) == 3
    consumer.commit()
    assert log.group("billing").state == "stable"


class _FailsToUnlink(FileSystem):
    """Cannot remove the state of a group."""

    def unlink(self, path: str) -> None:  # type: ignore[override]
        if path.endswith("state.json"):
            raise OSError(5, "Input/output error")
        os.unlink(path)


def test_a_deletion_that_stops_halfway_can_be_repeated(log_path: Path) -> None:
    """When the offsets are gone and the state is not, the group is dead; deleting it again removes the rest."""
    with eventlog.open(log_path) as log:
        log.create_topic("orders")
        with child(log_path) as process:
            process.kill()
            process.wait()
        with eventlog.open(log_path, filesystem=_FailsToUnlink()) as failing:
            with pytest.raises(eventlog.StorageError):
                failing.delete_group("billing")
            assert failing.group("billing").state == "dead"
        assert (log_path / "groups" / "billing" / "state.json").exists()
        log.delete_group("billing")
        assert sorted(os.listdir(log_path / "groups" / "billing")) == ["control", "lock", "members"]
        assert os.listdir(log_path / "groups" / "billing" / "members") == []
        with member(log) as consumer:
            assert len(consumer.assignment()) == 1


class _LooksAtTheLock(FileSystem):
    """Notes whether the group's lock could be had while its state is removed."""

    is_free: bool | None = None

    def unlink(self, path: str) -> None:  # type: ignore[override]
        if path.endswith("state.json"):
            lock = FileLock(FileSystem(), os.path.join(os.path.dirname(path), "lock"))
            self.is_free = lock.acquire(shared=True, blocking=False)
            lock.close()
        os.unlink(path)


def test_nobody_joins_or_commits_while_a_group_is_deleted(log_path: Path) -> None:
    """The group's lock is held, so that neither a member nor a commit comes between offsets and state."""
    fs = _LooksAtTheLock()
    with eventlog.open(log_path, filesystem=fs) as log:
        log.create_topic("orders")
        with member(log) as consumer:
            consumer.commit()
        log.delete_group("billing")
        assert fs.is_free is False


def test_who_knew_the_group_from_before_shares_it_with_who_comes_after(
    log: eventlog.EventLog, orders: eventlog.Topic
) -> None:
    """A consumer that has the lock's file open over a deletion joins the same group as a new one: no two own one."""
    early = member(log)
    early.unsubscribe()
    log.delete_group("billing")
    late = member(log)
    early.subscribe(["orders"])
    settle(early, late)
    assert sorted([*early.assignment(), *late.assignment()]) == [("orders", n) for n in range(3)]
    assert len(log.group("billing").members) == 2


def test_joining_and_deleting_at_once(log: eventlog.EventLog, orders: eventlog.Topic) -> None:
    """Whoever wins: a group is deleted only between members, and a member that has joined owns and commits."""
    failures: list[BaseException] = []
    done = threading.Event()

    def come_and_go() -> None:
        try:
            for _ in range(60):
                with member(log) as consumer:
                    assert len(consumer.assignment()) == 3
                    consumer.commit({eventlog.TopicPartition("orders", 0): 1})
                    committed = consumer.committed(eventlog.TopicPartition("orders", 0))
                    assert committed is not None and committed.offset == 1
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    outcomes = {"deleted": 0, "refused": 0, "unknown": 0}
    while not done.is_set():
        try:
            log.delete_group("billing")
            outcomes["deleted"] += 1
        except eventlog.GroupNotEmptyError:
            outcomes["refused"] += 1
        except eventlog.UnknownGroupError:
            outcomes["unknown"] += 1
    thread.join()
    print(outcomes)
    assert failures == []
    with contextlib.suppress(eventlog.UnknownGroupError):
        log.delete_group("billing")
    assert log.groups() == []
