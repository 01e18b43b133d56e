"""Groups over real processes that are killed, stopped and forked, and over files that are damaged meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.clock import ManualClock
from eventlog.coordination.group_directory import GroupDirectory
from eventlog.files.filesystem import FileSystem

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds after which a test gives up; nothing takes nearly so long

REMOTE = """
import json, os, sys
import eventlog

log = eventlog.open(sys.argv[1])
told = []

class Listener(eventlog.RebalanceListener):
    def on_partitions_assigned(self, partitions): told.append("assigned")
    def on_partitions_revoked(self, partitions): told.append("revoked")
    def on_partitions_lost(self, partitions): told.append("lost")

consumer = log.consumer(**json.loads(sys.argv[2]))
consumer.subscribe(["t"], listener=Listener())
for line in sys.stdin:
    what = line.strip()
    error = ""
    try:
        if what == "poll":
            consumer.poll()
        elif what == "commit":
            consumer.commit()
        elif what == "fork":
            pid = os.fork()
            if pid == 0:
                errors = []
                for call in (consumer.poll, consumer.commit):
                    try:
                        call()
                    except eventlog.ClosedError:
                        errors.append("closed")
                consumer.close()
                os._exit(0 if errors == ["closed"] * 2 else 1)
            error = str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        elif what == "close":
            consumer.close()
    except eventlog.EventLogError as raised:
        error = type(raised).__name__
    assigned = [] if what == "close" else sorted(tp.partition for tp in consumer.assignment())
    print(json.dumps({"error": error, "assigned": assigned, "told": told}), flush=True)
"""


class Remote:
    """A member in a process of its own, which does one thing at a time when told to."""

    def __init__(self, path: Path, **config: Any) -> None:
        settings = {"group": "g", "auto_offset_reset": "earliest", "enable_auto_commit": False, **config}
        self.process = subprocess.Popen(
            [sys.executable, "-c", REMOTE, str(path), json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def do(self, what: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def poll(self) -> list[int]:
        answer = self.do("poll")
        assert answer["error"] == ""
        assigned: list[int] = answer["assigned"]
        return assigned

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log") as opened:
        for partition in opened.create_topic("t", partitions=4).partitions:
            partition.append([b"x", b"y"])
        yield opened


@pytest.fixture
def remote(log: eventlog.EventLog) -> Iterator[Callable[..., Remote]]:
    made: list[Remote] = []

    def make(**config: Any) -> Remote:
        made.append(Remote(Path(log.path), **config))
        return made[-1]

    yield make
    for each in made:
        each.end()


def local(log: eventlog.EventLog, **config: Any) -> eventlog.Consumer:
    return log.consumer("t", group="g", auto_offset_reset="earliest", enable_auto_commit=False, **config)


def owned(consumer: eventlog.Consumer) -> list[int]:
    return sorted(tp.partition for tp in consumer.assignment())


def until(condition: Callable[[], bool], *steps: Callable[[], Any]) -> None:
    """Take the steps in turn until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        for step in steps:
            step()


def share(consumer: eventlog.Consumer, other: Remote) -> list[int]:
    """Let the two settle; return the other's partitions."""
    theirs: list[int] = []

    def look() -> None:
        consumer.poll(timeout=0.01)
        theirs[:] = other.poll()

    until(lambda: len(theirs) == 2 and sorted(owned(consumer) + theirs) == [0, 1, 2, 3], look)
    return theirs


# --- processes ---


def test_a_killed_member_is_noticed_and_replaced(log: eventlog.EventLog, remote: Callable[..., Remote]) -> None:
    """kill -9 frees a member's partitions for those that poll, which go on at its commits."""
    consumer, other = local(log), remote()
    theirs = share(consumer, other)
    assert other.do("commit")["error"] == ""
    other.kill()
    until(lambda: owned(consumer) == [0, 1, 2, 3], lambda: consumer.poll(timeout=0.05))
    for number in theirs:
        assert consumer.committed(TopicPartition("t", number)) == OffsetAndMetadata(2)
        assert consumer.position(TopicPartition("t", number)) == 2
    assert len(list((Path(log.path) / "groups" / "g" / "members").iterdir())) == 1


def test_a_stopped_member_is_evicted_and_comes_back(log: eventlog.EventLog, remote: Callable[..., Remote]) -> None:
    """SIGSTOP for longer than max_poll_interval_ms costs the membership; woken, it cannot commit, learns what it lost
    with its next poll, and joins again.
    """
    consumer, other = local(log), remote(max_poll_interval_ms=1500)
    share(consumer, other)
    other.process.send_signal(signal.SIGSTOP)
    until(lambda: owned(consumer) == [0, 1, 2, 3], lambda: consumer.poll(timeout=0.05))
    other.process.send_signal(signal.SIGCONT)
    assert other.do("commit")["error"] == "FencedMemberError"
    share(consumer, other)
    assert "lost" in other.do("poll")["told"]
    assert other.do("commit")["error"] == ""


def test_a_forked_child_is_no_member(log: eventlog.EventLog, remote: Callable[..., Remote]) -> None:
    """In a forked child every call raises ClosedError, and its exit leaves its parent's membership as it was."""
    consumer, other = local(log), remote()
    theirs = share(consumer, other)
    generation = consumer.group_metadata().generation
    assert other.do("fork")["error"] == "0"
    for _ in range(3):
        assert other.poll() == theirs
        consumer.poll()
    assert other.do("commit")["error"] == ""
    assert consumer.group_metadata().generation == generation


def test_close_leaves_at_once(log: eventlog.EventLog, remote: Callable[..., Remote]) -> None:
    """When close returns another member's next poll has the partitions."""
    consumer, other = local(log), remote()
    share(consumer, other)
    assert other.do("close")["error"] == ""
    consumer.poll()
    assert owned(consumer) == [0, 1, 2, 3]


def test_a_killed_static_member_comes_back_unnoticed(log: eventlog.EventLog, remote: Callable[..., Remote]) -> None:
    """Killed and started again within its session timeout, a static member has its partitions, in that generation."""
    consumer = local(log)
    config = {"group_instance_id": "me", "session_timeout_ms": 600_000}
    other = remote(**config)
    theirs = share(consumer, other)
    generation = consumer.group_metadata().generation
    other.kill()
    consumer.poll(timeout=0.1)
    assert len(owned(consumer)) == 2
    again = remote(**config)
    assert again.poll() == theirs
    consumer.poll()
    assert consumer.group_metadata().generation == generation
    second = remote(**config)
    assert second.do("poll")["error"] == "FencedInstanceIdError"


# --- damage ---


def truncate(path: Path) -> None:
    content = path.read_bytes()
    replace(path, content[: len(content) // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    replace(path, bytes(content))


def empty(path: Path) -> None:
    replace(path, b"")


def replace(path: Path, content: bytes) -> None:
    path.with_suffix(".new").write_bytes(content)  # never shrunk in place: others have it mapped
    path.with_suffix(".new").rename(path)


def remove(path: Path) -> None:
    path.unlink()


def remove_all(path: Path) -> None:
    for each in path.iterdir():
        each.unlink()


def lose_magic(path: Path) -> None:
    for each in path.iterdir():
        with each.open("r+b") as file:
            file.write(bytes(8))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.json", truncate),
        ("state.json", flip),
        ("state.json", empty),
        ("state.json", remove),
        ("control", remove),
        ("control", empty),
        ("members", remove_all),
        ("members", lose_magic),
        ("members", shutil.rmtree),
    ],
)
@pytest.mark.parametrize("joins", [False, True])
def test_damage_while_members_live(tmp_path: Path, name: str, damage: Callable[[Path], None], joins: bool) -> None:
    """Whatever file is damaged: no two members that can commit own one partition, the group recovers by itself, and
    committed offsets stay.
    """
    clock = ManualClock(start=1_700_000_000.0)
    with eventlog.open(tmp_path, clock=clock) as log:
        for partition in log.create_topic("t", partitions=4).partitions:
            partition.append([b"x", b"y", b"z"])
        members = [local(log) for _ in range(2)]
        in_turn(members, clock)
        for consumer in members:
            consumer.commit(dict.fromkeys(consumer.assignment(), 2))
        damage(tmp_path / "groups" / "g" / name)
        if joins:
            members.append(local(log))
        in_turn(members[::-1], clock)
        assert all(owned(consumer) for consumer in members)
        check_shared(members)
        for consumer in members:
            for tp in consumer.assignment():
                assert consumer.committed(tp) == OffsetAndMetadata(2)
        members.pop().close()
        in_turn(members, clock)
        check_shared(members)


def in_turn(members: list[eventlog.Consumer], clock: ManualClock) -> None:
    """Let the members poll several times; at no time can two of them commit for one partition."""
    for _ in range(6):
        for consumer in members:
            clock.advance(0.03)
            consumer.poll()
            assert all(who_may_commit(members, number) <= 1 for number in range(4))


def check_shared(members: list[eventlog.Consumer]) -> None:
    assert sorted(number for consumer in members for number in owned(consumer)) == [0, 1, 2, 3]
    assert [who_may_commit(members, number) for number in range(4)] == [1, 1, 1, 1]


def who_may_commit(members: list[eventlog.Consumer], number: int) -> int:
    able = 0
    for consumer in members:
        with contextlib.suppress(eventlog.CommitFailedError):
            consumer.commit({TopicPartition("t", number): 2})
            able += 1
    return able


def test_damage_without_members(tmp_path: Path) -> None:
    """A state that was damaged while nobody was there is put aside, and the group begins with the generation it had."""
    with eventlog.open(tmp_path) as log:
        log.create_topic("t")
        with local(log) as consumer:
            consumer.poll()
            consumer.commit({TopicPartition("t", 0): 0})
            generation = consumer.group_metadata().generation
        truncate(tmp_path / "groups" / "g" / "state.json")
        with local(log) as consumer:
            consumer.poll()
            assert consumer.group_metadata().generation > generation
            assert consumer.committed(TopicPartition("t", 0)) == OffsetAndMetadata(0)
        assert (tmp_path / "groups" / "g" / "state.json.damaged").exists()


def test_a_state_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """It is neither guessed at nor put aside."""
    with eventlog.open(tmp_path) as log:
        log.create_topic("t")
        with local(log) as consumer:
            consumer.poll()
        path = tmp_path / "groups" / "g" / "state.json"
        newer = json.dumps({**json.loads(path.read_bytes()), "format": 2}).encode()
        path.write_bytes(newer)
        with pytest.raises(eventlog.UnsupportedFormatError), local(log) as consumer:
            consumer.poll()
        assert path.read_bytes() == newer


# --- who dies while it changes the state ---


class Dies(FileSystem):
    """Fails from the rename of a state on, before or after it, as if the process had been killed there."""

    when = ""

    def rename(self, source: Any, target: Any) -> None:  # type: ignore[override]
        if self.when and str(target).endswith("state.json"):
            if self.when == "after":
                os.rename(source, target)
            raise SystemExit
        os.rename(source, target)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["leave", "join", "evict"])
def test_who_dies_in_a_change_leaves_a_group_that_goes_on(tmp_path: Path, when: str, what: str) -> None:
    """Dead just before or behind the replacing of the state, before anything else is done: the others settle."""
    clock = ManualClock(start=1_700_000_000.0)
    dies = Dies()
    with (
        eventlog.open(tmp_path, clock=clock) as log,
        eventlog.EventLog(tmp_path, clock=clock, filesystem=dies) as doomed_log,
    ):
        log.create_topic("t", partitions=4)
        first, hung = local(log), local(log, max_poll_interval_ms=1000)
        doomed = local(doomed_log)
        crowd = [first, hung] if what == "join" else [first, hung, doomed]
        for _ in range(4):
            for consumer in crowd:
                consumer.poll()
        if what == "evict":
            clock.advance(1.1)
        dies.when = when
        with pytest.raises(SystemExit):
            doomed.close() if what == "leave" else doomed.poll()
        assert doomed._group is not None
        doomed._group.membership._forget()  # what the kernel does for a dead process
        doomed._group.membership.directory.close()
        dies.when = ""
        if what == "evict":
            with pytest.raises(eventlog.FencedMemberError) if when == "after" else contextlib.nullcontext():
                hung.commit({TopicPartition("t", owned(hung)[0]): 0})
        for _ in range(6):
            for consumer in (first, hung):
                clock.advance(0.06)
                consumer.poll()
        assert sorted(owned(first) + owned(hung)) == [0, 1, 2, 3]
        assert len(owned(first)) == len(owned(hung)) == 2
        GroupDirectory(FileSystem(), str(tmp_path), "g").read().check()
