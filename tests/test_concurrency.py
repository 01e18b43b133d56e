"""Many processes, threads and forks on one log at once: every record once, in order, and nobody waits for the dead."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import TopicPartition
from tests.forking import fork

ROOT = Path(__file__).resolve().parents[1]
EACH = 1200  # records a writer sends
WRITERS = 4
PARTITIONS = 3

PRELUDE = """
import json, os, signal, sys, threading, time
import eventlog
from eventlog import TopicPartition
ARGS = sys.argv[1:]
log = eventlog.open(ARGS[0])
def ready():
    print("ready", flush=True)
    sys.stdin.readline()
def answer(result): print(json.dumps(result), flush=True)
"""

WRITER = """
writer, each, way = int(ARGS[1]), int(ARGS[2]), ARGS[3]
topic = log.topic("t")
ready()
if way == "append":
    for n in range(0, each, 3):
        topic.partitions[n // 3 % len(topic.partitions)].append([b"%d:%d:" % (writer, i) for i in range(n, n + 3)])
elif way == "send":
    with log.producer(batch_size=500, linger_ms=1) as producer:
        for n in range(each):
            producer.send("t", b"%d:%d:" % (writer, n), b"%d" % writer if n % 4 == 0 else None)
elif way == "send_many":
    with log.producer() as producer:
        for n in range(0, each, 30):
            part = range(n, n + 30)
            producer.send_many("t", [b"%d:%d:" % (writer, i) for i in part], [b"%d" % (i % 7) for i in part])
answer("done")
"""

READER = """
total, way = int(ARGS[1]), ARGS[2]
consumer = log.consumer("t", auto_offset_reset="earliest")
ready()
seen, problems = {}, []
count = 0
while count < total:
    if way == "batches":
        found = [r for batch in consumer.poll_batches(timeout=60) for r in batch.records()]
    else:
        found = consumer.poll(timeout=60)
    if not found:
        problems.append(f"only {count} came")
        break
    for r in found:
        if r.offset != seen.get(r.partition, -1) + 1:
            problems.append(f"{r.partition}: {r.offset} behind {seen.get(r.partition, -1)}")
        seen[r.partition] = r.offset
    count += len(found)
answer(problems)
"""


class Child:
    """A Python process that shares the log, started and waiting for its signal to go."""

    def __init__(self, script: str, *args: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + script, *map(str, args)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def wait_ready(self) -> None:
        line = self.line()
        assert line == "ready", self.process.communicate(timeout=60)[1]

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None and self.process.stderr is not None
        out, err = self.process.stdout.read(), self.process.stderr.read()
        assert self.process.wait(timeout=120) == 0, err
        assert not err, err
        return json.loads(out.splitlines()[-1])

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    """Start processes; whatever still runs when the test ends is killed, by its id."""
    children: list[Child] = []

    def start(script: str, *args: object) -> Child:
        children.append(Child(script, *args))
        return children[-1]

    yield start
    for one in children:
        one.end()


def run_together(children: list[Child]) -> list[Any]:
    """Let all of them begin at once; return their answers."""
    for one in children:
        one.wait_ready()
    for one in children:
        one.go()
    return [one.answer() for one in children]


def check_everything(log: eventlog.EventLog, writers: int, each: int) -> None:
    """Every record of every writer is there once, dense, and in its writer's order within each partition."""
    found: list[tuple[int, int]] = []
    for partition in log.topic("t").partitions:
        records = [r for batch in partition.read(0, max_bytes=1 << 30) for r in batch.records()]
        assert [r.offset for r in records] == list(range(partition.log_end_offset))
        own: dict[int, int] = {}
        for record in records:
            writer, n = map(int, record.value.split(b":")[:2])
            assert n > own.get(writer, -1)
            own[writer] = n
            found.append((writer, n))
        assert partition.verify().ok
    assert sorted(found) == [(writer, n) for writer in range(writers) for n in range(each)]


@contextlib.contextmanager
def quick_switches() -> Iterator[None]:
    """Let the interpreter change threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


# --- writers and readers ---


@pytest.mark.parametrize("segment_bytes", [2**30, 4096])
def test_processes_write_and_read_the_same_partitions(
    log: eventlog.EventLog, child: Callable[..., Child], segment_bytes: int
) -> None:
    """Four processes append by every way there is while four read: each record once, in order, no gap ever seen.

    With tiny segments the writers roll all the time, and the readers follow from file to file.
    """
    log.create_topic("t", partitions=PARTITIONS, segment_bytes=segment_bytes, index_interval_bytes=512)
    ways = ["append", "send", "send_many", "send"]
    total = WRITERS * EACH
    readers = [child(READER, log.path, total, way) for way in ("records", "batches") * 2]
    writers = [child(WRITER, log.path, number, EACH, way) for number, way in enumerate(ways)]
    answers = run_together(readers + writers)
    assert answers == [[]] * 4 + ["done"] * 4
    check_everything(log, WRITERS, EACH)


def test_threads_write_and_read_the_same_partitions(log: eventlog.EventLog) -> None:
    """The same with threads of one process that share log, topic, and a producer."""
    topic = log.create_topic("t", partitions=PARTITIONS, segment_bytes=8192)
    total = WRITERS * EACH
    failures: list[Any] = []

    def write(writer: int, producer: eventlog.Producer) -> None:
        for n in range(0, EACH, 3):
            values = [b"%d:%d:" % (writer, i) for i in range(n, n + 3)]
            if writer % 2:
                topic.partitions[n % PARTITIONS].append(values)
            else:
                for value in values:
                    producer.send("t", value)

    def read() -> None:
        consumer = log.consumer("t", auto_offset_reset="earliest")
        seen: dict[int, int] = {}
        count = 0
        while count < total:
            found = consumer.poll(timeout=30)
            assert found, f"only {count} came"
            for record in found:
                if record.offset != seen.get(record.partition, -1) + 1:
                    failures.append(record)
                seen[record.partition] = record.offset
                count += 1

    with log.producer(batch_size=500) as producer, quick_switches():
        run_threads([lambda n=n: write(n, producer) for n in range(WRITERS)] + [read] * 4, failures)
    assert not failures
    check_everything(log, WRITERS, EACH)


def test_threads_with_few_open_files(log_path: Path) -> None:
    """Threads write, read and look up times in more partitions than may be open: nobody loses its files in use."""
    failures: list[Any] = []
    with eventlog.open(log_path, max_open_partitions=2) as log, quick_switches():
        topic = log.create_topic("t", partitions=8, segment_bytes=2048, index_interval_bytes=256)

        def work(thread: int) -> None:
            for n in range(250):
                partition = topic.partitions[(n + thread) % 8]
                place = partition.append([b"%d:%d:" % (thread, n) + b"x" * 100], timestamps_ms=1000 + n).base_offset
                assert partition.read(place, max_bytes=1)[0].values()[0].startswith(b"%d:%d:" % (thread, n))
                assert partition.read(place // 2, max_bytes=1)[0].base_offset == place // 2
                assert partition.offset_for_time(1000) == 0

        run_threads([lambda t=t: work(t) for t in range(4)], failures)
        assert not failures, failures[0]
        check_everything(log, 4, 250)


def run_threads(tasks: list[Callable[[], None]], failures: list[Any]) -> None:
    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            failures.append("".join(traceback.format_exception(error)))

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_producers_of_two_processes_that_look_at_each_others_lock(
    log: eventlog.EventLog, child: Callable[..., Child]
) -> None:
    """Looking whether a partition is busy never frees a lock that another thread of the process has taken."""
    log.create_topic("t", segment_bytes=16384)
    script = """
writer = int(ARGS[1])
partition = log.topic("t").partitions[0]
sys.setswitchinterval(1e-6)
stop = False
def look():
    while not stop: partition.log.writer.is_busy()
threads = [threading.Thread(target=look) for _ in range(2)]
for thread in threads: thread.start()
ready()
for n in range(600): partition.append([b"%d:%d:" % (writer, n)])
stop = True
for thread in threads: thread.join()
answer("done")
"""
    assert run_together([child(script, log.path, number) for number in range(2)]) == ["done"] * 2
    check_everything(log, 2, 600)


def test_readers_are_woken_across_processes(log: eventlog.EventLog, child: Callable[..., Child]) -> None:
    """Three processes sleep in poll(); each record wakes all of them, whatever the order in which they fell asleep."""
    log.create_topic("t", partitions=2)
    script = """
consumer = log.consumer("t", auto_offset_reset="earliest")
ready()
for n in range(100):
    (record,) = consumer.poll(timeout=60)
    print(record.offset, flush=True)
answer("done")
"""
    sleepers = [child(script, log.path) for _ in range(3)]
    for one in sleepers:
        one.wait_ready()
        one.go()
    partitions = log.topic("t").partitions
    for n in range(100):
        partitions[n % 2].append([b"v"])
        assert [int(one.line()) for one in sleepers] == [n // 2] * 3
    assert [one.answer() for one in sleepers] == ["done"] * 3


# --- fork ---


def values(log: eventlog.EventLog, topic: str = "t") -> list[bytes | None]:
    return [
        value
        for partition in log.topic(topic).partitions
        for batch in partition.read(0, max_bytes=1 << 30)
        for value in batch.values()
    ]


def test_a_fork_in_the_middle_of_a_batch(log: eventlog.EventLog) -> None:
    """Records that wait at a fork are the parent's: it alone writes them, and the child's own come besides."""
    log.create_topic("t")
    producer = log.producer(linger_ms=10**9)
    waiting = [producer.send("t", b"parent plain"), producer.send("t", b"parent keyed", b"k")]
    called: list[Any] = []
    waiting[0].add_callback(lambda metadata, _: called.append(metadata.offset))

    def in_child() -> None:
        with pytest.raises(eventlog.ClosedError, match="parent"):
            waiting[0].result()
        own = [producer.send("t", b"child plain"), producer.send("t", b"child keyed", b"k")]
        producer.flush()
        assert [delivery.result().offset for delivery in own] == [0, 1]
        log.topic("t").partitions[0].append([b"child append"])
        producer.send("t", b"child at close")
        producer.close()
        assert not called

    assert fork(in_child) == 0
    producer.close()
    assert [delivery.result().offset for delivery in waiting] == [4, 5]
    assert called == [4]
    children = [b"child plain", b"child keyed", b"child append", b"child at close"]
    assert values(log) == [*children, b"parent plain", b"parent keyed"]
    assert [batch.keys() for batch in log.topic("t").partitions[0].read(4)] == [[None, b"k"]]


def test_a_lingering_record_is_written_in_the_child_too(log: eventlog.EventLog) -> None:
    """The background thread does not survive a fork; the child's producer starts its own."""
    log.create_topic("t")
    producer = log.producer(linger_ms=1)
    producer.send("t", b"parent").result()

    def in_child() -> None:
        consumer = log.consumer("t")
        assert consumer.poll() == []
        producer.send("t", b"child")
        assert [record.value for record in consumer.poll(timeout=50)] == [b"child"]

    assert fork(in_child) == 0
    assert values(log) == [b"parent", b"child"]


class Busy:
    """Threads that append, send and open partitions until they are told to stop."""

    def __init__(self, log: eventlog.EventLog) -> None:
        self.log = log
        self.producer = log.producer()
        self.failures: list[Any] = []
        self._stop = threading.Event()
        tasks = [self.appends, self.sends, self.opens]
        self._runner = threading.Thread(target=run_threads, args=(tasks, self.failures))

    def appends(self) -> None:
        while not self._stop.is_set():
            self.log.topic("t").partitions[0].append([b"a"] * 5)

    def sends(self) -> None:
        while not self._stop.is_set():
            self.producer.send("t", b"s").result()

    def opens(self) -> None:
        for partition in self.log.topic("many").partitions:
            if self._stop.is_set():
                return
            partition.append([b"o"])

    def __enter__(self) -> Busy:
        self._runner.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._runner.join()
        self.producer.close()


def test_forks_while_other_threads_are_inside(log: eventlog.EventLog) -> None:
    """Forks at any moment, with threads inside append, send, and opening: the child can do all of it at once."""
    log.create_topic("t", partitions=2, segment_bytes=4096)
    log.create_topic("many", partitions=5000)
    busy = Busy(log)

    def in_child() -> None:
        log.topic("t").partitions[0].append([b"child"])
        log.topic("t").partitions[1].append([b"child"])
        log.topic("many").partitions[0].append([b"child"])
        for number in range(20):
            log.topic("many").partitions[4999 - number].append([b"child"])
        busy.producer.send("t", b"child", partition=0).result()
        busy.producer.send_many("t", [b"child"], partition=1)
        log.create_topic("new", exist_ok=True)
        assert log.consumer("t", auto_offset_reset="earliest").poll()

    with quick_switches(), busy:
        statuses = [fork(in_child) for _ in range(15)]
    assert statuses == [0] * 15
    assert not busy.failures
    assert values(log).count(b"child") == 4 * 15
    for partition in log.topic("t").partitions:
        offsets = [o for batch in partition.read(0, max_bytes=1 << 30) for o in batch.offsets.tolist()]
        assert offsets == list(range(partition.log_end_offset))


def test_a_childs_end_frees_nothing_of_the_parents(log: eventlog.EventLog, child: Callable[..., Child]) -> None:
    """A forked child that ends does not end the parent's session: its heads are still trusted, nothing is lost."""
    partition = log.create_topic("t").partitions[0]
    partition.append([b"before"])
    assert fork(lambda: None) == 0
    partition.append([b"after"])
    other = child("ready(); answer([log.topic('t').partitions[0].log_end_offset, "
                  "log.topic('t').partitions[0].recovery is None])", log.path)  # fmt: skip
    assert run_together([other]) == [[2, True]]


# --- topics ---


def test_eight_processes_open_a_new_log_at_once(tmp_path: Path, child: Callable[..., Child]) -> None:
    """The first open of a directory by many processes at once makes one log, which all of them share."""
    script = """
log.close()
ready()
for n in range(5):
    with eventlog.open(f"{ARGS[1]}/{n}", parents=True) as log:
        topic = log.create_topic("t", partitions=2, exist_ok=True)
        topic.partitions[0].append([b"%d:0:" % int(ARGS[2])])
answer("done")
"""
    children = [child(script, tmp_path / f"own{n}", tmp_path / "logs", n) for n in range(8)]
    assert run_together(children) == ["done"] * 8
    for n in range(5):
        with eventlog.open(tmp_path / "logs" / str(n)) as log:
            check_everything(log, 8, 1)


def test_processes_create_delete_and_grow_topics_at_once(log: eventlog.EventLog, child: Callable[..., Child]) -> None:
    """Under creations, deletions and growth by others, a caller gets the topic or a proper error, nothing else."""
    script = """
ready()
counts = {}
for n in range(60):
    name = f"t{n % 3}"
    for call in (
        lambda: log.create_topic(name, partitions=1 + n % 2, exist_ok=n % 4 != 0),
        lambda: log.topic(name).partitions[0].append([b"v"] * 10),
        lambda: log.topic(name).add_partitions(4),
        lambda: [p.append([b"w"]) for p in log.topic(name).partitions],
        lambda: [b.values() for p in log.topic(name).partitions for b in p.read(0)],
        lambda: log.delete_topic(name) if n % 5 == int(ARGS[1]) else None,
        lambda: log.topics(),
    ):
        try:
            call()
        except (eventlog.UnknownTopicError, eventlog.TopicExistsError, eventlog.UnknownPartitionError) as error:
            counts[type(error).__name__] = counts.get(type(error).__name__, 0) + 1
        except eventlog.OffsetOutOfRangeError: # deleted between two looks
            raise
answer(counts)
"""
    answers = run_together([child(script, log.path, number) for number in range(4)])
    assert all(isinstance(answer, dict) for answer in answers)
    for name in log.topics():
        for partition in log.topic(name).partitions:
            batches = partition.read(0, max_bytes=1 << 30)
            assert sum(len(batch) for batch in batches) == partition.log_end_offset
    log.create_topic("t0", exist_ok=True).partitions[0].append([b"still works"])
    assert not [name for name in os.listdir(os.path.join(log.path, "topics")) if "~" in name]


# --- holders that died or stopped ---

HOLDER = """
import fcntl
fd = os.open(ARGS[1], os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.readline()
"""


def lock_of(log: eventlog.EventLog, topic: str = "t", partition: int = 0) -> str:
    log.topic(topic).partitions[partition].append([b"first"])
    return os.path.join(log.path, "topics", topic, str(partition), "lock")


def test_a_killed_holder_frees_its_lock(log: eventlog.EventLog, child: Callable[..., Child]) -> None:
    """When a process dies by kill -9 while it holds a partition's lock, whoever waits for it goes on."""
    log.create_topic("t")
    holder = child(HOLDER, log.path, lock_of(log))
    holder.wait_ready()
    results: list[Any] = []
    waiter = threading.Thread(target=lambda: results.append(log.topic("t").partitions[0].append([b"second"])))
    waiter.start()
    holder.process.kill()
    waiter.join(60)
    assert [result.base_offset for result in results] == [1]
    assert values(log) == [b"first", b"second"]


def test_writers_killed_under_load_leave_a_sound_log(log: eventlog.EventLog, child: Callable[..., Child]) -> None:
    """Writers that are killed at random moments leave no lock and no gap, and lose nothing they acknowledged."""
    log.create_topic("t", segment_bytes=4096)
    script = """
partition = log.topic("t").partitions[0]
ready()
n = 0
while True:
    print(partition.append([b"%s:%d:" % (ARGS[1].encode(), n)] * 3).last_offset, flush=True)
    n += 1
"""
    survivors = 0
    for number in range(6):
        writers = [child(script, log.path, number * 2 + i) for i in range(2)]
        for one in writers:
            one.wait_ready()
            one.go()
        acknowledged = [int(one.line()) for one in writers for _ in range(20)]
        for one in writers:
            one.process.kill()
        survivors = log.topic("t").partitions[0].append([b"alive"]).base_offset
        assert survivors > max(acknowledged)
    assert len(values(log)) == survivors + 1


def test_a_stopped_holder_blocks_as_documented(log: eventlog.EventLog, child: Callable[..., Child]) -> None:
    """While a stopped process holds a partition: timeouts where they are promised, and other partitions go on."""
    log.create_topic("t", partitions=2)
    lock_of(log, partition=1)
    holder = child(HOLDER, log.path, lock_of(log))
    holder.wait_ready()
    os.kill(holder.process.pid, signal.SIGSTOP)
    producer = log.producer(buffer_memory=5000, max_block_ms=30, linger_ms=1)
    stuck = [producer.send("t", b"x" * 1000, b"k", partition=0) for _ in range(4)]
    assert producer.send("t", b"free", partition=1).result(timeout=60).offset == 1
    with pytest.raises(eventlog.BufferExhaustedError) as caught:
        for _ in range(3):
            producer.send("t", b"y" * 1000, partition=0)
    assert caught.value.topic == "t"
    assert "holds the partition" in str(caught.value)
    with pytest.raises(eventlog.DeliveryTimeoutError) as timeout:
        stuck[0].result(timeout=0.02)
    assert (timeout.value.topic, timeout.value.partition) == ("t", 0)
    with pytest.raises(eventlog.DeliveryTimeoutError):
        producer.flush(timeout=0.02)
    assert log.topic("t").partitions[0].read(0)[0].values() == [b"first"]  # readers need no lock
    assert not any(delivery.done() for delivery in stuck)
    os.kill(holder.process.pid, signal.SIGCONT)
    holder.go()
    assert [delivery.result(timeout=60).offset for delivery in stuck] == [1, 2, 3, 4]
    producer.close()


def test_a_flock_is_what_keeps_writers_apart(log: eventlog.EventLog) -> None:
    """An append waits for the partition's flock, so any program that respects it is safe to run besides."""
    log.create_topic("t")
    fd = os.open(lock_of(log), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    done: list[Any] = []
    waiter = threading.Thread(target=lambda: done.append(log.topic("t").partitions[0].append([b"v"])))
    waiter.start()
    assert log.topic("t").partitions[0].log_end_offset == 1
    assert not done
    os.close(fd)
    waiter.join(60)
    assert done[0].base_offset == 1


def test_deleting_while_others_write(log: eventlog.EventLog, child: Callable[..., Child]) -> None:
    """Writers of a topic that another process deletes get UnknownTopicError from then on, never a made-up success."""
    log.create_topic("t", partitions=2, segment_bytes=4096)
    script = """
partitions = list(log.topic("t").partitions)
ready()
try:
    while True:
        for partition in partitions: partition.append([b"v" * 100] * 3)
        print("written", flush=True)
except eventlog.UnknownTopicError as error:
    answer([error.topic, error.partition in (0, 1)])
"""
    writers = [child(script, log.path) for _ in range(3)]
    for one in writers:
        one.wait_ready()
        one.go()
    for one in writers:
        assert one.line() == "written"
    log.delete_topic("t")
    for one in writers:
        assert one.answer() == ["t", True]
    assert log.topics() == []
    with pytest.raises(eventlog.UnknownTopicError):
        log.consumer().assign([TopicPartition("t", 0)])
