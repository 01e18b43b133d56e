"""Kill a process at every point of its transactions, and let one after the other come to what it leaves behind.

Works as ``tests/crash/kill_driver.py`` does, whose parts it uses, with ``begin`` apart from ``work``, so that points
are those of the work alone. ``calls``: ``strace`` kills a forked child instead of making its n-th call of a name.
``lines``: before each line of Python that writes a transaction, so between two stores into a mapped page.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "crash"))

import harness
import kill_driver
from harness import Pipe, calls_in, child, run, status_of

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.model import GroupMetadata

PLACES = [TopicPartition(topic, number) for topic in ("a", "b") for number in range(2)]
INPUT = TopicPartition("in", 0)
GROUP = "g"
SIZES = (0, 700, 90)  # bytes behind a value: the segments roll now and then
TRANSACTIONS = 3
MARKER = b"marker"
WRITERS = (
    "/prepared_append.py",
    "/head.py",
    "/log_end.py",
    "/writer_files.py",
    "/transaction_commit.py",
    "/transactional_id.py",
)


def transact(producer: eventlog.Producer, number: int) -> None:
    """Commit the number everywhere, and the group's offset."""
    with producer.transaction():
        for tp in PLACES:
            value = b"%d:" % number + b"v" * SIZES[number % 3]
            producer.send_many(tp.topic, [value, value], partition=tp.partition)
        producer.send_offsets_to_transaction({INPUT: number}, GroupMetadata(GROUP))


class Transact(kill_driver.Scenario):
    """Commit transactions over two topics of two partitions, with offsets; the first of all when ``known`` is off."""

    durability = "os"
    known = True
    floor = "/eventlog/"
    template = ""  # a log to begin with, made once

    def __init__(self) -> None:
        super().__init__()
        self.path = ""
        self.comer: Callable[[eventlog.EventLog], None] = COMERS[0]
        self._log: eventlog.EventLog | None = None
        self._producer: eventlog.Producer | None = None

    @property
    def done_before(self) -> int:
        return 0 if self.known else -1

    def make_template(self, path: str) -> None:
        with eventlog.open(path) as log:
            for topic in ("a", "b"):
                log.create_topic(topic, partitions=2, **harness.SMALL_SEGMENTS)
            log.create_topic("in").partitions[0].append([b"x"] * 100)
            if self.known:
                transact(log.producer(transactional_id="t"), 0)

    def prepare(self, path: str) -> None:
        shutil.copytree(self.template, path, dirs_exist_ok=True)

    def companion(self, path: str) -> Reader | None:
        self.path = path
        return Reader(path) if self.accompanied else None

    def begin(self) -> None:
        """What comes before the calls that are counted."""
        self._log = self.open(self.path)
        self._producer = self._log.producer(transactional_id="t", durability=self.durability)
        if self.known:
            self._producer.init_transactions()

    def work(self, path: str, acknowledge: kill_driver.Acknowledge) -> None:
        assert self._producer is not None
        for number in range(self.done_before + 1, self.done_before + 1 + TRANSACTIONS):
            transact(self._producer, number)
            acknowledge(number)

    def check(self, path: str, acknowledged: list[object]) -> None:
        least = max([self.done_before, *acknowledged])  # type: ignore[type-var]
        with eventlog.open(path) as log:
            self.comer(log)
            last = last_of(log)
            assert last in (least, least + 1), f"{last} is there, {least} was acknowledged"
            with log.producer(transactional_id="t") as producer:
                transact(producer, last + 1)
            assert last_of(log) == last + 1
            harness.check_clean(log)
        with eventlog.open(path) as log:
            assert last_of(log) == last + 1
            with log.producer(transactional_id="t") as producer:
                transact(producer, last + 2)
            assert last_of(log) == last + 2
            harness.check_clean(log)


class TransactAccompanied(Transact):
    """The same while another process reads all the time: no session ends, and whoever comes next settles."""

    accompanied = True


class TransactDurably(Transact):
    """The same with every commit on the device."""

    durability = "disk"


class TransactDurablyAccompanied(TransactAccompanied):
    """The same, and another process reads."""

    durability = "disk"


class TransactFirst(Transact):
    """The first transaction of all: the journal, the id and the topic of offsets appear."""

    known = False


class Reader(kill_driver.Companion):
    """Polls all the time, sleeping in between; in the end it has had everything once, and the same everywhere."""

    def __init__(self, path: str) -> None:
        self._paused = Pipe()
        super().__init__(path)

    def pause(self) -> None:
        """Keep the log open, and look no more until the end."""
        self._paused.sign()
        self._opened.wait()

    def end(self) -> int:
        self._paused.close()
        return super().end()

    def _work(self, path: str) -> None:
        with eventlog.open(path) as log, log.consumer("a", "b", auto_offset_reset="earliest") as consumer:
            found = consumer.poll()
            self._opened.sign()
            os.set_blocking(self._paused.reader, False)
            try:
                while not self._is_to_pause():
                    found += consumer.poll(timeout=0.02)
            finally:
                self._opened.sign()
            self._ended.wait()
            while more := consumer.poll():
                found += more
            parts = []
            for tp in PLACES:
                here = [record for record in found if (record.topic, record.partition) == tp]
                assert [record.offset for record in here] == list(range(len(here)))
                parts.append([record.value for record in here if record.value != MARKER])
            assert all(part == parts[0] for part in parts)
            assert last_of(log) * 2 + 2 == len(parts[0])
            harness.check_clean(log)

    def _is_to_pause(self) -> bool:
        try:
            return bool(self._paused.wait())
        except BlockingIOError:
            return False


def last_of(log: eventlog.EventLog) -> int:
    """Return the number of the last transaction; each up to it is whole in every partition, and so are offsets."""
    found = set()
    for tp in PLACES:
        values = [v for v, _ in harness.read_all(log.topic(tp.topic).partitions[tp.partition]) if v != MARKER]
        numbers = [int((value or b"").split(b":")[0]) for value in values]
        last = len(numbers) // 2 - 1
        assert numbers == [number for number in range(last + 1) for _ in range(2)], numbers
        found.add(last)
    assert len(found) == 1, f"partitions end at {found}"
    last = found.pop()
    with log.consumer(group=GROUP) as consumer:
        assert consumer.committed(INPUT) == (OffsetAndMetadata(last) if last >= 0 else None)
    return last


# --- who comes first to what the dead process left ---


def comes_to_append(log: eventlog.EventLog) -> None:
    """By plain appends, in no particular order."""
    for tp in reversed(PLACES):
        log.topic(tp.topic).partitions[tp.partition].append([MARKER])


def comes_with_a_producer(log: eventlog.EventLog) -> None:
    """By an idempotent producer."""
    with log.producer() as producer:
        for tp in PLACES:
            producer.send(tp.topic, MARKER, partition=tp.partition)


def comes_to_poll(log: eventlog.EventLog) -> None:
    """By a poll: what it finds is whole in each partition."""
    with log.consumer("a", "b", auto_offset_reset="earliest") as consumer:
        count = sum(len(records) for records in iter(consumer.poll, []))
        assert count % (2 * len(PLACES)) == 0, count


def comes_for_the_end(log: eventlog.EventLog) -> None:
    """By a look at the ends, which are the same everywhere."""
    ends = {log.topic(tp.topic).partitions[tp.partition].log_end_offset for tp in PLACES}
    assert len(ends) == 1, ends


def comes_for_offsets(log: eventlog.EventLog) -> None:
    """By a question for committed offsets: they tell as much as the partitions."""
    with log.consumer(group=GROUP) as consumer:
        found = consumer.committed(INPUT)
    last = last_of(log)
    assert found == (OffsetAndMetadata(last) if last >= 0 else None)


def comes_with_a_transaction(log: eventlog.EventLog) -> None:
    """By another id's transaction into one of the partitions."""
    with log.producer(transactional_id="other") as producer, producer.transaction():
        producer.send("b", MARKER, partition=0)


def comes_to_init(log: eventlog.EventLog) -> None:
    """By the same id's init_transactions: all that was committed is published when it returns."""
    with log.producer(transactional_id="t") as producer:
        producer.init_transactions()
        words = [log.topic(tp.topic).partitions[tp.partition].log.head.end_offset for tp in PLACES]
        assert len(set(words)) == 1, words


COMERS = [
    comes_to_append,
    comes_to_poll,
    comes_for_offsets,
    comes_with_a_producer,
    comes_with_a_transaction,
    comes_for_the_end,
    comes_to_init,
]
SCENARIOS: dict[str, type[Transact]] = {
    "os": Transact,
    "os_accompanied": TransactAccompanied,
    "disk": TransactDurably,
    "disk_accompanied": TransactDurablyAccompanied,
    "first": TransactFirst,
}


# --- one run, and all of them ---


Way = Callable[[Transact, Callable[[], None]], int]  # runs the work in a child that dies on the way: its status


def before_line(n: int, counted: Pipe | None = None) -> Way:
    """Die before the n-th line; with ``counted``, tell how many lines there are."""

    def way(scenario: Transact, work: Callable[[], None]) -> int:
        def begin_and_work() -> None:
            scenario.begin()
            kill_driver.dying_before_line(n, lambda name: name.endswith(WRITERS), work, counted)

        return status_of(child(begin_and_work))

    return way


def before_call(options: list[str]) -> Way:
    """Die as ``strace`` is told to."""
    return lambda scenario, work: kill_driver.traced(work, options, scenario.begin)


def once(scenario: Transact, path: str, way: Way) -> tuple[int, bool]:
    """Run the scenario up to its death; return its status, and whether what it left is as it must be."""
    os.mkdir(path)
    scenario.prepare(path)
    companion = scenario.companion(path)
    acknowledgements = Pipe()
    status = way(scenario, lambda: scenario.work(path, acknowledgements.put))
    if companion:  # or else it might be settling at the very moment at which the check compares partitions
        companion.pause()
    acknowledged = acknowledgements.take_all()
    good = status_of(child(lambda: scenario.check(path, acknowledged))) == 0
    if companion:
        good = companion.end() == 0 and good
    if not good:
        print(f"{scenario.comer.__name__}: the above after {acknowledged}", file=sys.stderr, flush=True)
    shutil.rmtree(path)
    return status, good


def call_points(kind: type[Transact], base: str) -> list[tuple[str, Way]]:
    """Every system call that the work makes, from one run that nobody kills."""
    trace = os.path.join(base, "trace")
    assert once(kind(), os.path.join(base, "whole"), before_call(["-o", trace])) == (0, True)
    calls = Counter(calls_in(trace))
    points: list[tuple[str, Way]] = []
    for call, count in sorted(calls.items()):
        for n in range(1, count + 1):
            options = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}", "-o", "/dev/null"]
            points.append((f"{call} {n}", before_call(options)))
    return points


def line_points(kind: type[Transact], base: str) -> list[tuple[str, Way]]:
    """Every line that the work runs in the files of `WRITERS`."""
    counted = Pipe()
    assert once(kind(), os.path.join(base, "whole"), before_line(1 << 60, counted)) == (0, True)
    (count,) = counted.take_all()
    return [(f"line {n}", before_line(n)) for n in range(1, count + 1)]


POINTS = {"calls": call_points, "lines": line_points}


def main(name: str, at: str, step: int, first: int) -> dict[str, object]:
    """Die at every ``step``-th point from ``first`` on."""
    kind = SCENARIOS[name]
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a killed process loses no page that it wrote
    with tempfile.TemporaryDirectory(dir=memory) as base:
        kind.template = os.path.join(base, "template")
        run(lambda: kind().make_template(kind.template))
        points = POINTS[at](kind, base)[first::step]
        report: dict[str, Any] = {"points": len(points), "killed": 0, "survived": [], "bad": []}
        for index, (where, way) in enumerate(points):
            scenario = kind()
            scenario.comer = COMERS[index % len(COMERS)]
            status, good = once(scenario, os.path.join(base, str(index)), way)
            report["killed"] += status == -9
            if status != -9:
                report["survived"].append((where, status))
            if not good:
                report["bad"].append((where, scenario.comer.__name__))
        return report


if __name__ == "__main__":
    logging.getLogger("eventlog").setLevel(logging.ERROR)  # torn tails are what this is about
    print(json.dumps(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]))))
