"""Kill a process at every point of its work, one run for each, and check what it leaves behind.

``calls``: before each system call, by ``strace``, which attaches to a forked child that waits for a sign, so that its
counters begin with the work itself. ``tears``: in the middle of each write. ``lines``: before each line of Python
that deals with a partition's files, which also falls between two stores into a mapped page.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import harness
from harness import Pipe, calls_in, child, kill_self, record, run, status_of

import eventlog
from eventlog.coordination.offset_store import OffsetStore
from eventlog.files.filesystem import FileSystem
from eventlog.format.filenames import DELETED, STAGED, segment_name
from eventlog.model import TopicPartition

Acknowledge = Callable[[object], None]


class Scenario:
    """Something to be interrupted: what is there before, the work, and what must be true afterwards."""

    accompanied = False  # by a process that has the log open all the time, so that no session ends
    floor = "/eventlog/storage/"  # whose lines to die between

    def __init__(self) -> None:
        self.filesystem = FileSystem()  # that the work goes through

    def prepare(self, path: str) -> None:
        """Make what the work begins with."""

    def spoil(self, path: str) -> None:
        """Do damage to it, after the companion opened it."""

    def open(self, path: str) -> eventlog.EventLog:
        """Open the log for the work."""
        return eventlog.open(path, filesystem=self.filesystem)

    def companion(self, path: str) -> Companion | None:
        """Start the process that accompanies it, if any."""
        return Companion(path) if self.accompanied else None

    def work(self, path: str, acknowledge: Acknowledge) -> None:
        """Do it, and acknowledge each step."""
        raise NotImplementedError

    def check(self, path: str, acknowledged: list[object]) -> None:
        """Look at what is left, in a fresh process."""
        raise NotImplementedError


class CreateLog(Scenario):
    """Open a directory that does not exist yet, in another one that does not."""

    def work(self, path: str, acknowledge: Acknowledge) -> None:
        with eventlog.open(os.path.join(path, "new", "log"), parents=True, filesystem=self.filesystem):
            acknowledge("opened")

    def check(self, path: str, acknowledged: list[object]) -> None:
        for _ in range(2):
            with eventlog.open(os.path.join(path, "new", "log"), parents=True) as log:
                log.create_topic(harness.TOPIC, exist_ok=True, **harness.SMALL_SEGMENTS)
        harness.check_goes_on(os.path.join(path, "new", "log"), [], 0)


class CreateTopic(Scenario):
    """Create topics and add partitions to one."""

    def prepare(self, path: str) -> None:
        eventlog.open(path).close()

    def work(self, path: str, acknowledge: Acknowledge) -> None:
        with self.open(path) as log:
            topic = log.create_topic(harness.TOPIC, partitions=2, **harness.SMALL_SEGMENTS)
            acknowledge(2)
            topic.add_partitions(3)
            acknowledge(3)
            topic.partitions[2].append([b"x"])
            acknowledge("x")

    def check(self, path: str, acknowledged: list[object]) -> None:
        with eventlog.open(path) as log:
            for count in acknowledged[:2]:
                assert len(log.topic(harness.TOPIC).partitions) >= count
            if "x" in acknowledged:
                assert harness.read_all(log.topic(harness.TOPIC).partitions[2]) == [(b"x", None)]
            topic = log.create_topic(harness.TOPIC, partitions=2, exist_ok=True, **harness.SMALL_SEGMENTS)
            topic.add_partitions(4)
            assert [partition.log_end_offset for partition in topic.partitions][:2] == [0, 0]
            assert topic.partitions[3].append([b"y"]).base_offset == 0
            harness.check_clean(log)
        check_no_leftovers(path)
        harness.check_goes_on(path, [], 0)


class DeleteTopic(Scenario):
    """Delete a topic that holds records, then make it anew."""

    def prepare(self, path: str) -> None:
        with eventlog.open(path) as log:
            topic = log.create_topic(harness.TOPIC, partitions=2, **harness.SMALL_SEGMENTS)
            for number in range(6):
                value, key = record(number)
                topic.partitions[0].append([value], [key])
            topic.partitions[1].append([b"other"])

    def work(self, path: str, acknowledge: Acknowledge) -> None:
        with self.open(path) as log:
            assert log.topic(harness.TOPIC).partitions[0].log_end_offset == 6
            log.delete_topic(harness.TOPIC)
            acknowledge("deleted")
            log.create_topic(harness.TOPIC, partitions=2, **harness.SMALL_SEGMENTS)
            acknowledge("created")

    def check(self, path: str, acknowledged: list[object]) -> None:
        with eventlog.open(path) as log:
            exists = harness.TOPIC in log.topics()
            assert exists or "created" not in acknowledged
            topic = log.create_topic(harness.TOPIC, partitions=2, exist_ok=True, **harness.SMALL_SEGMENTS)
            found = harness.read_all(topic.partitions[0])
            if exists and "deleted" not in acknowledged and found:
                assert found == [record(number) for number in range(6)]
                assert harness.read_all(topic.partitions[1]) == [(b"other", None)]
            else:
                assert found == harness.read_all(topic.partitions[1]) == []
        check_no_leftovers(path)
        harness.check_goes_on(path, found, 0)


class Append(Scenario):
    """Append records with and without keys over several segments, one of them durable, and close."""

    def work(self, path: str, acknowledge: Acknowledge) -> None:
        with self.open(path) as log:
            partition = log.create_topic(harness.TOPIC, **harness.SMALL_SEGMENTS).partitions[0]
            acknowledge("created")
            for number in range(harness.RECORDS):
                value, key = record(number)
                result = partition.append([value], [key], durability="disk" if number == 5 else None)
                assert result.base_offset == number
                acknowledge(number)

    def check(self, path: str, acknowledged: list[object]) -> None:
        if not acknowledged:
            with eventlog.open(path) as log:
                log.create_topic(harness.TOPIC, exist_ok=True, **harness.SMALL_SEGMENTS)
        count = max(0, len(acknowledged) - 1)
        harness.check_goes_on(path, [record(number) for number in range(count)], possible=1)


class AppendAccompanied(Append):
    """The same while another process has the log open: its session goes on, and no recovery scans the log."""

    accompanied = True

    def prepare(self, path: str) -> None:
        with eventlog.open(path) as log:
            log.create_topic(harness.TOPIC, **harness.SMALL_SEGMENTS)

    def work(self, path: str, acknowledge: Acknowledge) -> None:
        acknowledge("there already")
        with self.open(path) as log:
            partition = log.topic(harness.TOPIC).partitions[0]
            for number in range(harness.RECORDS):
                value, key = record(number)
                assert partition.append([value], [key]).base_offset == number
                acknowledge(number)


class TakeOver(AppendAccompanied):
    """A writer died in the middle of a batch, of a roll and of an index; its successor is killed while tidying up."""

    def prepare(self, path: str) -> None:
        super().prepare(path)
        super().work(path, lambda _: None)

    def spoil(self, path: str) -> None:
        directory = os.path.join(path, "topics", harness.TOPIC, "0")
        last = max(name for name in os.listdir(directory) if name.endswith(".log"))
        for name, junk in (
            (last, b"half a batch" * 20),
            (last.removesuffix(".log") + ".index", b"\x07" * 16),
            (last.removesuffix(".log") + ".timeindex", b"\x07" * 24),
            (segment_name(harness.RECORDS, ".log"), b"half a batch in a segment that never began"),
            (segment_name(harness.RECORDS, ".index"), b""),
        ):
            with open(os.path.join(directory, name), "ab") as file:
                file.write(junk)

    def work(self, path: str, acknowledge: Acknowledge) -> None:
        with self.open(path) as log:
            partition = log.topic(harness.TOPIC).partitions[0]
            for number in range(harness.RECORDS, harness.RECORDS + 4):
                value, key = record(number)
                assert partition.append([value], [key]).base_offset == number
                acknowledge(number)

    def check(self, path: str, acknowledged: list[object]) -> None:
        count = harness.RECORDS + len(acknowledged)
        harness.check_goes_on(path, [record(number) for number in range(count)], possible=1)


class Recover(TakeOver):
    """The same with nobody else there: the successor recovers the log, and is killed while it does."""

    accompanied = False


class CommitOffsets(Scenario):
    """Commit offsets, the first of all: their topic appears, and the group's partition."""

    before = 0
    count = 6
    places = TopicPartition("orders", 0), TopicPartition("orders", 1)

    def prepare(self, path: str) -> None:
        with eventlog.open(path) as log:
            store = self.store(log)
            for number in range(self.before):
                self.commit(store, number)

    def work(self, path: str, acknowledge: Acknowledge) -> None:
        with self.open(path) as log:
            store = self.store(log)
            for number in range(self.before, self.before + self.count):
                self.commit(store, number)
                acknowledge(number)

    def check(self, path: str, acknowledged: list[object]) -> None:
        least = self.before + len(acknowledged) - 1
        with eventlog.open(path) as log:
            store = self.store(log)
            found = [commit and commit.offset for commit in store.committed("billing", self.places).values()]
            assert found in ([number if number >= 0 else None] * 2 for number in (least, least + 1)), found
            assert store.replayed <= 1001
            self.commit(store, 7000)
            harness.check_clean(log)
        check_no_leftovers(path)
        with eventlog.open(path) as log:
            assert [commit.offset for commit in self.store(log).committed("billing", self.places).values()] == [
                7000
            ] * 2

    def store(self, log: eventlog.EventLog) -> OffsetStore:
        """Return the log's committed offsets."""
        return OffsetStore(log._registry, log._context.clock, 1000)

    def commit(self, store: OffsetStore, offset: int) -> None:
        """Commit for both partitions, or for none."""
        store.commit("billing", dict.fromkeys(self.places, eventlog.OffsetAndMetadata(offset)))


class CommitThousandth(CommitOffsets):
    """Commit offsets until a snapshot is written, and some more."""

    before = 498  # of two records each: the third one from here on makes more than a thousand

    def prepare(self, path: str) -> None:
        super().prepare(path)
        assert not glob.glob(os.path.join(path, "topics", "__consumer_offsets", "*", "snapshot"))

    def check(self, path: str, acknowledged: list[object]) -> None:
        if len(acknowledged) == self.count:
            assert glob.glob(os.path.join(path, "topics", "__consumer_offsets", "*", "snapshot"))
        super().check(path, acknowledged)


class ChangeGroup(Scenario):
    """Join a group, let a second member join and take over a share, commit, leave; a third lives in another process."""

    floor = "/eventlog/coordination/"
    places = tuple(eventlog.TopicPartition(harness.TOPIC, number) for number in range(3))

    def prepare(self, path: str) -> None:
        with eventlog.open(path) as log:
            log.create_topic("other")
            for partition in log.create_topic(harness.TOPIC, partitions=3).partitions:
                partition.append([b"x"] * 9)
            with self.member(log, harness.TOPIC) as consumer:  # which makes the topic of committed offsets
                consumer.poll()
                consumer.commit(dict.fromkeys(self.places, 1))

    def companion(self, path: str) -> Companion | None:
        return GroupMate(path)

    def work(self, path: str, acknowledge: Acknowledge) -> None:
        with self.open(path) as log:
            first, second = (self.member(log, harness.TOPIC) for _ in range(2))
            first.poll()
            for offset in (2, 3):
                first.commit(dict.fromkeys(self.places, offset))
                acknowledge(offset)
            for consumer in (second, first, second):
                consumer.poll()
            assert len(first.assignment()) + len(second.assignment()) == 3
            first.close()
            second.poll()
            second.commit(dict.fromkeys(self.places, 4))
            acknowledge(4)
            second.close()

    def check(self, path: str, acknowledged: list[object]) -> None:
        with eventlog.open(path) as log, self.member(log, harness.TOPIC) as consumer:
            take_all(consumer, self.places)
            found = {commit and commit.offset for commit in map(consumer.committed, self.places)}
            least = max([1, *acknowledged])  # type: ignore[type-var]
            assert found in ({least}, {least + 1}), found
            consumer.commit(dict.fromkeys(self.places, 5))
            group = os.path.join(path, "groups", "g")
            assert sorted(os.listdir(group)) == ["control", "lock", "members", "state.json"]
            assert len(os.listdir(os.path.join(group, "members"))) == 2

    @staticmethod
    def member(log: eventlog.EventLog, *topics: str) -> eventlog.Consumer:
        """Return a consumer of the group."""
        return log.consumer(*topics, group="g", auto_offset_reset="earliest", enable_auto_commit=False)


def take_all(consumer: eventlog.Consumer, places: Sequence[eventlog.TopicPartition]) -> None:
    """Poll until all these partitions are assigned."""
    deadline = time.monotonic() + 30
    while not set(consumer.assignment()).issuperset(places):
        assert time.monotonic() < deadline, f"{consumer.assignment()} is all that is had"
        consumer.poll(timeout=0.02)


SCENARIOS: dict[str, type[Scenario]] = {
    "create_log": CreateLog,
    "create_topic": CreateTopic,
    "delete_topic": DeleteTopic,
    "append": Append,
    "append_accompanied": AppendAccompanied,
    "take_over": TakeOver,
    "recover": Recover,
    "commit_offsets": CommitOffsets,
    "commit_thousandth": CommitThousandth,
    "change_group": ChangeGroup,
}


def check_no_leftovers(path: str) -> None:
    """Nothing that was staged or half deleted is left once a session has begun."""
    names = os.listdir(os.path.join(path, "topics"))
    assert not [name for name in names if name.startswith((STAGED, DELETED))], names


# --- ways to die ---

Way = Callable[[Scenario, Callable[[], None]], int]  # runs the work in a child that dies on the way: its status


def before_call(call: str, n: int) -> Way:
    """Die instead of making the n-th system call of this name."""
    options = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}", "-o", "/dev/null"]
    return lambda scenario, work: traced(work, options)


def traced(work: Callable[[], None], options: list[str], begin: Callable[[], None] = lambda: None) -> int:
    """Run ``begin`` and ``work`` in a child, ``work`` under strace, and return the child's status."""
    ready, go = Pipe(), Pipe()

    def wait_and_work() -> None:
        begin()
        ready.sign()
        go.wait()
        work()

    pid = child(wait_and_work)
    ready.wait()
    strace = subprocess.Popen(["strace", "-f", *options, "-p", str(pid)], stderr=subprocess.PIPE)
    assert strace.stderr is not None
    line = strace.stderr.readline()
    assert b"attached" in line, line
    go.sign()
    status = status_of(pid)
    strace.stderr.read()
    strace.stderr.close()
    strace.wait()
    ready.close()
    go.close()
    return status


class WatchedFileSystem(FileSystem):
    """Notes each call that changes something; dies in the middle of the n-th write."""

    def __init__(self, tear: int = -1) -> None:
        self.calls: list[str] = []
        self._tear = tear

    def _note(self, call: str) -> bool:
        self.calls.append(call)
        return self.calls.count("pwritev2") + self.calls.count("pwrite64") == self._tear and call.startswith("pw")

    def pwritev(self, fd: int, parts: Sequence[Any], position: int) -> int:  # type: ignore[override]
        if self._note("pwritev2"):
            whole = b"".join(bytes(part) for part in parts)
            os.pwrite(fd, whole[: len(whole) // 2], position)
            kill_self()
        return os.pwritev(fd, parts, position)

    def pwrite(self, fd: int, data: Any, position: int) -> int:  # type: ignore[override]
        if self._note("pwrite64"):
            os.pwrite(fd, bytes(data)[: len(data) // 2], position)
            kill_self()
        return os.pwrite(fd, data, position)

    def sync(self, fd: int) -> None:  # type: ignore[override]
        self._note("fdatasync")
        os.fdatasync(fd)

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        self._note("fsync")

    def rename(self, source: str, target: str) -> None:
        self._note("renameat")
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self._note("unlinkat")

    def rmdir(self, path: str) -> None:
        super().rmdir(path)
        self._note("unlinkat")

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        super().mkdir(path, mode)
        self._note("mkdirat")


def in_write(n: int) -> Way:
    """Die with half of the n-th write done."""

    def way(scenario: Scenario, work: Callable[[], None]) -> int:
        scenario.filesystem = WatchedFileSystem(tear=n)
        return status_of(child(work))

    return way


def before_line(n: int, counted: Pipe | None = None) -> Way:
    """Die before the n-th line of the scenario's floor; with ``counted``, tell how many lines there are."""
    return lambda scenario, work: status_of(
        child(lambda: dying_before_line(n, lambda name: scenario.floor in name, work, counted))
    )


def dying_before_line(
    n: int, concerns: Callable[[str], bool], work: Callable[[], None], counted: Pipe | None = None
) -> None:
    """Work, and die before the n-th line of the files that are concerned; tell ``counted`` how many there were."""
    left = n

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                kill_self()
        return trace

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        return trace if concerns(frame.f_code.co_filename) else None

    sys.settrace(enter)
    work()
    sys.settrace(None)
    if counted:
        counted.put(n - left)


# --- one run, and all of them ---


def once(name: str, path: str, way: Way) -> tuple[int, bool]:
    """Run the scenario up to its death; return its status, and whether what it left is as it must be."""
    scenario = SCENARIOS[name]()
    os.mkdir(path)
    run(lambda: scenario.prepare(path))
    companion = scenario.companion(path)
    scenario.spoil(path)
    acknowledgements = Pipe()
    status = way(scenario, lambda: scenario.work(path, acknowledgements.put))
    acknowledged = acknowledgements.take_all()
    good = status_of(child(lambda: scenario.check(path, acknowledged))) == 0
    if companion:
        good = companion.end() == 0 and good
    if not good:
        print(f"{name}: the above happened after {acknowledged}", file=sys.stderr, flush=True)
    shutil.rmtree(path)
    return status, good


class Companion:
    """A process that has the log open, and looks into it, until it is told to end."""

    def __init__(self, path: str) -> None:
        self._opened, self._ended = Pipe(), Pipe()
        self._pid = child(lambda: self._work(path))
        self._opened.wait()

    def _work(self, path: str) -> None:
        with eventlog.open(path) as log:
            partition = log.topic(harness.TOPIC).partitions[0]
            before = partition.log_end_offset
            self._opened.sign()
            self._ended.wait()
            assert len(harness.read_all(partition)) >= before
            harness.check_clean(log)

    def end(self) -> int:
        """Let it look once more, and return its status."""
        self._ended.sign()
        status = status_of(self._pid)
        self._opened.close()
        self._ended.close()
        return status


class GroupMate(Companion):
    """A member that reads another topic, and keeps it; in the end it takes over everything."""

    def _work(self, path: str) -> None:
        with eventlog.open(path) as log, ChangeGroup.member(log, "other") as consumer:
            consumer.poll()
            consumer.commit({eventlog.TopicPartition("other", 0): 0})
            self._opened.sign()
            self._ended.wait()
            consumer.commit({eventlog.TopicPartition("other", 0): 0})
            consumer.subscribe(["other", harness.TOPIC])
            take_all(consumer, ChangeGroup.places)
            assert {consumer.committed(tp) for tp in ChangeGroup.places} == {eventlog.OffsetAndMetadata(5)}


def calls_of(name: str, base: str) -> list[str]:
    """Return the system calls that the scenario makes, in order, from one run that nobody kills."""
    trace = os.path.join(base, "trace")
    status, good = once(name, os.path.join(base, "whole"), lambda _, work: traced(work, ["-o", trace]))
    assert (status, good) == (0, True)
    return calls_in(trace)


def call_points(name: str, base: str) -> list[tuple[str, Way]]:
    """Every system call."""
    counts = sorted(Counter(calls_of(name, base)).items())
    return [(f"{call} {n}", before_call(call, n)) for call, count in counts for n in range(1, count + 1)]


def tear_points(name: str, base: str) -> list[tuple[str, Way]]:
    """Every write."""
    counts = Counter(calls_of(name, base))
    return [(f"write {n}", in_write(n)) for n in range(1, counts["pwritev2"] + counts["pwrite64"] + 1)]


def line_points(name: str, base: str) -> list[tuple[str, Way]]:
    """Every line."""
    counted = Pipe()
    assert once(name, os.path.join(base, "whole"), before_line(1 << 60, counted)) == (0, True)
    (count,) = counted.take_all()
    return [(f"line {n}", before_line(n)) for n in range(1, count + 1)]


def compare_with_seam(name: str, base: str) -> dict[str, object]:
    """Return what the file system object was asked for, and what the kernel saw, of the calls that change files."""
    asked = Pipe()
    trace = os.path.join(base, "trace")

    def way(scenario: Scenario, work: Callable[[], None]) -> int:
        scenario.filesystem = watched = WatchedFileSystem()

        def work_and_tell() -> None:
            work()
            asked.put(watched.calls)

        return traced(work_and_tell, ["-o", trace])

    assert once(name, os.path.join(base, "whole"), way) == (0, True)
    (seen,) = asked.take_all()
    kinds = {
        "pwritev2",
        "pwrite64",
        "fdatasync",
        "fsync",
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
        "rmdir",
        "mkdir",
        "mkdirat",
        "ftruncate",
        "truncate",
    }
    return {"seam": seen, "kernel": [call for call in calls_in(trace, failed=False) if call in kinds]}


POINTS = {"calls": call_points, "tears": tear_points, "lines": line_points}


def main(name: str, kind: str, step: int, first: int) -> dict[str, object]:
    """Die at every ``step``-th point from ``first`` on."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a killed process loses no page that it wrote
    with tempfile.TemporaryDirectory(dir=memory) as base:
        if kind == "seam":
            return compare_with_seam(name, base)
        points = POINTS[kind](name, base)[first::step]
        report: dict[str, Any] = {"points": len(points), "killed": 0, "survived": [], "bad": []}
        for index, (where, way) in enumerate(points):
            status, good = once(name, os.path.join(base, str(index)), way)
            report["killed"] += status == -9
            if status != -9:
                report["survived"].append((where, status))
            if not good:
                report["bad"].append(where)
        return report


if __name__ == "__main__":
    logging.getLogger("eventlog").setLevel(logging.ERROR)  # torn tails are what this is about
    print(json.dumps(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]))))
