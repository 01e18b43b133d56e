"""An error of one record is that record's alone, whatever the reason, and no thread of a producer dies of it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.producer.delivery import FullDelivery
from tests.producer.faulty import FaultyFileSystem

NEVER_LINGERED = 10**9


class Unencodable:
    """Headers that no send accepts: encoding them raises what encoding never does."""

    def __len__(self) -> int:
        raise RuntimeError("no length")


def spoiled(delivery: eventlog.Delivery, headers: Any = Unencodable()) -> eventlog.Delivery:  # noqa: B008  # has no state
    """Make an accepted record one that cannot be encoded, behind the back of the checks."""
    assert isinstance(delivery, FullDelivery)
    delivery.headers = headers
    return delivery


@contextmanager
def held(log: eventlog.EventLog, topic: str = "t") -> Iterator[None]:
    """Hold a partition's lock, as another process does in the middle of an append."""
    fd = os.open(Path(log.path) / "topics" / topic / "0" / "lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


def values(log: eventlog.EventLog, topic: str = "t") -> list[bytes | None]:
    return [value for batch in log.topic(topic).partitions[0].read(0, 1 << 30) for value in batch.values()]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("idempotent", [True, False])
def test_what_cannot_be_encoded_fails_alone(log: eventlog.EventLog, seed: int, idempotent: bool) -> None:
    """Of many records in one batch, exactly those fail that cannot be encoded; all others are written, in order, with
    sequence numbers that have no gap.
    """
    rng = random.Random(seed)
    log.create_topic("t")
    bad = set(rng.sample(range(60), rng.choice([1, 2, 20, 59, 60])))
    with log.producer(linger_ms=NEVER_LINGERED, batch_size=2**20, enable_idempotence=idempotent) as producer:
        deliveries = [
            producer.send("t", b"%d" % n, rng.choice([b"k", None]), headers=[("h", b"")] if n in bad else None)
            for n in range(60)
        ]
        for n in bad:
            spoiled(deliveries[n], rng.choice([Unencodable(), [("\ud800", b"")], [5]]))
        producer.flush()
        after = producer.send("t", b"after")
        producer.flush()
    good = [n for n in range(60) if n not in bad]
    assert values(log) == [b"%d" % n for n in good] + [b"after"]
    assert [deliveries[n].result().offset for n in good] == list(range(len(good)))
    assert after.result().offset == len(good)
    for n in bad:
        error = deliveries[n].exception()
        assert isinstance(error, eventlog.InvalidRecordError) and error.topic == "t" and error.hint
    if idempotent:
        batches = log.topic("t").partitions[0].read(0, 1 << 30)
        assert [batch.base_sequence for batch in batches] == [batch.base_offset for batch in batches]


def test_the_background_thread_goes_on(log: eventlog.EventLog) -> None:
    """A record that cannot be encoded is told by the background thread, and so is the one after it."""
    log.create_topic("t")
    told: list[type[BaseException] | None] = []
    done = threading.Event()

    def tell(_: object, error: BaseException | None) -> None:
        told.append(type(error) if error else None)
        if len(told) == 2:
            done.set()

    with log.producer(linger_ms=200) as producer:
        spoiled(producer.send("t", b"bad", b"k", headers=[("h", b"")])).add_callback(tell)
        producer.send("t", b"good", b"k").add_callback(tell)
        assert done.wait(60)
    assert told == [eventlog.InvalidRecordError, None]
    assert values(log) == [b"good"]


def test_closing_is_not_kept_up(log_path: Path) -> None:
    """With a record that cannot be encoded first in its partition, close() of the log writes all others, and no call
    raises what only that record is in for.
    """
    log = eventlog.open(log_path)
    log.create_topic("t")
    producer = log.producer(linger_ms=NEVER_LINGERED)
    bad = spoiled(producer.send("t", b"bad", b"k", headers=[("h", b"")]))
    later = [producer.send("t", b"%d" % n, b"k") for n in range(100)]
    log.close()
    assert isinstance(bad.exception(), eventlog.InvalidRecordError)
    assert [delivery.result().offset for delivery in later] == list(range(100))
    with eventlog.open(log_path) as again:
        assert values(again) == [b"%d" % n for n in range(100)]


def test_who_awaits_is_answered(log: eventlog.EventLog) -> None:
    """With asyncio a record that cannot be encoded is its own future's error, and every other one is answered."""
    log.create_topic("t")

    async def main() -> None:
        async with log.async_producer(linger_ms=NEVER_LINGERED) as producer:
            inner = producer._producer
            futures = [producer.send_nowait("t", b"%d" % n, b"k", partition=0) for n in range(10)]
            while sum(len(buffer.records) for buffer in inner._pool.all()) < 10:
                await asyncio.sleep(0)
            (buffer,) = inner._pool.all()
            spoiled(buffer.records[3])
            assert (await producer.send("t", b"urgent", b"k")).offset == 9
            results = await asyncio.gather(*futures, return_exceptions=True)
            assert [type(result) for result in results] == [
                eventlog.InvalidRecordError if n == 3 else eventlog.RecordMetadata for n in range(10)
            ]

    asyncio.run(asyncio.wait_for(main(), 60))
    assert values(log) == [b"%d" % n for n in range(10) if n != 3] + [b"urgent"]


# --- an append that raises what no append raises on purpose ---


class Alarm(Exception):  # noqa: N818  # what a signal handler may raise
    """Something that has nothing to do with the log."""


@pytest.fixture
def fs() -> FaultyFileSystem:
    return FaultyFileSystem()


@pytest.fixture
def faulty(log_path: Path, fs: FaultyFileSystem) -> Iterator[eventlog.EventLog]:
    """A log whose writes to segments fail when they are told to."""
    with eventlog.EventLog(log_path, filesystem=fs) as opened:
        opened.create_topic("t")
        yield opened
        fs.fault = lambda call, path: None


ERRORS: list[type[BaseException]] = [RuntimeError, MemoryError, KeyError, Alarm]


@pytest.mark.parametrize("kind", [*ERRORS, TimeoutError, BlockingIOError])
@pytest.mark.parametrize("idempotent", [True, False])
def test_what_a_signal_handler_raises_in_an_append(
    faulty: eventlog.EventLog, fs: FaultyFileSystem, kind: type[Exception], idempotent: bool
) -> None:
    """It is raised by the call that was under way, as it is, and the records are written later, once."""
    error = kind("no")

    def handler(*_: object) -> None:
        raise error

    def interrupted(call: str, path: str) -> None:
        if call == "write" and path.endswith(".log"):
            fs.fault = lambda call, path: None
            signal.raise_signal(signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with faulty.producer(linger_ms=NEVER_LINGERED, enable_idempotence=idempotent) as producer:
            sent = [producer.send("t", b"a", b"k"), producer.send("t", b"b", b"k")]
            fs.fault = interrupted
            with pytest.raises(kind) as raised:
                producer.flush()
            assert raised.value is error
            producer.flush()
            assert [delivery.result().offset for delivery in sent] == [0, 1]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert values(faulty) == [b"a", b"b"]


@pytest.mark.parametrize("idempotent", [True, False])
def test_memory_may_be_free_again_later(faulty: eventlog.EventLog, fs: FaultyFileSystem, idempotent: bool) -> None:
    """An append for which there was no memory is tried again, like one for which there was no space on the disk."""
    with faulty.producer(linger_ms=NEVER_LINGERED, retry_backoff_ms=0, enable_idempotence=idempotent) as producer:
        sent = [producer.send("t", b"a", b"k"), producer.send("t", b"b", b"k")]
        fs.fail(MemoryError(), times=3)
        producer.flush()
        assert [delivery.result().offset for delivery in sent] == [0, 1]
    assert values(faulty) == [b"a", b"b"]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("idempotent", [True, False])
def test_what_an_append_raises(
    faulty: eventlog.EventLog, fs: FaultyFileSystem, kind: type[Exception], idempotent: bool
) -> None:
    """Whatever it is, flush and close raise nothing, its records fail with a StorageError that names it, and later ones
    are written.
    """
    error = kind("no")
    with faulty.producer(
        linger_ms=NEVER_LINGERED, enable_idempotence=idempotent, delivery_timeout_ms=20, retry_backoff_ms=1
    ) as producer:
        failed = [producer.send("t", b"a", b"k"), producer.send("t", b"b", b"k")]
        fs.fail(error)
        producer.flush()
        many = producer.send_many("t", [b"c", b"d"])
        fs.fault = lambda call, path: None
        after = producer.send("t", b"after", b"k")
        producer.flush()
        for told in [*(delivery.exception() for delivery in failed), *many.results()]:
            assert isinstance(told, eventlog.StorageError) and told.__cause__ is error and told.hint
        assert after.result().offset == 0
        last = producer.send("t", b"last", b"k")
        fs.fail(error)
    assert isinstance(last.exception(), eventlog.StorageError)
    assert values(faulty) == [b"after"]


@pytest.mark.parametrize("kind", [*ERRORS, SystemExit])
def test_the_background_thread_survives_what_an_append_raises(
    faulty: eventlog.EventLog, fs: FaultyFileSystem, kind: type[BaseException]
) -> None:
    """Whatever it is, the thread tells the records' callbacks, and writes those that come later."""
    error = kind("no")
    with faulty.producer(linger_ms=50) as producer:
        for fails in (True, False):
            told, errors = threading.Event(), list[BaseException | None]()

            def tell(_: object, error: BaseException | None, told: Any = told, errors: Any = errors) -> None:
                errors.append(error)
                told.set()

            if fails:
                fs.fail(error, times=1)
            producer.send("t", b"v", b"k").add_callback(tell)
            assert told.wait(60)
            is_told = fails and issubclass(kind, Exception) and kind is not MemoryError  # tried again
            assert [type(found) for found in errors] == [eventlog.StorageError if is_told else type(None)]


@pytest.mark.parametrize("kind", [*ERRORS, SystemExit])
def test_who_awaits_what_an_append_raises_is_answered(
    faulty: eventlog.EventLog, fs: FaultyFileSystem, kind: type[BaseException]
) -> None:
    """The futures of a batch whose append raises get an answer, and so do later ones."""
    error = kind("no")

    async def main() -> None:
        async with faulty.async_producer(linger_ms=1) as producer:
            await producer.send("t", b"first")
            for send in (producer.send, producer.send_nowait):
                fs.fail(error, times=1)
                (found,) = await asyncio.gather(send("t", b"v"), return_exceptions=True)
                is_told = issubclass(kind, Exception) and kind is not MemoryError
                assert type(found) is (eventlog.StorageError if is_told else eventlog.RecordMetadata)
            assert (await producer.send("t", b"last")).topic == "t"

    asyncio.run(asyncio.wait_for(main(), 60))
    assert values(faulty)[-1] == b"last"


# --- callbacks ---


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, asyncio.CancelledError, RuntimeError])
def test_a_callback_that_ends_threads(log: eventlog.EventLog, error: type[BaseException]) -> None:
    """Whatever a callback raises in the background thread, the callbacks after it are called, as are later ones."""
    log.create_topic("t").partitions[0].append([b"first"])

    def fail(*_: object) -> None:
        raise error

    with log.producer(linger_ms=1) as producer:
        for told in (threading.Event(), threading.Event()):
            with held(log):  # or else the record may be written before it has a callback, which is then called here
                first = producer.send("t", b"v", b"k")
                first.add_callback(fail)
                first.add_callback(fail)
                producer.send("t", b"v", b"k").add_callback(lambda *_, told=told: told.set())  # type: ignore[misc]
            assert told.wait(60)


def test_an_interrupt_in_a_callback_keeps_no_other_from_being_called(log: eventlog.EventLog) -> None:
    """KeyboardInterrupt leaves flush, and the callbacks that had not had their turn are called by the next one."""
    log.create_topic("t")
    told = []

    def interrupt(*_: object) -> None:
        told.append("interrupted")
        raise KeyboardInterrupt

    with log.producer(linger_ms=NEVER_LINGERED) as producer:
        first = producer.send("t", b"v", b"k")
        first.add_callback(interrupt)
        first.add_callback(lambda *_: told.append("second"))
        producer.send("t", b"v", b"k").add_callback(lambda *_: told.append("third"))
        with pytest.raises(KeyboardInterrupt):
            producer.flush()
        producer.flush()
        assert told == ["interrupted", "second", "third"]


# --- a partition that another process holds ---


@pytest.mark.parametrize("durability", ["os", "disk"])
def test_waiting_for_another_process_ends(log: eventlog.EventLog, durability: str) -> None:
    """While another process holds a partition, its records fail after delivery_timeout_ms, in the background too; those
    of other partitions, and those sent once it has let go, are written.
    """
    for topic in ("t", "u"):
        log.create_topic(topic)
    with log.producer(linger_ms=1, delivery_timeout_ms=50, durability=durability) as producer:
        producer.send("t", b"first", b"k").result()
        with held(log):
            told = threading.Event()
            late = [producer.send("t", b"late", b"k") for _ in range(3)]
            late[-1].add_callback(lambda *_: told.set())
            assert producer.send("u", b"other", b"k").result(timeout=60).offset == 0
            assert told.wait(60)
            for delivery in late:
                assert isinstance(delivery.exception(), eventlog.DeliveryTimeoutError)
            producer.flush(60)
        assert producer.send("t", b"last", b"k").result(timeout=60).offset == 1
    assert values(log) == [b"first", b"last"]


@pytest.mark.parametrize("wait", ["result", "flush", "close", "send_many", "linger_ms=0"])
@pytest.mark.parametrize("durability", ["os", "disk"])
def test_waiting_without_a_timeout_ends_as_well(log: eventlog.EventLog, wait: str, durability: str) -> None:
    """Who waits without a timeout for a partition that another process holds waits for delivery_timeout_ms."""
    log.create_topic("t").partitions[0].append([b"first"])
    linger_ms = 0 if wait == "linger_ms=0" else NEVER_LINGERED
    producer = log.producer(linger_ms=linger_ms, delivery_timeout_ms=50, durability=durability, retry_backoff_ms=1)
    with held(log):
        delivery: eventlog.Delivery
        if wait == "send_many":
            delivery = producer.send_many("t", [b"late", b"later"])
        else:
            delivery = producer.send("t", b"late", b"k")
        if wait in ("flush", "close"):
            getattr(producer, wait)()
        assert isinstance(delivery.exception(), eventlog.DeliveryTimeoutError)
    assert values(log) == [b"first"]
    producer.close()


def test_an_alarm_ends_a_flush(log: eventlog.EventLog) -> None:
    """An exception that a signal handler raises while flush waits for another process leaves flush as it is, at once,
    and the records are written later, once.
    """
    log.create_topic("t")

    def alarm(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        with log.producer(linger_ms=NEVER_LINGERED) as producer:
            producer.send("t", b"a", b"k").result()
            delivery = producer.send("t", b"b", b"k")
            with held(log):
                for _ in range(3):
                    signal.setitimer(signal.ITIMER_REAL, 0.05)
                    with pytest.raises(Alarm):
                        producer.flush()
            assert delivery.result().offset == 1
        assert values(log) == [b"a", b"b"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
