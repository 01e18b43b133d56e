"""Transactions of an asynchronous producer."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import TopicPartition
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import FileSystem
from eventlog.partitioners import partition_for_key


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


@pytest.fixture
def topics(log: eventlog.EventLog) -> eventlog.EventLog:
    """A log with two topics."""
    log.create_topic("debits", partitions=2)
    log.create_topic("credits")
    return log


def values(log: eventlog.EventLog, topic: str, partition: int = 0) -> list[bytes | None]:
    """All values of a partition."""
    found: list[bytes | None] = []
    read_from = log.topic(topic).partitions[partition]
    while batches := read_from.read(len(found)):
        for batch in batches:
            found += batch.values()
    return found


def test_a_block_is_one_transaction(topics: eventlog.EventLog) -> None:
    """Nothing is there before the end of the block, and everything behind it; then each outcome is known."""

    async def main() -> None:
        async with topics.async_producer(transactional_id="transfers") as producer:
            async with producer.transaction():
                taken = await producer.send("debits", b"1", b"k", partition=1, timestamp_ms=42)
                assert taken == eventlog.RecordMetadata("debits", 1, -1, 42, False)
                waiting = producer.send_nowait("credits", b"1")
                many = await producer.send_many("credits", [b"2", b"3"])
                await producer.flush()
                assert not waiting.done() and not many.done()
                assert values(topics, "debits", 1) == values(topics, "credits") == []
            assert (await waiting).offset == 0
            assert [metadata.offset for metadata in many.results()] == [1, 2]
        assert (values(topics, "debits", 1), values(topics, "credits")) == ([b"1"], [b"1", b"2", b"3"])

    run(main())


def test_an_error_aborts_the_block(topics: eventlog.EventLog) -> None:
    """Futures fail with TransactionAbortedError, the error goes on, nothing was written, and the next one works."""

    async def main() -> None:
        async with topics.async_producer(transactional_id="transfers") as producer:
            with pytest.raises(ZeroDivisionError):
                async with producer.transaction():
                    waiting = producer.send_nowait("credits", b"never")
                    await producer.send("debits", b"never")
                    raise ZeroDivisionError
            with pytest.raises(eventlog.TransactionAbortedError):
                await waiting
            async with producer.transaction():
                await producer.send("credits", b"1")
        assert (values(topics, "debits"), values(topics, "credits")) == ([], [b"1"])

    run(main())


def test_each_step_can_be_called_by_itself(topics: eventlog.EventLog) -> None:
    """init, begin, commit and abort do as those of the synchronous producer, and refuse what those refuse."""

    async def main() -> None:
        async with topics.async_producer(transactional_id="transfers") as producer:
            with pytest.raises(eventlog.IllegalStateError):
                await producer.begin_transaction()
            await producer.init_transactions()
            with pytest.raises(eventlog.IllegalStateError):
                await producer.send("credits", b"outside")
            with pytest.raises(eventlog.IllegalStateError):
                await producer.send_nowait("credits", b"outside")
            for value in (b"1", b"2"):
                await producer.begin_transaction()
                await producer.send("credits", value)
                await (producer.commit_transaction() if value == b"2" else producer.abort_transaction())
            with pytest.raises(eventlog.IllegalStateError):
                await producer.commit_transaction()
        assert values(topics, "credits") == [b"2"]

    run(main())


def test_without_an_id_there_are_no_transactions(topics: eventlog.EventLog) -> None:
    """The error says which setting is missing, and the producer goes on."""

    async def main() -> None:
        async with topics.async_producer() as producer:
            with pytest.raises(eventlog.IllegalStateError, match="transactional_id"):
                producer.transaction()
            with pytest.raises(eventlog.IllegalStateError, match="transactional_id"):
                await producer.begin_transaction()
            assert (await producer.send("credits", b"1")).offset == 0

    run(main())


def test_many_tasks_send_into_one_transaction(topics: eventlog.EventLog) -> None:
    """What tasks send at once is in it as a whole, each task's records in order."""

    async def send(producer: eventlog.AsyncProducer, task: int) -> None:
        for number in range(20):
            await producer.send("credits", b"%d-%d" % (task, number))

    async def main() -> None:
        async with topics.async_producer(transactional_id="transfers") as producer, producer.transaction():
            await asyncio.gather(*(send(producer, task) for task in range(20)))
            assert values(topics, "credits") == []

    run(main())
    found = [tuple(map(int, value.split(b"-"))) for value in values(topics, "credits") if value is not None]
    assert sorted(found) == [(task, number) for task in range(20) for number in range(20)]
    assert all([n for t, n in found if t == task] == list(range(20)) for task in range(20))


def test_who_awaits_a_send_is_told_the_partition(topics: eventlog.EventLog) -> None:
    """The partition is known at once, by the key as well, also to a topic that is known; the offset is not."""
    topics.create_topic("spread", partitions=5)

    async def main() -> list[eventlog.RecordMetadata]:
        async with topics.async_producer(transactional_id="transfers") as producer, producer.transaction():
            return [await producer.send("spread", b"value", key=b"k%d" % number) for number in range(20)]

    told = run(main())
    assert {one.offset for one in told} == {-1}
    assert [one.partition for one in told] == [partition_for_key(b"k%d" % number, 5) for number in range(20)]


def test_a_group_reads_and_writes_exactly_once(topics: eventlog.EventLog) -> None:
    """Offsets are committed with what was made of the records, or not at all."""
    topics.topic("debits").partitions[0].append([b"1", b"2", b"3"])
    debits = TopicPartition("debits", 0)

    async def main() -> None:
        settings: dict[str, Any] = {"group": "g", "auto_offset_reset": "earliest", "enable_auto_commit": False}
        async with (
            topics.async_producer(transactional_id="transfers") as producer,
            topics.async_consumer("debits", **settings) as consumer,
        ):
            records = await consumer.poll(timeout=5.0)
            for commits in (False, True):
                try:
                    async with producer.transaction():
                        for record in records:
                            await producer.send("credits", record.value)
                        group = await consumer.group_metadata()
                        await producer.send_offsets_to_transaction({debits: records[-1].offset + 1}, group)
                        if not commits:
                            raise ZeroDivisionError
                except ZeroDivisionError:
                    assert await consumer.committed(debits) is None
            committed = await consumer.committed(debits)
            assert committed is not None and committed.offset == 3
        assert values(topics, "credits") == [b"1", b"2", b"3"]

    run(main())


def test_a_fenced_producer_learns_it(topics: eventlog.EventLog) -> None:
    """A second producer of the same id ends the first one's transaction: it raises ProducerFencedError."""

    async def main() -> None:
        async with topics.async_producer(transactional_id="transfers") as first:
            with pytest.raises(eventlog.ProducerFencedError):
                async with first.transaction():
                    waiting = first.send_nowait("credits", b"never")
                    await first.send("credits", b"never")
                    async with (
                        topics.async_producer(transactional_id="transfers") as second,
                        second.transaction(),
                    ):
                        await second.send("credits", b"1")
            with pytest.raises(eventlog.ProducerFencedError):
                await waiting
        assert values(topics, "credits") == [b"1"]

    run(main())


def test_a_large_transaction_needs_no_room_twice(topics: eventlog.EventLog) -> None:
    """Records that were taken count against the transaction's limit alone; beyond it each send raises at once."""

    async def main() -> None:
        async with topics.async_producer(transactional_id="transfers", buffer_memory=200_000) as producer:
            with pytest.raises(eventlog.BufferExhaustedError, match="Commit more often"):
                async with producer.transaction():
                    for _ in range(1_000):
                        await producer.send("credits", b"x" * 1_000)
            async with producer.transaction():
                waiting = [producer.send_nowait("credits", b"x" * 500) for _ in range(150)]
                await producer.flush()
                waiting += [producer.send_nowait("credits", b"x" * 500) for _ in range(150)]
            assert [metadata.offset for metadata in await asyncio.gather(*waiting)] == list(range(300))

    run(main())


def test_closing_aborts_an_open_transaction(topics: eventlog.EventLog) -> None:
    """What was not committed is not written, and its futures say so."""

    async def main() -> None:
        producer = topics.async_producer(transactional_id="transfers")
        await producer.init_transactions()
        await producer.begin_transaction()
        waiting = producer.send_nowait("credits", b"never")
        await producer.send("credits", b"never")
        await producer.close()
        with pytest.raises(eventlog.TransactionAbortedError):
            await waiting
        with pytest.raises(eventlog.ClosedError):
            await producer.begin_transaction()
        assert values(topics, "credits") == []

    run(main())


# --- cancelling ---


def test_a_block_that_is_cancelled_is_aborted(topics: eventlog.EventLog) -> None:
    """Cancelled while it waits for something else, it leaves nothing, and the next transaction can begin."""

    async def main() -> None:
        async with topics.async_producer(transactional_id="transfers") as producer:
            sent = asyncio.Event()

            async def work() -> None:
                async with producer.transaction():
                    await producer.send("credits", b"never")
                    sent.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(work())
            await sent.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with producer.transaction():
                await producer.send("credits", b"1")
        assert values(topics, "credits") == [b"1"]

    run(main())


def test_a_commit_that_is_cancelled_is_made_all_the_same(topics: eventlog.EventLog, log_path: Path) -> None:
    """While the commit waits for another process the loop goes on; cancelled, it is committed when that lets go."""
    partition = log_path / "topics" / "credits" / "0"
    topics.topic("credits").partitions[0].append([b"0"])
    lock = FileLock(FileSystem(), str(partition / "lock"))

    async def main() -> None:
        async with topics.async_producer(transactional_id="transfers") as producer:
            leaving = asyncio.Event()

            async def work() -> None:
                async with producer.transaction():
                    await producer.send("credits", b"1")
                    leaving.set()

            with lock:
                task = asyncio.create_task(work())
                await leaving.wait()
                await asyncio.sleep(0)  # it calls commit
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            async with producer.transaction():
                await producer.send("credits", b"2")
        assert values(topics, "credits") == [b"0", b"1", b"2"]

    run(main())
    lock.close()


@pytest.mark.parametrize("seed", range(5))
def test_cancelled_anywhere_it_is_whole_or_absent(topics: eventlog.EventLog, seed: int) -> None:
    """Tasks are cancelled after a random number of turns of the loop; each transaction is in both topics or in none."""
    rng = random.Random(seed)
    print("seed", seed)

    async def work(producer: eventlog.AsyncProducer, number: int) -> None:
        async with producer.transaction():
            await producer.send("debits", b"%d" % number, partition=0)
            await producer.send("credits", b"%d" % number)

    async def main() -> list[int]:
        finished = []
        async with topics.async_producer(transactional_id="transfers") as producer:
            for number in range(60):
                task = asyncio.create_task(work(producer, number))
                for _ in range(rng.randrange(40)):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    await task
                    finished.append(number)
                except asyncio.CancelledError:
                    pass
            async with producer.transaction():
                await producer.send_many("debits", [b"last"], partition=0)
                await producer.send_many("credits", [b"last"])
        return finished

    finished = run(main())
    assert values(topics, "debits") == values(topics, "credits")
    assert {b"%d" % number for number in finished} | {b"last"} <= set(values(topics, "credits"))
