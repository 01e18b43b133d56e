"""A call that comes in the middle of another one of its own thread works, or is refused at once; nothing hangs.

Signal handlers and finalizers may run between any two bytecodes. Here they run before random lines of the library's
calls: each test is repeatable. `test_signals.py` does the same with signals.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import eventlog
from eventlog.files.mutex import Mutex
from tests.interrupting import called_before_line
from tests.reentering import ALLOWED, CALLS, World, allowed, check

pytestmark = pytest.mark.timeout(120, method="thread")

SEED = 20261130
PACKAGE = Path(eventlog.__file__).parent
PLACES = 3  # lines of each call, before which each other call is made
# Between these and the call that follows, or within the one bytecode that they are for, Python runs no handler.
UNSEEN = ("fcntl.flock(file.fd, fcntl.LOCK_UN)", "mutex.release()", "self._mutex.release()")


def is_traced(code: CodeType) -> bool:
    return code.co_filename.startswith(str(PACKAGE)) and code.co_name not in ("__del__", "_is_owned")


@pytest.fixture
def world(log_path: Path) -> Iterator[World]:
    made = World(log_path)
    yield made
    made.log.close()


def lines_of(world: World, call: Callable[[World], Any]) -> int:
    """How many lines the call has, to the next power of two."""
    count, where = 8, [""]
    while where:
        count, where = 2 * count, []
        with contextlib.suppress(*ALLOWED):
            called_before_line(count, lambda: call(world), is_traced, lambda: None, where, UNSEEN)
    world.close_clients()
    world.renew()
    return count


@pytest.mark.parametrize("outer", CALLS)
def test_a_call_within_a_call_works_or_is_refused(world: World, outer: str, run_python: Any) -> None:
    """Whatever is called before whatever line of whatever call: both end, and nothing is held afterwards."""
    draw = random.Random(f"{SEED}-{outer}")
    print(f"seed {SEED}")
    lines = lines_of(world, CALLS[outer])
    for inner, number in ((inner, draw.randrange(lines)) for inner in CALLS for _ in range(PLACES)):
        where: list[str] = []
        try:
            allowed(
                lambda number=number, inner=inner, where=where: called_before_line(
                    number, lambda: CALLS[outer](world), is_traced,
                    lambda: allowed(lambda: CALLS[inner](world)), where, UNSEEN,
                )
            )  # fmt: skip
            if "close" in inner or "close" in outer:
                world.close_clients()
                world.renew()
        except BaseException as error:
            error.add_note(f"{inner} at {where} of {outer}")
            raise
    check(world, run_python)


def test_a_mutex_knows_its_thread() -> None:
    """Who holds it is refused at once; who does not waits; who looks finds it taken."""
    mutex = Mutex()
    assert not mutex.locked()
    with mutex:
        assert mutex.is_mine() and mutex.locked()
        assert not mutex.take_if_free()
        with pytest.raises(eventlog.ReentrantCallError), mutex:
            pass
        with mutex.again():
            pass
        assert mutex.is_mine()
    assert not mutex.is_mine()
    assert not mutex.locked()


# --- who comes without a signal ---


@pytest.mark.parametrize("call", ["append", "send", "flush", "transaction", "poll", "close clients"])
def test_a_finalizer_may_call(world: World, call: str, run_python: Any) -> None:
    """The garbage collector runs ``__del__`` in the middle of any call: what it does works, or is refused."""
    draw = random.Random(f"{SEED}-{call}")
    refused: list[BaseException] = []

    class Calls:
        def __init__(self) -> None:
            self.me = self  # for the collector to find

        def __del__(self) -> None:
            try:
                allowed(lambda: CALLS[call](world))
            except BaseException as error:
                refused.append(error)

    def collect() -> None:
        gc.collect()

    gc.collect()
    gc.freeze()  # what other tests have left need not be looked at again and again
    for outer in ("append", "send", "poll", "transaction", "create and delete"):
        for _ in range(3):
            Calls()
            number = draw.randrange(120)
            allowed(
                lambda outer=outer, n=number: called_before_line(
                    n, lambda: CALLS[outer](world), is_traced, collect, [], UNSEEN
                )
            )
            gc.collect()
            world.close_clients()
            world.renew()
    gc.unfreeze()
    assert refused == []
    check(world, run_python)


def test_a_logging_handler_may_write_into_the_log(log_path: Path) -> None:
    """What the library logs goes into the log itself, or into its errors, and nothing waits."""

    class IntoTheLog(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with contextlib.suppress(eventlog.EventLogError):
                log.topic("notes").partitions[0].append([record.getMessage().encode()])
                noting.send("notes", record.getMessage().encode()).result(timeout=20)

    handler = IntoTheLog()
    logger = logging.getLogger("eventlog")
    with eventlog.open(log_path) as log:
        noting = log.producer(linger_ms=0)
        partition = log.create_topic("t", max_message_bytes=1000).partitions[0]
        log.create_topic("notes")
        logger.addHandler(handler)
        try:
            producer = log.producer(linger_ms=0, retries=0)
            log.delete_topic("t")
            for _ in range(3):
                with contextlib.suppress(eventlog.EventLogError):
                    partition.append([b"x"])
            waiting = log.producer(linger_ms=1000)
            log.create_topic("u")
            delivery = waiting.send("u", b"x")
            log.delete_topic("u")
            with contextlib.suppress(eventlog.EventLogError):
                delivery.result(timeout=20)
            producer.close()
        finally:
            logger.removeHandler(handler)
        assert log.topic("notes").partitions[0].log_end_offset > 0


def test_a_delivery_callback_may_send_flush_and_close(log_path: Path) -> None:
    """It is called without any lock, also by who has written the batch in a flush."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t").partitions[0]
        producer, other = log.producer(linger_ms=1000), log.producer(linger_ms=1000)

        def again(metadata: eventlog.RecordMetadata | None, error: BaseException | None) -> None:
            assert error is None
            other.send("t", b"again").result(timeout=20)
            producer.send("t", b"once more")
            producer.flush(timeout=20)
            other.close()
            partition.append([b"by hand"])

        producer.send("t", b"first").add_callback(again)
        producer.flush(timeout=20)
        values = [value for batch in partition.read(0) for value in batch.values()]
        assert values == [b"first", b"again", b"once more", b"by hand"]


def test_a_deserializer_is_within_the_poll(log_path: Path) -> None:
    """It is refused at once what it asks of the consumer that runs it."""
    with eventlog.open(log_path) as log:
        log.create_topic("t").partitions[0].append([b"x"])
        errors: list[BaseException] = []

        def deserialize(value: bytes) -> bytes:
            for call in (consumer.poll, consumer.seek_to_end, consumer.assignment):
                try:
                    call()
                except eventlog.ReentrantCallError as error:
                    errors.append(error)
            return value

        consumer = log.consumer("t", auto_offset_reset="earliest", value_deserializer=deserialize)
        assert [record.value for record in consumer.poll()] == [b"x"]
        assert len(errors) == 3


@pytest.mark.parametrize("call", ["append", "create and delete", "poll", "transaction", "log.consumer"])
def test_a_second_log_of_the_same_directory(world: World, call: str) -> None:
    """Its locks are other descriptors of the same files: a thread does not wait for itself there either."""
    draw = random.Random(f"{SEED}-{call}")
    with eventlog.open(world.path) as second:
        member = second.consumer("t", group="g")
        member.poll()
        other = second.topic("t").partitions[0]
        transactional = second.producer(transactional_id="y")
        transactional.init_transactions()

        def transact() -> None:
            with transactional.transaction():
                transactional.send("t", b"y")

        inner: list[Callable[[], Any]] = [
            lambda: other.append([b"y"]), lambda: second.create_topic("second", exist_ok=True), member.poll, transact,
            lambda: eventlog.open(world.path).close(),
            lambda: second.consumer("t", group="g").close(),
        ]  # fmt: skip
        for _ in range(60):
            action = draw.choice(inner)
            number = draw.randrange(400)
            allowed(
                lambda action=action, number=number: called_before_line(
                    number, lambda: CALLS[call](world), is_traced, lambda: allowed(action), [], UNSEEN
                )
            )
        member.close()
        transactional.close()
    world.close_clients()


def test_a_thread_that_is_waited_for_and_waits_is_found(log_path: Path) -> None:
    """A handler waits for another thread's lock, and that thread for what it has interrupted: it is refused."""
    held, other = Mutex(), Mutex()
    is_held, outcome = threading.Event(), []

    def holds_other_and_waits() -> None:
        with other:
            is_held.set()
            with held:
                outcome.append("went on")

    def handler() -> None:
        with pytest.raises(eventlog.ReentrantCallError):
            wait_within_the_library(other)

    with eventlog.open(log_path) as log:
        log.create_topic("t")
        at_work = log.consumer("t")
        thread = threading.Thread(target=holds_other_and_waits)
        with held:
            thread.start()
            is_held.wait(60)
            called_before_line(0, at_work.poll, is_traced, handler, [], ())
        thread.join(60)
    assert outcome == ["went on"]


def wait_within_the_library(mutex: Mutex) -> None:
    with mutex:
        raise AssertionError("it is another thread's")
