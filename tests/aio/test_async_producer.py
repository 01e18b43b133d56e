"""The producer for asyncio: acknowledgements, order, backpressure, cancelling, and its end."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog

RunPython = Callable[..., Any]


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 60))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Whatever a test does, it leaves no thread behind."""
    yield
    gc.collect()
    for thread in threading.enumerate():
        if "eventlog" in thread.name:
            thread.join(10)
    assert [thread.name for thread in threading.enumerate() if "eventlog" in thread.name] == []


def values(log: eventlog.EventLog, topic: str = "t", partition: int = 0) -> list[bytes | None]:
    """All values of a partition."""
    with log.consumer(auto_offset_reset="earliest", max_poll_records=100_000) as consumer:
        consumer.assign([eventlog.TopicPartition(topic, partition)])
        found: list[bytes | None] = []
        while records := consumer.poll():
            found += [record.value for record in records]
        return found


# --- sending ---


def test_a_send_returns_the_metadata(log: eventlog.EventLog) -> None:
    """An awaited send returns partition, offset and timestamp of the record, which is readable by then."""
    log.create_topic("t", partitions=2)

    async def main() -> None:
        async with log.async_producer(linger_ms=60_000) as producer:
            first = await producer.send("t", b"a", b"k", headers=[("h", b"1")], partition=1, timestamp_ms=42)
            assert first == eventlog.RecordMetadata("t", 1, 0, 42, False)
            assert values(log, partition=1) == [b"a"]
            assert (await producer.send("t", None, partition=1)).offset == 1
            assert "AsyncProducer" in repr(producer)

    run(main())


def test_sends_at_once_share_batches_in_order(log: eventlog.EventLog) -> None:
    """Tasks that send at once are written in the order of their calls, in few batches, without lingering."""
    log.create_topic("t")

    async def main() -> None:
        async with log.async_producer(linger_ms=60_000) as producer:
            sent = await asyncio.gather(*(producer.send("t", b"%d" % n) for n in range(500)))
            assert [metadata.offset for metadata in sent] == list(range(500))

    run(main())
    assert values(log) == [b"%d" % n for n in range(500)]
    with log.consumer("t", auto_offset_reset="earliest") as consumer:
        assert len(consumer.poll_batches()) < 100


def test_sends_that_are_not_awaited_linger(log: eventlog.EventLog) -> None:
    """``send_nowait`` returns a future, done when the batch is written: by flush here."""
    log.create_topic("t")

    async def main() -> None:
        async with log.async_producer(linger_ms=60_000) as producer:
            futures = [producer.send_nowait("t", b"%d" % n) for n in range(100)]
            await producer.send_many("t", [b"x", b"y"])
            assert [future.result().offset for future in futures] == list(range(100))
            futures = [producer.send_nowait("t", b"z") for n in range(10)]
            assert not any(future.done() for future in futures)
            await producer.flush()
            assert all(future.done() for future in futures)
            await producer.flush()
            last = producer.send_nowait("t", b"last")
        assert last.done()
        assert last.result().offset == 112

    run(main())
    assert values(log)[-1] == b"last"


@pytest.mark.parametrize("seed", range(4))
def test_order_is_kept_among_all_ways_of_sending(log: eventlog.EventLog, seed: int) -> None:
    """Records of one task are written in the order of its calls, and each outcome is that of its record."""
    log.create_topic("t")
    choose = random.Random(seed)

    async def main() -> list[bytes]:
        sent: list[bytes] = []
        futures: list[tuple[int, asyncio.Future[eventlog.RecordMetadata]]] = []
        config = {"linger_ms": choose.choice([0, 1, 5]), "batch_size": choose.choice([0, 64, 65536])}
        async with log.async_producer(**config) as producer:
            for n in range(300):
                place, value = len(sent), b"%d" % n
                sent.append(value)
                match choose.randrange(8):
                    case 0:
                        assert (await producer.send("t", value)).offset == place
                    case 1:
                        sent.append(b"more")
                        assert (await producer.send_many("t", [value, b"more"])).result().offset == place + 1
                    case 2:
                        futures.append((place, producer.send_nowait("t", value, b"key")))
                        await asyncio.sleep(0)
                    case _:
                        futures.append((place, producer.send_nowait("t", value)))
        assert [future.result().offset for _, future in futures] == [place for place, _ in futures]
        return sent

    assert run(main()) == values(log)


def test_serializers_are_applied_at_once(log: eventlog.EventLog) -> None:
    """A value is serialized by the call: changing it afterwards does not reach the record; also in lists."""
    log.create_topic("t")

    async def main() -> None:
        async with log.async_producer(value_serializer="json", key_serializer="str") as producer:
            value = {"n": 1}
            future = producer.send_nowait("t", value, "k")
            value["n"] = 2
            await producer.send_many("t", [{"n": 3}], ["k"])
            with pytest.raises(eventlog.SerializationError):
                producer.send_nowait("t", object())
            with pytest.raises(eventlog.SerializationError):
                await producer.send("t", object())
            assert (await future).offset == 0

    run(main())
    assert values(log) == [b'{"n":1}', b'{"n":3}']


def test_errors_reach_who_awaits(log: eventlog.EventLog) -> None:
    """What goes wrong is raised by the await, and the producer goes on."""
    log.create_topic("t", max_message_bytes=1000)
    with pytest.raises(eventlog.InvalidConfigError):
        log.async_producer(no_such_setting=1)

    async def main() -> None:
        async with log.async_producer() as producer:
            with pytest.raises(eventlog.UnknownTopicError):
                await producer.send("u", b"")
            with pytest.raises(eventlog.UnknownPartitionError):
                await producer.send("t", b"", partition=1)
            with pytest.raises(eventlog.RecordTooLargeError):
                await producer.send("t", b"x" * 2000)
            with pytest.raises(eventlog.InvalidRecordError):
                await producer.send_many("t", [b"x"], [b"k", b"l"])
            with pytest.raises(eventlog.RecordTooLargeError):
                await producer.send_nowait("t", b"x" * 2000)
            with pytest.raises(eventlog.InvalidRecordError):
                producer.send_nowait("t", b"", headers=3)  # type: ignore[arg-type]
            assert (await producer.send("t", b"good")).offset == 0
        for late in (producer.send("t", b""), producer.flush(), producer.send_many("t", [b""])):
            with pytest.raises(eventlog.ClosedError):
                await late
        with pytest.raises(eventlog.ClosedError):
            producer.send_nowait("t", b"")
        await producer.close()

    run(main())


# --- the loop goes on ---


class Gate:
    """A partitioner that holds up the thread that sends until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, topic: str, key: bytes | None, value: bytes | None, partitions: int) -> int:
        self.reached.set()
        assert self.opened.wait(30)
        return 0

    async def until_reached(self) -> None:
        while not self.reached.is_set():
            await asyncio.sleep(0)


def test_the_loop_goes_on_while_a_send_waits(log: eventlog.EventLog) -> None:
    """While the thread that sends is held up, the loop runs, and further sends are accepted."""
    log.create_topic("t")
    gate = Gate()

    async def main() -> None:
        async with log.async_producer(partitioner=gate) as producer:
            send = asyncio.create_task(producer.send("t", b"a"))
            await gate.until_reached()
            futures = [producer.send_nowait("t", b"b") for _ in range(10)]
            await asyncio.sleep(0)
            assert not send.done()
            gate.opened.set()  # a blocked loop would never come here
            assert (await send).offset == 0
            assert [(await future).offset for future in futures] == list(range(1, 11))

    run(main())


def test_a_full_buffer_holds_up_tasks_not_the_loop(log: eventlog.EventLog) -> None:
    """When ``buffer_memory`` is full, ``send`` waits in turn and ``send_nowait`` raises; both go on as it empties."""
    log.create_topic("t")
    gate = Gate()

    async def main() -> None:
        async with log.async_producer(partitioner=gate, buffer_memory=3000, linger_ms=60_000) as producer:
            accepted = [producer.send_nowait("t", b"x" * 400) for _ in range(3)]
            with pytest.raises(eventlog.BufferExhaustedError):
                producer.send_nowait("t", b"x" * 400)
            waiting = [asyncio.create_task(producer.send("t", b"%d" % n)) for n in range(20)]
            cancelled = asyncio.create_task(producer.send("t", b"never"))
            await gate.until_reached()
            assert not any(task.done() for task in waiting)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            gate.opened.set()
            assert [(await task).offset for task in waiting] == list(range(3, 23))
            assert [future.result().offset for future in accepted] == [0, 1, 2]
            assert (await producer.send_nowait("t", b"y" * 5000)).offset == 23  # alone, it may be larger

    run(main())
    assert values(log)[3:23] == [b"%d" % n for n in range(20)]


def test_waiting_for_room_has_an_end(log: eventlog.EventLog) -> None:
    """After ``max_block_ms`` a send raises BufferExhaustedError; closing meanwhile raises ClosedError."""
    log.create_topic("t")
    gate = Gate()

    async def main() -> None:
        producer = log.async_producer(partitioner=gate, buffer_memory=1000, max_block_ms=10)
        first = producer.send_nowait("t", b"x" * 400)
        with pytest.raises(eventlog.BufferExhaustedError):
            await producer.send("t", b"x" * 400)
        gate.opened.set()
        assert (await first).offset == 0
        assert (await producer.send("t", b"x" * 400)).offset == 1
        await producer.close()

    run(main())


def test_closing_refuses_who_waits_for_room(log: eventlog.EventLog) -> None:
    """A send that waits for room when the producer is closed raises ClosedError; what was accepted is written."""
    log.create_topic("t")
    gate = Gate()

    async def main() -> None:
        producer = log.async_producer(partitioner=gate, buffer_memory=1000)
        first = producer.send_nowait("t", b"x" * 400)
        waiting = asyncio.create_task(producer.send("t", b"x" * 400))
        await gate.until_reached()
        close = asyncio.create_task(producer.close())
        with pytest.raises(eventlog.ClosedError):
            await waiting
        assert not close.done()
        gate.opened.set()
        await close
        assert first.result().offset == 0

    run(main())


# --- cancelling ---


@pytest.mark.parametrize("seed", range(6))
def test_cancelling_sends(log: eventlog.EventLog, seed: int) -> None:
    """A send that is cancelled is written or not, at most once; those that are not cancelled are all written."""
    log.create_topic("t")
    choose = random.Random(seed)

    async def main() -> list[bytes]:
        kept: list[bytes] = []
        async with log.async_producer(buffer_memory=20_000, linger_ms=choose.choice([0, 5])) as producer:
            for round_ in range(30):
                tasks = [asyncio.create_task(producer.send("t", b"%d-%d" % (round_, n))) for n in range(30)]
                for _ in range(choose.randrange(8)):
                    await asyncio.sleep(0)
                for task in tasks:
                    if choose.randrange(2):
                        task.cancel()
                await asyncio.wait(tasks)
                kept += [b"%d-%d" % (round_, n) for n, task in enumerate(tasks) if not task.cancelled()]
        assert producer.thread._used == 0
        return kept

    kept = run(main())
    found = values(log)
    assert len(set(found)) == len(found)
    assert [value for value in found if value in set(kept)] == kept


def test_cancelled_flush_and_close(log: eventlog.EventLog) -> None:
    """Cancelling ``flush`` or ``close`` ends the wait, not the writing."""
    log.create_topic("t")
    gate = Gate()

    async def main() -> None:
        producer = log.async_producer(partitioner=gate, linger_ms=60_000)
        future = producer.send_nowait("t", b"a")
        for call in (producer.flush, producer.close):
            task = asyncio.create_task(call())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        gate.opened.set()
        await asyncio.gather(producer.close(), producer.close())
        assert future.result().offset == 0

    run(main())


def test_cancelled_inside_its_block_it_writes(log: eventlog.EventLog) -> None:
    """A task that is cancelled inside ``async with`` writes what it sent, and ends its thread."""
    log.create_topic("t")

    async def main() -> None:
        async def sends() -> None:
            async with log.async_producer(linger_ms=60_000) as producer:
                producer.send_nowait("t", b"a")
                sent.set()
                await asyncio.Event().wait()

        sent = asyncio.Event()
        task = asyncio.create_task(sends())
        await sent.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert values(log) == [b"a"]
        assert not [thread for thread in threading.enumerate() if "eventlog-async" in thread.name]

    run(main())


# --- the end ---


def test_closing_the_log_writes_everything(log_path: Path) -> None:
    """``log.close()`` writes what its asynchronous producers have accepted."""
    log = eventlog.open(log_path)
    log.create_topic("t")

    async def main() -> None:
        producer = log.async_producer(linger_ms=60_000)
        futures = [producer.send_nowait("t", b"%d" % n) for n in range(100)]
        log.close()
        assert [(await future).offset for future in futures] == list(range(100))
        with pytest.raises(eventlog.ClosedError):
            await producer.send("t", b"late")
        await producer.close()

    run(main())
    with eventlog.open(log_path) as again:
        assert len(values(again)) == 100


def test_dropped_it_writes_everything(log: eventlog.EventLog) -> None:
    """A producer that is dropped writes what it has accepted, and ends its thread."""
    log.create_topic("t")

    async def main() -> None:
        future = log.async_producer(linger_ms=60_000).send_nowait("t", b"a")
        assert (await future).offset == 0
        log.async_producer(linger_ms=60_000).send_nowait("t", b"b")

    run(main())
    gc.collect()
    for thread in threading.enumerate():
        if "eventlog" in thread.name:
            thread.join(10)
    assert values(log) == [b"a", b"b"]


def test_the_end_of_the_interpreter_writes_everything(log_path: Path, run_python: RunPython) -> None:
    """A program that ends without closing its producer has written what it sent."""
    script = """
import asyncio, eventlog
log = eventlog.open(ARGS[0])
log.create_topic("t")
producer = log.async_producer(linger_ms=60_000)
async def main():
    for n in range(100):
        producer.send_nowait("t", b"%d" % n)
    answer("done")
asyncio.run(main())
"""
    assert run_python(script, log_path) == "done"
    with eventlog.open(log_path) as log:
        assert values(log) == [b"%d" % n for n in range(100)]


def test_it_belongs_to_one_loop(log: eventlog.EventLog) -> None:
    """Another loop gets an error, and the room that its record would have taken stays free."""
    log.create_topic("t")
    producer = log.async_producer()
    assert run(producer.send("t", b"a")).offset == 0
    with pytest.raises(eventlog.IllegalStateError, match="another event loop"):
        run(producer.send("t", b"b"))
    assert producer.thread._used == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_an_error(log: eventlog.EventLog) -> None:
    """A child has no thread to send: ClosedError; its parent's records are written once."""
    log.create_topic("t")

    async def in_child(producer: eventlog.AsyncProducer) -> None:
        with pytest.raises(eventlog.ClosedError):
            await producer.send("t", b"child")
        await producer.close()
        async with log.async_producer() as own:
            await own.send("t", b"own")

    async def main() -> None:
        async with log.async_producer(linger_ms=60_000) as producer:
            await producer.send("t", b"first")
            producer.send_nowait("t", b"parent")
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    asyncio.new_event_loop().run_until_complete(in_child(producer))
                    status = 0
                finally:
                    os._exit(status)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert status == 0

    run(main())
    assert sorted(values(log)) == [b"first", b"own", b"parent"]


def test_a_read_only_log_has_no_producer(log_path: Path) -> None:
    """Asking for a producer of a log that is opened for reading raises ReadOnlyLogError."""
    eventlog.open(log_path).close()
    with eventlog.open(log_path, readonly=True) as log, pytest.raises(eventlog.ReadOnlyLogError):
        log.async_producer()
