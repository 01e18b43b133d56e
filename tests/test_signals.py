"""Signals come at any moment: a handler may call the library, and raise what it likes.

The moments are drawn from a seeded generator; a moment of the clock itself cannot be repeated, and each test holds for
all of them. `test_reentrancy.py` has those that can be repeated.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import eventlog
from eventlog.files.file_lock import is_locked
from eventlog.files.filesystem import FileSystem
from eventlog.files.mutex import holds_any
from eventlog.files.paths import is_directory, is_other_than_directory, is_there, real_path
from eventlog.files.signal_handlers import is_from_handler
from eventlog.storage.sync_marks import GROUP
from tests.interrupting import Interrupter
from tests.reentering import CALLS, World, allowed, check

pytestmark = [
    pytest.mark.timeout(180, method="thread"),  # the other method would take the alarm signal for itself
    # Python swallows what a handler raises within a finalizer.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SEED = 20261130
SIGNALS = 400
LONGEST_PAUSE = 0.004  # seconds between two signals


# What a call says whose client a handler has closed.
CLOSED = (eventlog.ClosedError, eventlog.IllegalStateError, eventlog.CommitFailedError)


class Signals:
    """Sends SIGTERM to this process at random moments, one after the other was handled."""

    def __init__(self, handle: Callable[[], None]) -> None:
        self._random = random.Random(SEED)
        self._handle = handle
        self._handled = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.left = SIGNALS
        self.failures: list[BaseException] = []
        print(f"seed {SEED}")

    def _send(self) -> None:
        while self.left:
            time.sleep(self._random.uniform(0, LONGEST_PAUSE))  # what is tested is that any moment will do
            self._handled.clear()
            os.kill(os.getpid(), signal.SIGTERM)
            self._handled.wait()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.left -= 1
        try:
            self._handle()
        except BaseException as error:
            self.failures.append(error)
        self._handled.set()

    def __enter__(self) -> Signals:
        self._before = signal.signal(signal.SIGTERM, self._on_signal)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.left = 0
        self._handled.set()
        self._thread.join()
        signal.signal(signal.SIGTERM, self._before)
        if not exc[0]:
            assert self.failures == []


def test_handlers_may_call_anything_at_any_moment(log_path: Path, run_python: Any) -> None:
    """Loops of every public call, and SIGTERM handlers that make every public call: nothing hangs, nothing is lost."""
    world = World(log_path)
    draw = random.Random(SEED)
    inner = [name for name in CALLS if "close" not in name]
    with Signals(lambda: allowed(lambda: CALLS[draw.choice(inner)](world))) as signals:
        for outer in itertools.cycle(inner):
            if not signals.left:
                break
            allowed(lambda outer=outer: CALLS[outer](world))
    check(world, run_python)


def test_handlers_may_close_anything_at_any_moment(log_path: Path, run_python: Any) -> None:
    """Clients that a handler closes in the middle of whatever call are closed; new ones take their place at once."""
    world = World(log_path)
    with Signals(world.close_clients) as signals:
        for outer in itertools.cycle(CALLS):
            if not signals.left:
                break
            with contextlib.suppress(*CLOSED):
                CALLS[outer](world)
                continue
            with contextlib.suppress(*CLOSED):
                world.close_clients()
                world.renew()
    world.close_clients()
    world.renew()
    check(world, run_python)


# --- a handler that closes ---

POLLING = """
import eventlog, os, random, signal, sys, threading
log = eventlog.open(ARGS[0])
log.create_topic("t", exist_ok=True)
consumer = log.consumer("t", group="g", auto_offset_reset="earliest")
producer = log.producer(linger_ms=0)
def stop(signum, frame):
    {handler}
signal.signal(signal.SIGTERM, stop)
delay = random.Random(ARGS[1]).uniform(0.0, 0.05)
consumer.poll()
try:
    threading.Timer(delay, os.kill, (os.getpid(), signal.SIGTERM)).start()
    while True:
        {loop}
except eventlog.ClosedError:
    pass
log.close()
answer("closed")
"""
HANDLERS = {
    "consumer.close": "consumer.close()",
    "log.close": "log.close()",
    "log.close, sys.exit": "log.close(); answer('closed'); sys.exit(0)",
    "sys.exit": "answer('closed'); sys.exit(0)",
}
LOOPS = {
    "poll": "consumer.poll(timeout=1.0)",
    "poll and commit": "producer.send('t', b'x'); consumer.poll(timeout=0.01); consumer.commit()",
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("handler", HANDLERS)
def test_a_member_that_a_handler_closes_leaves_its_group(
    log_path: Path, run_python: Any, handler: str, loop: str
) -> None:
    """The process ends at once, and its group has no members: the next one has the partition with its first poll."""
    script = POLLING.format(handler=HANDLERS[handler], loop=LOOPS[loop])
    for seed in range(2):
        assert run_python(script, log_path, seed, timeout=60) == "closed"
        with eventlog.open(log_path) as log, log.consumer("t", group="g") as consumer:
            assert not any(member.is_alive for member in log.group("g").members)
            consumer.poll()
            assert consumer.assignment() == [eventlog.TopicPartition("t", 0)]


WRITING = """
import eventlog, os, random, signal, sys, threading
log = eventlog.open(ARGS[0])
topic = log.create_topic("t", exist_ok=True)
partition, producer = topic.partitions[0], log.producer(linger_ms=ARGS[1])
producer.send("t", b"first").result()
sent = []
def stop(signum, frame):
    try:
        {handler}
    except eventlog.ReentrantCallError:
        pass
    log.close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
ARGS[1:] = []
try:
    threading.Timer(random.Random({seed}).uniform(0.0, 0.05), os.kill, (os.getpid(), signal.SIGTERM)).start()
    while True:
        {loop}
except eventlog.ClosedError:
    pass
finally:
    answer(len(sent))
"""


@pytest.mark.parametrize("linger_ms", [0, 5])
@pytest.mark.parametrize("handler", ["producer.flush()", "producer.send('t', b'last').result(timeout=5)",
                                     "partition.append([b'last'])", "pass"])  # fmt: skip
def test_what_was_accepted_is_written_when_a_handler_closes(
    log_path: Path, run_python: Any, handler: str, linger_ms: int
) -> None:
    """Whatever the handler was refused before: the log that it closes holds each record whose send has returned."""
    loop = "sent.append(producer.send('t', b'%d' % len(sent)))"
    for seed in range(2):
        with eventlog.open(log_path) as log:
            before = log.create_topic("t", exist_ok=True).partitions[0].log_end_offset
        script = WRITING.replace("linger_ms=ARGS[1]", f"linger_ms={linger_ms}")
        sent = run_python(script.format(handler=handler, seed=seed, loop=loop), log_path, timeout=60)
        with eventlog.open(log_path) as log:
            partition = log.topic("t").partitions[0]
            batches = partition.read(before, max_bytes=1 << 30)
            values = [value for batch in batches for value in batch.values()]
            assert partition.verify().ok
        assert values[0] == b"first"
        numbers = [int(value) for value in values[1:] if value != b"last"]
        assert numbers == list(range(len(numbers)))
        assert sent <= len(numbers) <= sent + 1


# --- a handler that raises ---

ERRORS: list[Callable[[], Exception]] = [
    lambda: TimeoutError("the handler's"),
    lambda: OSError(errno.EIO, "the handler's"),
    lambda: OSError(errno.ENOSPC, "the handler's"),
    lambda: OSError(errno.ENOENT, "the handler's"),  # a FileNotFoundError
    lambda: OSError(errno.EAGAIN, "the handler's"),  # a BlockingIOError
    lambda: OSError(errno.EEXIST, "the handler's"),
    lambda: OSError(errno.EMFILE, "the handler's"),
    lambda: eventlog.StorageError("the handler's"),
    lambda: eventlog.LogFullError("the handler's"),
    lambda: ValueError("the handler's"),
]


class Raiser(Interrupter):
    """Interrupts calls by errors."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.raised: BaseException | None = None
        self.swallowed: BaseException | None = None

    def on_alarm(self, signum: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            self.raised = self._random.choice(ERRORS)()
            raise self.raised

    def hit(self, function: Callable[[], Any], longest: float) -> tuple[Any, BaseException | None]:
        """Return what the call returned, or the error that the handler raised, which must be what has left it."""
        self.raised = None
        try:
            result, _ = self.call(function, longest)
        except Exception as error:
            assert error is self.raised, f"{error!r} instead of {self.raised!r}"
            self.interrupted += 1
            return None, error
        if self.raised is not None and self.raised is not self.swallowed:
            pytest.fail("swallowed: " + "".join(traceback.format_exception(self.raised)))
        return result, None


@pytest.fixture
def raiser() -> Iterator[Raiser]:
    made = Raiser(SEED)

    def swallowed(what: Any) -> None:
        made.swallowed = what.exc_value  # by Python, in a finalizer

    unraisable, sys.unraisablehook = sys.unraisablehook, swallowed
    before = signal.signal(signal.SIGALRM, made.on_alarm)
    try:
        yield made
    finally:
        sys.unraisablehook = unraisable
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("durability", ["os", "disk"])
def test_an_error_that_a_handler_raises_in_an_append(log_path: Path, raiser: Raiser, durability: str) -> None:
    """It goes through as it is, poisons nothing, and the record is there once or, as it says, not at all."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t", segment_bytes=4096, index_interval_bytes=512).partitions[0]
        expected: list[bytes | None] = []
        for number in raiser.rounds(600):
            value = b"%d" % number
            result, error = raiser.hit(lambda value=value: partition.append([value], durability=durability), 300e-6)
            written = result if error is None else getattr(error, "append_result", None)
            if written is not None:
                assert written.base_offset == len(expected)
                expected.append(value)
            assert partition.log_end_offset == len(expected)
            assert not partition.is_poisoned
        partition.append([b"last"], durability="disk")
        assert partition.verify().ok
        assert partition.durable_end_offset == len(expected) + 1


def _leave_a_mark(world: World) -> None:
    """A sync of this process was interrupted, so that the next one writes its records again."""
    partition = world.log.topic("t").partitions[0]
    partition.append([b"x"])
    marks = partition.log.flusher._marks
    marks.leave(marks.begin(GROUP, partition.log.head.life), partition.log.head.life)


def _poll_once(consumer: eventlog.Consumer) -> None:
    consumer.poll()
    consumer.close()


def _commit_one(producer: eventlog.Producer) -> None:
    producer.init_transactions()
    producer.begin_transaction()
    producer.send("t", b"x")
    producer.commit_transaction()


def _commit_alone(world: World) -> None:
    consumer = world.log.consumer(group="alone")
    consumer.assign([eventlog.TopicPartition("t", 0)])
    consumer.commit({eventlog.TopicPartition("t", 0): 0})


def _locked(log_path: Path) -> list[Path]:
    """The locks between processes that anybody holds, of those that are held for a moment only."""
    return [path for path in log_path.rglob("lock") if is_locked(FileSystem(), str(path))]


BLOCKS: dict[str, Callable[[World], object]] = {
    "create": lambda world: world.log.create_topic("new", exist_ok=True),
    "grow": lambda world: world.log.topic("t").add_partitions(len(world.log.topic("t").partitions)),
    "delete": lambda world: world.log.delete_topic(world.log.create_topic("doomed", exist_ok=True).name),
    "committed": lambda world: world.log.consumer(group="other").committed(eventlog.TopicPartition("t", 0)),
    "join": lambda world: _poll_once(world.log.consumer("t", group="h")),
    "new epoch": lambda world: world.log.producer(transactional_id="y").init_transactions(),
    "transaction": lambda world: _commit_one(world.log.producer(transactional_id="z")),
    "delete a group": lambda world: (_commit_alone(world), world.log.delete_group("alone")),
    "sync in doubt": lambda world: (_leave_a_mark(world), world.log.topic("t").partitions[0].flush()),
}


@pytest.mark.parametrize("call", BLOCKS)
def test_an_interrupt_on_the_way_into_a_block_or_out_of_it(log_path: Path, call: str) -> None:
    """It comes when a context manager of Python's own has just begun its block, or ended it, where a call has one: no
    lock is held then, though the error that tells of it is still at hand.
    """
    world = World(log_path)
    BLOCKS[call](world)
    for moment in itertools.count():
        returns = itertools.count()

        def trace(frame: FrameType, event: str, argument: object, moment: int = moment, count: Any = returns) -> Any:
            if frame.f_code.co_filename != contextlib.__file__:
                return trace if event == "call" else None
            if event == "return" and next(count) == moment:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        interrupt = None
        sys.settrace(trace)
        try:
            BLOCKS[call](world)
        except KeyboardInterrupt as error:
            interrupt = error
        finally:
            sys.settrace(None)
        where = f"at the return number {moment} of contextlib: {interrupt!r}"
        assert not holds_any() and not _locked(log_path), where
        if interrupt is None:
            break
    world.close_clients()
    world.log.close()


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_that_a_handler_raises_in_the_callers_own_code(log_path: Path, kind: Callable[[], Exception]) -> None:
    """What a handler raises while a serializer, a deserializer or a partitioner runs is no error of that one's."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t").partitions[0]
        partition.append([b"v"])
        error, is_due = kind(), True

        def handler(signum: int, frame: FrameType | None) -> None:
            raise error

        def interrupted(*arguments: Any) -> Any:
            if is_due:
                signal.raise_signal(signal.SIGALRM)
            return 0 if len(arguments) > 1 else arguments[0]

        before = signal.signal(signal.SIGALRM, handler)
        try:
            serializing = log.producer(value_serializer=interrupted)
            choosing = log.producer(partitioner=interrupted)
            reading = log.consumer("t", auto_offset_reset="earliest", value_deserializer=interrupted)
            calls = [
                lambda: serializing.send("t", b"v").result(), lambda: serializing.send_many("t", [b"v"]),
                lambda: choosing.send("t", b"v", key=b"k").result(), reading.poll,
            ]  # fmt: skip
            for call in calls:
                with pytest.raises(type(error)) as caught:
                    call()
                assert caught.value is error
            is_due = False
            for call in calls:
                assert call()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert partition.log_end_offset == 4


def test_an_error_that_a_handler_raises_in_a_producer(log_path: Path, raiser: Raiser) -> None:
    """It is no error of a record: what was accepted is written once, whatever was interrupted."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t").partitions[0]
        producer = log.producer(linger_ms=0)
        accepted: dict[bytes, eventlog.Delivery] = {}
        for number in raiser.rounds(600):
            value = b"%d" % number
            delivery, _ = raiser.hit(lambda value=value: producer.send("t", value), 200e-6)
            if delivery is not None:
                accepted[value] = delivery
            raiser.hit(producer.flush, 200e-6)
        producer.flush()
        values = [value for batch in partition.read(0, max_bytes=1 << 30) for value in batch.values()]
        assert len(set(values)) == len(values)
        for value, delivery in accepted.items():
            assert values[delivery.result().offset] == value
        assert not partition.is_poisoned


def test_an_error_that_a_handler_raises_in_a_transaction(log_path: Path, raiser: Raiser) -> None:
    """The transaction was committed or can be aborted; nothing is poisoned, and the next one goes on."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t").partitions[0]
        log.create_topic("u")
        producer = log.producer(transactional_id="x", durability="disk")
        producer.init_transactions()
        committed = 0

        def transact() -> None:
            with producer.transaction():
                producer.send("t", b"x")
                producer.send("u", b"x")

        for _ in raiser.rounds(150):
            raiser.hit(transact, 3e-3)
            with contextlib.suppress(eventlog.IllegalStateError):  # it has ended
                producer.abort_transaction()
            transact()
            assert partition.log_end_offset - committed in (1, 2)
            committed = partition.log_end_offset
            assert committed == log.topic("u").partitions[0].log_end_offset
        assert not partition.is_poisoned
        assert log.verify_transactions().ok


def test_an_error_that_a_handler_raises_in_a_group(log_path: Path, raiser: Raiser) -> None:
    """Its member polls and commits on, and loses nothing."""
    with eventlog.open(log_path) as log:
        log.create_topic("t", partitions=2).partitions[0].append([b"x"] * 10_000)
        log.producer().send("t", b"x").result()
        consumer = log.consumer("t", group="g", enable_auto_commit=False, auto_offset_reset="earliest")
        for _ in raiser.rounds(300):
            raiser.hit(lambda: consumer.poll(max_records=1), 500e-6)
            raiser.hit(consumer.commit, 300e-6)
        consumer.poll(max_records=1)
        consumer.commit()
        assert len(consumer.assignment()) == 2
        for tp in consumer.assignment():
            committed = consumer.committed(tp)
            assert committed is None or committed.offset == consumer.position(tp)
        consumer.close()


def test_an_error_that_a_handler_raises_in_an_administrator(log_path: Path, raiser: Raiser) -> None:
    """Creating, growing and deleting a topic can be repeated."""
    with eventlog.open(log_path) as log:

        def change() -> None:
            topic = log.create_topic("t", exist_ok=True)
            topic.partitions[0].append([b"x"])
            topic.add_partitions(2)
            log.delete_topic("t")

        for _ in raiser.rounds(150):
            raiser.hit(change, 3e-3)
            with contextlib.suppress(eventlog.UnknownTopicError):
                log.delete_topic("t")
        log.create_topic("t").partitions[0].append([b"x"])


def test_an_error_that_a_handler_raises_in_an_opening(log_path: Path, raiser: Raiser) -> None:
    """It is no answer to what lies at the path: that a log is there, or that it is a directory."""
    eventlog.open(log_path).close()
    link = log_path.with_name("link")
    link.symlink_to(log_path)

    def look() -> None:
        with eventlog.open(link, readonly=True):
            pass

    for _ in raiser.rounds(600):
        raiser.hit(look, 1e-3)


@pytest.mark.parametrize("ask", [is_there, is_directory, is_other_than_directory, real_path])
def test_an_error_that_a_handler_raises_in_a_question(
    log_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], object]
) -> None:
    """A handler that runs behind the system's call and raises an OSError is not taken for the call's own."""
    done = os.stat, os.lstat

    def handler(number: int, frame: object) -> None:
        raise TimeoutError("not the system")

    def interrupted(path: Any, **options: Any) -> Any:
        found = done[0](path, **options)
        signal.raise_signal(signal.SIGUSR1)
        return found

    before = signal.signal(signal.SIGUSR1, handler)
    log_path.mkdir()
    try:
        monkeypatch.setattr(os, "stat", interrupted)
        monkeypatch.setattr(os, "lstat", lambda path: interrupted(path, follow_symlinks=False))
        with pytest.raises(TimeoutError, match="not the system"):
            ask(str(log_path))
    finally:
        monkeypatch.undo()
        signal.signal(signal.SIGUSR1, before)
    assert ask(str(log_path)) in (True, False, os.path.realpath(log_path))


def test_only_the_calls_own_error_is_the_devices(log_path: Path) -> None:
    """A failed sync poisons the partition as before, whatever handler is installed."""

    class Failing(FileSystem):
        def sync(self, fd: int) -> None:
            raise OSError(errno.EIO, "the device's")

    with eventlog.open(log_path) as log:
        log.create_topic("t").partitions[0].append([b"x"])
    log = eventlog.EventLog(log_path, filesystem=Failing())
    partition = log.topic("t").partitions[0]
    with pytest.raises(eventlog.StorageError, match="the device's"):
        partition.append([b"x"], durability="disk")
    assert partition.is_poisoned
    with contextlib.suppress(eventlog.StorageError):
        log.close()


@pytest.mark.parametrize("kind", ["function", "forgets its arguments", "object", "method", "lambda"])
def test_a_handlers_error_is_known_by_its_traceback(kind: str) -> None:
    """Whatever sort of function the handler is, in a system call or between two of them."""

    def forgetful(signum: Any, frame: Any) -> None:
        del signum, frame
        raise TimeoutError

    def function(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError

    class Handler:
        def __call__(self, *_: object) -> None:
            raise TimeoutError

        def method(self, *_: object) -> None:
            raise TimeoutError

    handlers: dict[str, Any] = {
        "function": function, "forgets its arguments": forgetful, "object": Handler(), "method": Handler().method,
        "lambda": lambda *_: next(iter(map(function, _[:1], _[1:]))),
    }  # fmt: skip

    def spin() -> None:
        while True:
            os.getpid()

    before = signal.signal(signal.SIGALRM, handlers[kind])
    try:
        for call in (spin, lambda: time.sleep(60)):
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            with pytest.raises(TimeoutError) as raised:
                call()
            assert is_from_handler(raised.value)
        with pytest.raises(OSError, match="Bad file descriptor") as raised_by_the_system:
            os.close(os.dup(0) + 1000)
        assert not is_from_handler(raised_by_the_system.value)
    finally:
        signal.signal(signal.SIGALRM, before)
