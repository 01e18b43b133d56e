"""The idempotent producer: whatever fails and is tried again, each record is there once, and in order."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.config import configure
from eventlog.format.producer_stamp import LAST_EPOCH, ProducerStamp
from eventlog.producer.attempt import Attempt, RetryPolicy
from tests.forking import fork
from tests.producer.faulty import FaultyFileSystem

SEGMENT = f"{0:020d}.log"
NEVER_LINGERED = 10**9  # milliseconds: a record leaves only when its batch is full or somebody asks for it
NOW = {"retry_backoff_ms": 0}
GIVES_UP = {"retry_backoff_ms": 1, "delivery_timeout_ms": 20}


@pytest.fixture
def fs() -> FaultyFileSystem:
    return FaultyFileSystem()


@pytest.fixture
def faulty(log_path: Path, fs: FaultyFileSystem) -> Iterator[eventlog.EventLog]:
    with eventlog.EventLog(log_path, filesystem=fs) as log:
        log.create_topic("t")
        yield log
        fs.fault = lambda call, path: None


@pytest.fixture
def bad_and_good(log_path: Path, fs: FaultyFileSystem) -> Iterator[eventlog.EventLog]:
    """A log with a topic ``bad``, whose writes are to fail, and a topic ``good``."""
    with eventlog.EventLog(log_path, filesystem=fs) as log:
        for name in ("bad", "good"):
            log.create_topic(name)
        yield log


def values_of(log: eventlog.EventLog, topic: str = "t", number: int = 0) -> list[bytes | None]:
    partition = log.topic(topic).partitions[number]
    return [value for batch in partition.read(0, 1 << 30) for value in batch.values()]


def stamps_of(log: eventlog.EventLog) -> list[tuple[int, int]]:
    """Epoch and sequence of each batch."""
    batches = log.topic("t").partitions[0].read(0, 1 << 30)
    return [(batch.producer_epoch, batch.base_sequence) for batch in batches]


# --- what is written ---


def test_batches_carry_the_producers_sequence(log: eventlog.EventLog) -> None:
    """By default each batch has its producer's id and the number of its first record, in each partition from 0 on."""
    log.create_topic("t", partitions=2)
    with log.producer(linger_ms=NEVER_LINGERED) as producer:
        for turn in range(3):
            for number in range(2):
                for _ in range(turn + 1):
                    producer.send("t", b"v", partition=number)
            producer.flush()
            producer.send_many("t", [b"m"] * 2, partition=0)
    ids = set()
    for number, expected in ((0, [0, 1, 3, 5, 7, 10]), (1, [0, 1, 3])):
        batches = log.topic("t").partitions[number].read(0, 1 << 30)
        assert [batch.base_sequence for batch in batches] == expected
        assert {batch.producer_epoch for batch in batches} == {0}
        ids |= {batch.producer_id for batch in batches}
    assert len(ids) == 1 and ids.pop() >= 0


def test_each_producer_has_its_own_id(log: eventlog.EventLog) -> None:
    """Two producers never have the same id, nor does one without idempotence have any."""
    log.create_topic("t")
    for options in ({}, {}, {"acks": 1}, {"acks": 0}, {"retries": 0}, {"enable_idempotence": False}):
        with log.producer(**options) as producer:
            producer.send("t", b"v")
    ids = [batch.producer_id for batch in log.topic("t").partitions[0].read(0)]
    assert len(set(ids[:2])) == 2 and min(ids[:2]) >= 0
    assert ids[2:] == [-1] * 4


def test_send_many_is_behind_what_waits(log: eventlog.EventLog) -> None:
    """Records that wait are written first, and the sequence goes on without a gap, also for several batches."""
    log.create_topic("t", max_message_bytes=1000)
    with log.producer(linger_ms=NEVER_LINGERED) as producer:
        producer.send("t", b"a")
        producer.send("t", b"b")
        producer.send_many("t", [b"%d" % number * 100 for number in range(20)])
        producer.send("t", b"c")
    batches = log.topic("t").partitions[0].read(0, 1 << 30)
    assert len(batches) > 4
    assert [batch.base_sequence for batch in batches] == [batch.base_offset for batch in batches]


def test_threads_share_one_sequence(log: eventlog.EventLog) -> None:
    """Threads that send and send lists at once, with one producer, leave no gap and no repetition."""
    log.create_topic("t", segment_bytes=1 << 16)
    with log.producer(batch_size=300, linger_ms=1) as producer:

        def work(number: int) -> None:
            for place in range(200):
                if place % 3:
                    producer.send("t", b"%d:%d" % (number, place))
                else:
                    assert producer.send_many("t", [b"%d:%d" % (number, place)] * 2).exception() is None

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    batches = log.topic("t").partitions[0].read(0, 1 << 30)
    assert [batch.base_sequence for batch in batches] == [batch.base_offset for batch in batches]
    assert {batch.producer_epoch for batch in batches} == {0}
    assert log.topic("t").partitions[0].log_end_offset == 4 * (133 + 67 * 2)


def test_a_forked_child_is_another_producer(log: eventlog.EventLog) -> None:
    """The child of a process sends with an id of its own, from sequence 0 on; its parent goes on with the old one."""
    log.create_topic("t")
    with log.producer(linger_ms=NEVER_LINGERED) as producer:
        producer.send("t", b"parent").result()
        assert fork(lambda: producer.send("t", b"child").result()) == 0
        producer.send("t", b"parent").result()
    batches = log.topic("t").partitions[0].read(0)
    assert [(batch.values(), batch.base_sequence) for batch in batches] == [
        ([b"parent"], 0), ([b"child"], 0), ([b"parent"], 1),
    ]  # fmt: skip
    assert batches[0].producer_id == batches[2].producer_id != batches[1].producer_id


# --- what fails, and succeeds later ---

WAYS = ["flush", "result", "send_many", "linger", "linger 0", "close"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EDQUOT], ids=errno.errorcode.get)
@pytest.mark.parametrize("way", WAYS)
def test_what_failed_is_tried_again(faulty: eventlog.EventLog, fs: FaultyFileSystem, way: str, code: int) -> None:
    """A write that fails twice succeeds the third time, whoever waits for it: one copy, in order, no error."""
    lingers = {"linger": 1, "linger 0": 0}.get(way, NEVER_LINGERED)
    producer = faulty.producer(linger_ms=lingers, **NOW)
    producer.send("t", b"before").result()
    fault = fs.fail(code, times=2)
    deliveries = [producer.send("t", b"%d" % number) for number in range(3)]
    if way == "flush":
        producer.flush()
    elif way == "send_many":
        many = producer.send_many("t", [b"m", b"n"])
        assert [metadata.offset for metadata in many.results()] == [4, 5]
    elif way == "close":
        producer.close()
    elif way != "result":
        fault.met.wait(30)
    assert [delivery.result(30).offset for delivery in deliveries] == [1, 2, 3]
    assert fault.left == 0
    producer.close()
    assert values_of(faulty) == [b"before", b"0", b"1", b"2"] + ([b"m", b"n"] if way == "send_many" else [])
    assert {epoch for epoch, _ in stamps_of(faulty)} == {0}
    assert faulty.topic("t").partitions[0].verify().ok


@pytest.mark.parametrize("durability", ["os", "disk"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("many", [False, True], ids=["send", "send_many"])
def test_a_failure_at_each_step_leaves_one_copy(
    log_path: Path, fs: FaultyFileSystem, code: int, durability: str, many: bool
) -> None:
    """Each open and each write of an append that also rolls is failed in turn: one copy of everything, in order.

    A sync fails only where that means that nothing has reached the device: after a real failure nothing is tried again.
    """
    with eventlog.EventLog(log_path, filesystem=fs) as log:
        partition = log.create_topic("t", segment_bytes=1024, index_interval_bytes=64).partitions[0]
        expected: list[bytes | None] = []
        with log.producer(linger_ms=NEVER_LINGERED, durability=durability, **NOW) as producer:

            def send() -> None:
                values = [b"%d-" % len(expected) + b"x" * 400, b"%d" % len(expected)]
                if many:
                    assert producer.send_many("t", values).exception() is None
                else:
                    deliveries = [producer.send("t", value) for value in values]
                    assert [one.result().offset for one in deliveries] == [len(expected), len(expected) + 1]
                expected.extend(values)

            send()
            step = 0
            while True:
                fs.calls.clear()
                left = [step]

                def fault(call: str, path: str, left: list[int] = left) -> None:
                    if call == "sync" or (call == "open" and code != errno.EMFILE and os.path.exists(path)):
                        return
                    left[0] -= 1
                    if left[0] == -1:
                        raise OSError(code, os.strerror(code), path)

                fs.fault = fault
                send()
                send()
                send()
                if left[0] >= 0:
                    break
                step += 1
            assert step > 5  # so many files are opened, and written to
        fs.fault = lambda call, path: None
        assert values_of(log) == expected
        batches = partition.read(0, 1 << 30)
        assert [batch.base_sequence for batch in batches] == [batch.base_offset for batch in batches]
        assert partition.verify().ok


def test_what_was_written_and_could_not_be_synced_yet_is_not_written_again(
    faulty: eventlog.EventLog, fs: FaultyFileSystem
) -> None:
    """Too many open files when the records are published, and only the sync is to come: tried again, it is done."""
    producer = faulty.producer(linger_ms=NEVER_LINGERED, durability="disk", **NOW)
    partition = faulty.topic("t").partitions[0]
    partition.append([b"x"])
    fs.fail(errno.EMFILE, times=2, call="open", end=SEGMENT)
    metadata = producer.send("t", b"v").result()
    assert (metadata.offset, metadata.durable) == (1, True)
    assert partition.durable_end_offset == 2
    assert values_of(faulty) == [b"x", b"v"]
    producer.close()


def test_nothing_overtakes_what_is_tried_again(faulty: eventlog.EventLog, fs: FaultyFileSystem) -> None:
    """While a batch waits to be tried again, later sends and lists wait behind it."""
    producer = faulty.producer(linger_ms=1, **NOW)
    fault = fs.fail(errno.ENOSPC)
    first = producer.send("t", b"first")
    assert fault.met.wait(30)
    later = [producer.send("t", b"%d" % number) for number in range(5)]
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(producer.send_many("t", [b"many"])))
    thread.start()
    assert not first.done() and values_of(faulty) == []
    fault.left = 0
    thread.join(30)
    assert [one.result(30).offset for one in (first, *later)] == [0, 1, 2, 3, 4, 5]
    assert done[0].result().offset == 6
    producer.close()
    assert values_of(faulty) == [b"first", *[b"%d" % number for number in range(5)], b"many"]


@pytest.mark.parametrize("way", ["linger", "flush"])
def test_another_partition_goes_on(bad_and_good: eventlog.EventLog, fs: FaultyFileSystem, way: str) -> None:
    """A partition that fails keeps no other one waiting, neither in the background nor in a flush."""
    lingers = 1 if way == "linger" else NEVER_LINGERED
    with bad_and_good.producer(linger_ms=lingers, retry_backoff_ms=1) as producer:
        for name in ("bad", "good"):
            producer.send(name, b"opens it").result()
        fault = fs.fail(errno.EIO, end=f"bad/0/{SEGMENT}")
        bad = producer.send("bad", b"v")
        assert way == "flush" or fault.met.wait(30)
        written = threading.Event()
        producer.send("good", b"v").add_callback(lambda metadata, error: written.set())
        flushing = threading.Thread(target=producer.flush)
        if way == "flush":
            flushing.start()
        assert written.wait(30) and not bad.done()
        with pytest.raises(eventlog.DeliveryTimeoutError, match="tried again, since: Input/output error") as caught:
            producer.flush(0.05)
        assert isinstance(caught.value.__cause__, eventlog.StorageError)
        fault.left = 0
        assert bad.result(30).offset == 1
        if way == "flush":
            flushing.join(30)
            assert not flushing.is_alive()


def test_what_was_asked_for_early_is_tried_again_in_the_background(
    faulty: eventlog.EventLog, fs: FaultyFileSystem
) -> None:
    """A record that has failed no longer waits for its batch to fill, although nobody waits for it any more."""
    with faulty.producer(linger_ms=NEVER_LINGERED, retry_backoff_ms=1) as producer:
        producer.send("t", b"before").result()
        fault = fs.fail(errno.ENOSPC)
        delivery = producer.send("t", b"v")
        told = threading.Event()
        delivery.add_callback(lambda metadata, error: told.set())
        with pytest.raises(eventlog.DeliveryTimeoutError):
            delivery.result(0)
        fault.met.clear()
        assert fault.met.wait(30)
        fault.left = 0
        assert told.wait(30)
        assert delivery.result(0).offset == 1


def test_an_asyncio_producer_keeps_nobody_waiting_for_another_partition(
    bad_and_good: eventlog.EventLog, fs: FaultyFileSystem
) -> None:
    """While one partition is tried again, the loop's other sends are written; then that one is, too."""

    async def main(log: eventlog.EventLog) -> None:
        async with log.async_producer(retry_backoff_ms=1) as producer:
            for name in ("bad", "good"):
                await producer.send(name, b"opens it")
            fault = fs.fail(errno.EIO, end=f"bad/0/{SEGMENT}")
            bad = asyncio.ensure_future(producer.send("bad", b"v"))
            for number in range(5):
                assert (await producer.send("good", b"v")).offset == 1 + number
            assert not bad.done()
            fault.left = 0
            assert (await bad).offset == 1

    asyncio.run(asyncio.wait_for(main(bad_and_good), 30))


def test_threads_and_failures_at_random(log_path: Path, fs: FaultyFileSystem) -> None:
    """Every third write fails while threads send, flush and send lists: each record once, in its thread's order."""
    seed = 20260417
    print(f"seed {seed}")
    chance = random.Random(seed)

    def fault(call: str, path: str) -> None:
        if call == "write" and chance.random() < 0.3:
            code = chance.choice([errno.ENOSPC, errno.EIO])
            raise OSError(code, os.strerror(code), path)

    with eventlog.EventLog(log_path, filesystem=fs) as log:
        partition = log.create_topic("t", segment_bytes=4096, index_interval_bytes=256).partitions[0]
        partition.append([b"0:-1"])
        fs.fault = fault
        with log.producer(batch_size=300, linger_ms=1, **NOW) as producer:

            def work(number: int) -> None:
                for place in range(120):
                    value = b"%d:%d" % (number, place)
                    if place % 5 == 0:
                        assert producer.send_many("t", [value]).exception() is None
                    else:
                        producer.send("t", value)
                    if place % 17 == 0:
                        producer.flush()

            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        fs.fault = lambda call, path: None
        found = [tuple(map(int, value.split(b":"))) for value in values_of(log) if value is not None]
        for number in range(4):
            places = [place for writer, place in found[1:] if writer == number]
            assert places == list(range(120))
        assert partition.verify().ok


def test_waiting_does_not_busy_the_processor(faulty: eventlog.EventLog, fs: FaultyFileSystem) -> None:
    """What fails is tried once in retry_backoff_ms, however many wait for it and send more."""
    producer = faulty.producer(linger_ms=1, retry_backoff_ms=100_000)
    fault = fs.fail(errno.ENOSPC)
    delivery = producer.send("t", b"v")
    assert fault.met.wait(30)
    tried = fault.left
    for _ in range(2000):
        producer.send("t", b"more")
    for wait in (producer.flush, delivery.result):
        with pytest.raises(eventlog.DeliveryTimeoutError):
            wait(0.01)
    assert fault.left == tried
    producer._linger.stop()  # it may hold the buffer just now
    with pytest.raises(eventlog.DeliveryTimeoutError):
        producer.close(0)
    assert fault.left == tried - 1  # the last chance
    fault.left = 0


# --- what fails for good ---


@pytest.mark.parametrize("way", ["send", "send_many"])
@pytest.mark.parametrize(
    ("options", "tries"), [(GIVES_UP, None), ({"retries": 0}, 1), ({"retries": 3, **NOW}, 4)],
    ids=["delivery_timeout_ms", "retries=0", "retries=3"],
)  # fmt: skip
def test_after_the_last_try_the_error_is_told(
    log_path: Path, fs: FaultyFileSystem, caplog: pytest.LogCaptureFixture, way: str, options: Any, tries: int | None
) -> None:
    """The last error becomes the delivery's, the log says so, nothing is there; what comes later is written."""
    caplog.set_level(logging.WARNING, logger="eventlog")
    clock = eventlog.ManualClock(1_700_000_000)  # no time passes until the first failure: it is tried at least twice
    with eventlog.EventLog(log_path, filesystem=fs, clock=clock) as log:
        log.create_topic("t")
        with log.producer(linger_ms=NEVER_LINGERED, **options) as producer:
            producer.send("t", b"before").result()
            fault = fs.fail(errno.ENOSPC)
            before = fault.left
            delivery = producer.send("t", b"lost") if way == "send" else producer.send_many("t", [b"lost"])
            with pytest.raises(eventlog.LogFullError):
                delivery.result()
            assert tries is None or before - fault.left == tries
            fault.left = 0
            assert producer.send("t", b"after").result().offset == 1
        assert values_of(log) == [b"before", b"after"]
    # Whoever wrote the batch logs it, behind its outcome; by now the background thread has ended.
    assert "1 records for t-0 were not written: no space left" in caplog.text
    assert ("will be tried again" in caplog.text) == (options.get("retries") != 0)


def test_after_a_failure_a_new_epoch_begins(faulty: eventlog.EventLog, fs: FaultyFileSystem) -> None:
    """What follows records that were given up begins a new epoch at sequence 0: whatever became of them (KIP-360)."""
    with faulty.producer(linger_ms=NEVER_LINGERED, **GIVES_UP) as producer:
        for number in range(3):
            producer.send_many("t", [b"%d" % number] * 2)
            fault = fs.fail(errno.EIO)
            assert isinstance(producer.send("t", b"lost").exception(), eventlog.StorageError)
            fault.left = 0
        producer.send_many("t", [b"3"])
        producer.send_many("t", [b"4"])
    assert stamps_of(faulty) == [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1)]


def test_after_the_last_epoch_comes_another_id(faulty: eventlog.EventLog, fs: FaultyFileSystem) -> None:
    """Epochs have 15 bits; a producer that has used them up goes on under a new id."""
    with faulty.producer(linger_ms=NEVER_LINGERED, retries=1, **NOW) as producer:
        producer.send_many("t", [b"a"])
        (buffer,) = producer._pool.all()
        buffer._stamp = ProducerStamp(buffer._stamp.producer_id, LAST_EPOCH, 0)
        producer.send_many("t", [b"b"])
        fault = fs.fail(errno.EIO)
        assert producer.send_many("t", [b"lost"]).exception() is not None
        fault.left = 0
        producer.send_many("t", [b"c"])
    assert stamps_of(faulty) == [(0, 0), (LAST_EPOCH, 0), (0, 0)]
    ids = [batch.producer_id for batch in faulty.topic("t").partitions[0].read(0)]
    assert ids[0] == ids[1] != ids[2]


def test_a_failed_sync_is_final(log_path: Path, fs: FaultyFileSystem) -> None:
    """After a device failed to sync nobody knows what it holds: the error is told at once, and nothing is repeated."""
    log = eventlog.EventLog(log_path, filesystem=fs)
    log.create_topic("t")
    with log.producer(linger_ms=NEVER_LINGERED, durability="disk") as producer:
        fault = fs.fail(errno.EIO, call="sync")
        with pytest.raises(eventlog.StorageError, match="failed to sync"):
            producer.send("t", b"v").result()
        assert fault.left == (1 << 60) - 1
        with pytest.raises(eventlog.StorageError, match="refuses writes"):
            producer.send("t", b"w").result()
    with pytest.raises(eventlog.StorageError):
        log.close()


def test_without_idempotence_what_was_written_is_not_tried_again(
    faulty: eventlog.EventLog, fs: FaultyFileSystem
) -> None:
    """Without a sequence nothing could tell the second copy: records that are published fail with the error."""
    with faulty.producer(linger_ms=NEVER_LINGERED, durability="disk", enable_idempotence=False, **NOW) as producer:
        faulty.topic("t").partitions[0].append([b"x"])
        fs.fail(errno.EMFILE, times=1, call="open", end=SEGMENT)
        assert isinstance(producer.send("t", b"v").exception(), eventlog.StorageError)
        assert values_of(faulty) == [b"x", b"v"]
        fs.fail(errno.ENOSPC, times=3)
        assert producer.send("t", b"w").result().offset == 2


def test_a_record_that_is_too_large_is_refused_alone(faulty: eventlog.EventLog) -> None:
    """What can never succeed is not taken, whatever the codec; the others are written, and the sequence has no gap."""
    faulty.create_topic("small", max_message_bytes=1000)
    with faulty.producer(linger_ms=NEVER_LINGERED, compression_type="gzip") as producer:
        deliveries = [producer.send("small", b"a"), producer.send("small", b"b" * 2000)]
        with pytest.raises(eventlog.RecordTooLargeError):
            producer.send("small", os.urandom(980))
        deliveries.append(producer.send("small", b"c"))
        producer.flush()
        assert [delivery.result().offset for delivery in deliveries] == [0, 1, 2]
    batches = faulty.topic("small").partitions[0].read(0)
    assert [batch.base_sequence for batch in batches] == [batch.base_offset for batch in batches]


def test_a_deleted_topic_is_final(faulty: eventlog.EventLog, fs: FaultyFileSystem) -> None:
    """Records that are tried again when their topic is deleted fail with UnknownTopicError."""
    with faulty.producer(linger_ms=1, retry_backoff_ms=1) as producer:
        fault = fs.fail(errno.ENOSPC)
        delivery = producer.send("t", b"v")
        assert fault.met.wait(30)
        faulty.delete_topic("t")
        assert isinstance(delivery.exception(30), eventlog.UnknownTopicError)


def test_close_is_bounded_by_the_delivery_timeout(faulty: eventlog.EventLog, fs: FaultyFileSystem) -> None:
    """A producer that is closed tries until the records' time is over; then they have failed, and it is closed."""
    producer = faulty.producer(linger_ms=NEVER_LINGERED, **GIVES_UP)
    delivery = producer.send("t", b"v")
    fs.fail(errno.ENOSPC)
    producer.close()
    assert isinstance(delivery.exception(0), eventlog.LogFullError)


def test_memory_is_bounded_while_nothing_can_be_written(faulty: eventlog.EventLog, fs: FaultyFileSystem) -> None:
    """A full disk fills buffer_memory; then a send raises BufferExhaustedError after max_block_ms."""
    producer = faulty.producer(linger_ms=1, buffer_memory=20_000, max_block_ms=20, retry_backoff_ms=1)
    fault = fs.fail(errno.ENOSPC)
    sent = []
    with pytest.raises(eventlog.BufferExhaustedError):
        for _ in range(1000):
            sent.append(producer.send("t", b"x" * 1000))
    fault.left = 0
    producer.close()
    assert [one.result().offset for one in sent] == list(range(len(sent)))
    assert len(values_of(faulty)) == len(sent) < 25


# --- interrupts ---


def test_an_interrupted_send_many_is_written_once_or_never(faulty: eventlog.EventLog, fs: FaultyFileSystem) -> None:
    """Ctrl-C while a list is tried again: it is not written, then or later; what comes next is."""
    with faulty.producer(linger_ms=1, retry_backoff_ms=1) as producer:
        producer.send("t", b"before").result()
        tries = [0]

        def fault(call: str, path: str) -> None:
            if call == "write" and path.endswith(".log"):
                tries[0] += 1
                if tries[0] == 3:
                    raise KeyboardInterrupt
                raise OSError(errno.ENOSPC, "full", path)

        fs.fault = fault
        with pytest.raises(KeyboardInterrupt) as caught:
            producer.send_many("t", [b"a", b"b"])
        assert any("were not written" in note for note in caught.value.__notes__)
        fs.fault = lambda call, path: None
        assert producer.send_many("t", [b"c"]).result().offset == 1
    assert values_of(faulty) == [b"before", b"c"]


# --- what stays in memory ---


def test_partitions_forget_producers_that_were_closed(log: eventlog.EventLog) -> None:
    """A program that makes a producer for each piece of work does not grow with it."""
    log.create_topic("t")
    for _ in range(20):
        with log.producer() as producer:
            producer.send("t", b"v")
            producer.send_many("t", [b"v"])
    assert len(log.topic("t").partitions[0].log.writer._sequences._table.states) <= 1


# --- settings ---


def test_defaults() -> None:
    """Kafka's defaults: idempotent, with as many retries as fit into two minutes."""
    config = eventlog.ProducerConfig()
    assert (config.enable_idempotence, config.retries) == (True, 2147483647)
    assert (config.retry_backoff_ms, config.delivery_timeout_ms) == (100, 120_000)
    for options in ({"acks": 1}, {"acks": 0}, {"retries": 0}):
        assert not configure(eventlog.ProducerConfig, options).enable_idempotence
    assert configure(eventlog.ProducerConfig, {"acks": -1}).enable_idempotence


@pytest.mark.parametrize("options", [{"acks": 1}, {"acks": 0}, {"retries": 0}])
def test_settings_that_contradict(options: dict[str, Any]) -> None:
    """Who asks for idempotence by name and gives it no acknowledgement or no retry is told so, as in Kafka."""
    with pytest.raises(eventlog.InvalidConfigError, match="enable_idempotence=True is not possible; give "):
        configure(eventlog.ProducerConfig, {"enable_idempotence": True, **options})


def test_the_time_counts_from_the_send(log_path: Path, fs: FaultyFileSystem) -> None:
    """A record that has waited in its buffer for longer than delivery_timeout_ms is tried once, and not again."""
    clock = eventlog.ManualClock(1_700_000_000)
    with eventlog.EventLog(log_path, filesystem=fs, clock=clock) as log:
        log.create_topic("t")
        with log.producer(linger_ms=NEVER_LINGERED, **NOW) as producer:
            producer.send("t", b"opens it").result()
            old = producer.send("t", b"old")
            clock.advance(121)
            fault = fs.fail(errno.ENOSPC)
            assert isinstance(old.exception(), eventlog.LogFullError)
            assert fault.left == (1 << 60) - 1
            fault.left = 0


@pytest.mark.parametrize("power", [16, 17, 18])
def test_a_record_whose_time_is_over_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, power: int) -> None:
    """However the machine's uptime rounds: a little below a power of two, (uptime + 120) - 120 may be more than it."""
    uptime = 2.0**power - 60 + 3 * 2.0 ** (power - 53)
    assert (uptime + 120) - 120 > uptime
    monkeypatch.setattr("time.monotonic", lambda: uptime)
    attempt = Attempt([], [], None, sent=1_700_000_000)
    policy = RetryPolicy(retries=1 << 31, backoff=0, delivery_timeout=120, now=lambda: 1_700_000_121)
    assert not attempt.postpone(eventlog.LogFullError("no space left"), policy)
    assert attempt.seconds_left() == 0
