"""The consumer for asyncio: what it reads, that the loop goes on, and that cancelling loses nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import eventlog
from eventlog import AsyncConsumer, AsyncRebalanceListener, RebalanceListener, TopicPartition
from eventlog.files.filesystem import FileSystem

RunPython = Callable[..., Any]
WAITED_FOR = "the topic t is subscribed to: it does not exist, and is read once it does"
EARLIEST = {"auto_offset_reset": "earliest"}
T0 = TopicPartition("t", 0)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 60))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "eventlog-async" in thread.name]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Whatever a test does, it leaves no thread behind."""
    yield
    gc.collect()
    for thread in threading.enumerate():
        if "eventlog-async" in thread.name:
            thread.join(10)
    assert threads() == []


def fill(log: eventlog.EventLog, count: int = 10, partitions: int = 1, name: str = "t") -> eventlog.Topic:
    """A topic whose partition p holds the values b"p:0", b"p:1", ..."""
    topic = log.create_topic(name, partitions=partitions)
    for partition in topic.partitions:
        if count:
            partition.append([b"%d:%d" % (partition.number, n) for n in range(count)])
    return topic


def append(log: eventlog.EventLog, *values: bytes) -> None:
    log.topic("t").partitions[0].append(list(values))


async def in_poll(consumer: AsyncConsumer) -> None:
    """Return when the consumer's thread is inside a poll."""
    while not consumer._consumer._thread._in_use.locked():
        await asyncio.sleep(0)


@asynccontextmanager
async def polling(consumer: AsyncConsumer) -> AsyncIterator[asyncio.Task[list[eventlog.Record]]]:
    """A task that waits in a poll, for ever."""
    task = asyncio.create_task(consumer.poll(timeout=None))
    await asyncio.sleep(0)
    await in_poll(consumer)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


# --- what is read ---


def test_it_reads_what_a_consumer_reads(log: eventlog.EventLog) -> None:
    """Polls, batches and iteration return the records of a synchronous consumer, in its order."""
    fill(log, 1000)
    with log.consumer("t", **EARLIEST, max_poll_records=1000) as plain:
        expected = plain.poll()

    async def main() -> None:
        async with log.async_consumer("t", **EARLIEST) as consumer:
            assert await consumer.poll(max_records=3) == expected[:3]
            assert await consumer.poll() == expected[3:503]
            assert [await anext(consumer) for _ in range(497)] == expected[503:]
            assert await consumer.poll() == []
            await consumer.seek_to_beginning()
            assert [len(batch) for batch in await consumer.poll_batches()] == [1000]

    run(main())


def test_every_method_answers_as_that_of_a_consumer(log: eventlog.EventLog) -> None:
    """What is asked for and what is set is that of the consumer inside."""
    fill(log, 10, partitions=2)
    t1 = TopicPartition("t", 1)

    async def main() -> None:
        async with log.async_consumer("t", group="g", **EARLIEST) as consumer:
            while len(await consumer.assignment()) < 2:
                await consumer.poll(timeout=1, max_records=1)
            await consumer.seek(T0, 4)
            await consumer.seek_to_beginning(t1)
            assert await consumer.position(T0) == 4
            assert await consumer.lag() == {T0: 6, t1: 10}
            await consumer.pause(T0)
            assert await consumer.paused() == [T0]
            assert {record.partition for record in await consumer.poll()} == {1}
            await consumer.resume(T0)
            await consumer.seek_to_end(T0)
            await consumer.commit()
            assert (await consumer.committed(T0)).offset == 10
            await consumer.commit({t1: 3})
            assert (await consumer.committed(t1)).offset == 3
            assert await consumer.beginning_offsets([T0]) == {T0: 0}
            assert await consumer.end_offsets([T0]) == {T0: 10}
            assert (await consumer.offsets_for_times({T0: 0}))[T0].offset == 0
            assert (await consumer.group_metadata()).group == "g"
            await consumer.unsubscribe()
            await consumer.assign([T0])
            assert await consumer.assignment() == [T0]
            await consumer.unsubscribe()
            await consumer.subscribe(pattern="t.*")
            assert consumer.metrics()["records_consumed_total"] > 0
            with pytest.raises(eventlog.InvalidConfigError):
                await consumer.subscribe(["t"], listener=print)  # type: ignore[arg-type]
            assert "AsyncConsumer" in repr(consumer)

    run(main())


def test_errors_come_out_of_the_await(log: eventlog.EventLog) -> None:
    """An error of the consumer is raised where it is awaited, and the consumer goes on."""
    fill(log)
    with pytest.raises(eventlog.InvalidConfigError):
        log.async_consumer(no_such_setting=1)
    with pytest.raises(eventlog.InvalidTopicError):
        log.async_consumer(["t"])  # type: ignore[arg-type]

    async def main() -> None:
        async with log.async_consumer("t", **EARLIEST) as consumer:
            with pytest.raises(eventlog.OffsetOutOfRangeError):
                await consumer.seek(T0, -1)
            with pytest.raises(eventlog.InvalidConfigError):
                await consumer.poll(timeout="soon")  # type: ignore[arg-type]
            with pytest.raises(eventlog.InvalidConfigError):
                await consumer.poll(max_records=0)
            with pytest.raises(eventlog.IllegalStateError):
                await consumer.commit()
            assert len(await consumer.poll()) == 10
        with pytest.raises(eventlog.ClosedError):
            await consumer.poll()
        await consumer.close()

    run(main())


def test_an_unknown_topic_is_waited_for(log: eventlog.EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """Making a consumer reads no file; entering it, or the first call, warns of a topic that is not there yet."""

    async def main() -> None:
        async with log.async_consumer("t", **EARLIEST) as consumer:
            assert await consumer.subscription() == ["t"]
            assert await consumer.poll() == []
            assert [record.getMessage() for record in caplog.records] == [WAITED_FOR]
        assert threads() == []
        consumer = log.async_consumer("t", **EARLIEST)
        assert threads() == []
        waiting = asyncio.create_task(consumer.poll(timeout=60))
        await consumer.assignment()
        fill(log)
        assert len(await waiting) == 10
        await consumer.close()

    run(main())


# --- the loop goes on ---


def test_the_loop_goes_on_while_a_poll_waits(log: eventlog.EventLog) -> None:
    """A poll that waits for ever is ended by a record that another task of the same loop sends: it did not block."""
    fill(log, 0)

    async def main() -> None:
        async with log.async_consumer("t", **EARLIEST) as consumer, polling(consumer) as poll:
            assert not poll.done()
            append(log, b"late")
            assert [record.value for record in await poll] == [b"late"]

    run(main())


def test_the_loop_goes_on_while_a_consumer_works(log: eventlog.EventLog) -> None:
    """A deserializer that waits for the loop gets its answer: it runs off the loop."""
    fill(log, 1)
    reached, go_on = threading.Event(), threading.Event()

    def deserialize(data: bytes) -> bytes:
        reached.set()
        assert go_on.wait(30)
        return data

    async def main() -> None:
        async with log.async_consumer("t", **EARLIEST, value_deserializer=deserialize) as consumer:
            poll = asyncio.create_task(consumer.poll())
            while not reached.is_set():
                await asyncio.sleep(0)
            go_on.set()  # a blocked loop would never come here
            assert len(await poll) == 1

    run(main())


def test_other_calls_pass_a_poll_that_waits(log: eventlog.EventLog) -> None:
    """A task may seek while another one waits in a poll, which goes on at the new place; two may not poll at once."""
    fill(log, 5)

    async def main() -> None:
        async with log.async_consumer("t") as consumer, polling(consumer) as poll:
            with pytest.raises(eventlog.ConcurrentAccessError):
                await consumer.poll()
            with pytest.raises(eventlog.ConcurrentAccessError):
                await anext(consumer)
            assert await consumer.position(T0) == 5
            await asyncio.gather(*(consumer.lag() for _ in range(20)))
            assert not poll.done()
            await consumer.seek(T0, 3)
            assert [record.offset for record in await poll] == [3, 4]

    run(main())


def test_a_poll_comes_forward_among_many_calls(log: eventlog.EventLog) -> None:
    """Tasks that call all the time do not keep another one from polling."""
    fill(log, 50)

    async def main() -> None:
        async with log.async_consumer("t", **EARLIEST) as consumer:

            async def call() -> None:
                while True:
                    await consumer.lag()

            tasks = [asyncio.create_task(call()) for _ in range(3)]
            found = [(await consumer.poll(timeout=None, max_records=1))[0].offset for _ in range(50)]
            assert found == list(range(50))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    run(main())


def test_the_time_of_a_poll_is_over(log: eventlog.EventLog) -> None:
    """A poll with a timeout returns an empty list, also when other calls interrupted it."""
    fill(log, 0)

    async def main() -> None:
        async with log.async_consumer("t") as consumer:
            assert await consumer.poll(timeout=0.01) == []
            poll = asyncio.create_task(consumer.poll(timeout=0.2))
            while not poll.done():
                await consumer.lag()
            assert poll.result() == []

    run(main())


class WatchingFileSystem(FileSystem):
    """Notes which threads use it."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "threads":
            self.threads.add(threading.current_thread().name)
        return super().__getattribute__(name)


def test_no_file_is_touched_on_the_loop(log_path: Any) -> None:
    """From making a consumer and a producer to closing them, only other threads than the loop's use files."""
    fs = WatchingFileSystem()
    with eventlog.open(log_path) as other:
        fill(other)

    async def main() -> None:
        async with (
            log.async_producer(linger_ms=1) as producer,
            log.async_consumer("t", group="g", **EARLIEST) as consumer,
        ):
            assert len(await consumer.poll(timeout=10)) == 10
            await producer.send("t", b"a")
            await asyncio.gather(*(producer.send_nowait("t", b"x" * 1000) for _ in range(200)))
            await producer.send_many("t", [b"b", b"c"])
            async for record in consumer:
                if record.value == b"c":
                    break
            await consumer.seek_to_beginning()
            await consumer.commit()
            await producer.flush()

    with eventlog.open(log_path, filesystem=fs) as log:
        fs.threads.clear()
        run(main())
        used = set(fs.threads)
    assert used
    assert threading.current_thread().name not in used


# --- wakeup ---


def test_wakeup_ends_a_poll(log: eventlog.EventLog) -> None:
    """``wakeup`` from any thread makes the present or the next poll raise WakeupError, once; nothing is lost."""
    fill(log, 0)

    async def main() -> None:
        async with log.async_consumer("t", **EARLIEST) as consumer:
            async with polling(consumer) as poll:
                thread = threading.Thread(target=consumer.wakeup)
                thread.start()
                with pytest.raises(eventlog.WakeupError):
                    await poll
                thread.join()
            consumer.wakeup()
            await consumer.lag()
            with pytest.raises(eventlog.WakeupError):
                await consumer.poll()
            append(log, b"a", b"b", b"c")
            assert (await anext(consumer)).value == b"a"
            assert (await anext(consumer)).value == b"b"
            consumer.wakeup()
            with pytest.raises(eventlog.WakeupError):
                await anext(consumer)
            assert (await anext(consumer)).value == b"c"

    run(main())


# --- reading ahead ---


def test_the_position_is_behind_what_was_handed_out(log: eventlog.EventLog) -> None:
    """Iterating reads ahead, but position and commits count only records handed out; leaving the loop loses none."""
    fill(log, 300)

    async def main() -> None:
        async with log.async_consumer("t", group="g", **EARLIEST) as consumer:
            choose = random.Random(7)
            seen: list[int] = []
            async for record in consumer:
                seen.append(record.offset)
                if len(seen) >= 290:
                    break
                await interlude(consumer, choose.randrange(20), seen)
            assert await consumer.position(T0) == len(seen)
            assert seen == list(range(len(seen)))

    run(main())


async def interlude(consumer: AsyncConsumer, choice: int, seen: list[int]) -> None:
    """Do something else within the iteration."""
    match choice:
        case 0:
            assert await consumer.position(T0) == len(seen)
        case 1:
            await consumer.commit()
            assert (await consumer.committed(T0)).offset == len(seen)
        case 2:
            async for record in consumer:
                seen.append(record.offset)
                break
        case 3:
            seen += [record.offset for record in await consumer.poll(max_records=3)]


@pytest.mark.parametrize("how", ["close", "drop", "close the log"])
def test_closing_commits_what_was_handed_out(log_path: Any, how: str) -> None:
    """An automatic commit at the end does not count records that were read ahead and not handed out."""
    log = eventlog.open(log_path)
    fill(log, 300)

    async def main() -> None:
        consumer = log.async_consumer("t", group="g", **EARLIEST)
        await consumer.poll(timeout=10, max_records=1)
        for _ in range(99):
            await anext(consumer)
        assert consumer._read_ahead.left > 0
        if how == "close":
            await consumer.close()
        elif how == "close the log":
            log.close()
            with pytest.raises(eventlog.ClosedError):
                await consumer.poll()
        del consumer
        gc.collect()
        for thread in threading.enumerate():
            if "eventlog-async" in thread.name:
                thread.join()

    run(main())
    log.close()
    with eventlog.open(log_path) as again, again.consumer(group="g") as plain:
        assert plain.committed(T0).offset == 100


def test_reading_ahead_is_bounded_by_time() -> None:
    """An iteration reads ahead more and more while records are used up quickly, and less when they are not."""
    from eventlog.aio.read_ahead import Pace

    pace = Pace(most=500)
    now = 0.0
    counts = []
    for _ in range(12):
        counts.append(pace.choose(now, None))
        pace.filled(now)
        now += 0.001
    assert counts[:4] == [1, 2, 4, 8] or counts[:4] == [2, 4, 8, 16]
    assert counts[-1] == 500
    assert not pace.is_over(now)
    assert pace.is_over(now + 0.2)
    assert pace.choose(now + 0.2, None) == 250
    assert pace.choose(now, cut_after=3) == 3
    assert pace.choose(now, cut_after=0) == 1


# --- cancelling ---


async def read_some(consumer: AsyncConsumer, choice: int, found: list[int]) -> None:
    """Read in one of the four ways."""
    match choice:
        case 0:
            found.extend([record.offset for record in await consumer.poll(timeout=None, max_records=3)])
        case 1:
            found.extend([record.offset for record in await consumer.poll()])
        case 2:
            found.append((await anext(consumer)).offset)
        case 3:
            for batch in await consumer.poll_batches(timeout=None):
                found.extend(batch.offsets.tolist())


async def steps(count: int) -> None:
    """Let the loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(8))
def test_cancelling_loses_no_record(log: eventlog.EventLog, seed: int) -> None:
    """Polls, batches and iterations that are cancelled at any point return each record exactly once, in order."""
    fill(log, 0)
    choose = random.Random(seed)
    count = 120

    async def main() -> None:
        async with log.async_consumer("t", **EARLIEST) as consumer:
            found: list[int] = []
            written = cancelled = 0
            while len(found) < count:
                task = asyncio.create_task(read_some(consumer, choose.randrange(4), found))
                await steps(choose.choice([0, 0, 1, 2, 5, 30]))
                more = min(choose.choice([0, 1, 2, 5]), count - written)
                append(log, *[b"x"] * more) if more else None
                written += more
                await steps(choose.choice([0, 0, 1, 2, 5, 50]))
                task.cancel()
                await asyncio.wait([task])
                cancelled += task.cancelled()
                assert task.cancelled() or task.exception() is None
                if choose.randrange(5) == 0:
                    assert await consumer.position(T0) == len(found)
            assert found == list(range(count))
            assert cancelled
            assert await consumer.poll() == []

    run(main())


def test_a_poll_that_is_cancelled_as_it_ends_loses_nothing(log: eventlog.EventLog) -> None:
    """When the result is there but its task is cancelled before it takes it, the next poll returns the records."""
    fill(log, 3)

    async def main() -> None:
        async with log.async_consumer("t", **EARLIEST) as consumer:
            poll = asyncio.create_task(consumer.poll())
            await asyncio.sleep(0)
            call = consumer.thread._running
            call.future.add_done_callback(lambda _: poll.cancel())  # runs behind the task's own, or before it
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait([poll])
                poll.result()
                raise asyncio.CancelledError  # the task was faster
            rest = [] if poll.cancelled() else poll.result()
            assert [record.offset for record in rest + await consumer.poll()] == [0, 1, 2]

    run(main())


def test_other_calls_may_be_cancelled(log: eventlog.EventLog) -> None:
    """A commit that is cancelled was done, or not; the consumer goes on either way."""
    fill(log, 100)

    async def main() -> None:
        async with log.async_consumer("t", group="g", **EARLIEST) as consumer:
            choose = random.Random(3)
            while not await consumer.poll(max_records=1):
                pass
            for seen in range(2, 60):
                assert len(await consumer.poll(max_records=1)) == 1
                task = asyncio.create_task(consumer.commit())
                for _ in range(choose.randrange(6)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                before = await consumer.committed(T0)
                assert before is None or before.offset <= seen
                if not task.cancelled():
                    assert before.offset == seen

    run(main())


def test_a_poll_under_a_timeout(log: eventlog.EventLog) -> None:
    """``asyncio.timeout`` ends a poll that waits for ever, and the consumer goes on."""
    fill(log, 0)

    async def main() -> None:
        async with log.async_consumer("t", **EARLIEST) as consumer:
            for n in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await consumer.poll(timeout=None)
                append(log, b"%d" % n)
                assert [record.value for record in await consumer.poll(timeout=10)] == [b"%d" % n]

    run(main())


def test_cancelled_inside_its_block_it_closes(log: eventlog.EventLog) -> None:
    """A task that is cancelled inside ``async with`` leaves the group and ends the thread before it ends itself."""
    fill(log)

    async def main() -> None:
        inside: asyncio.Queue[AsyncConsumer] = asyncio.Queue()

        async def member() -> None:
            async with log.async_consumer("t", group="g") as consumer:
                await consumer.poll()
                await inside.put(consumer)
                await consumer.poll(timeout=None)

        task = asyncio.create_task(member())
        member_inside = await inside.get()
        async with log.async_consumer("t", group="g") as other:
            await other.poll()
            assert await other.assignment() == []
            await in_poll(member_inside)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert len(threads()) == 1
            await other.poll()
            assert await other.assignment() == [T0]

    run(main())


def test_a_close_that_is_cancelled_closes(log: eventlog.EventLog) -> None:
    """Cancelling ``close`` ends the wait for it, not the closing; another one waits for its end."""
    fill(log)

    async def main() -> None:
        consumer = log.async_consumer("t", group="g")
        await consumer.poll()
        close = asyncio.create_task(consumer.close())
        await asyncio.sleep(0)
        close.cancel()
        await asyncio.wait([close])
        await asyncio.gather(consumer.close(), consumer.close())
        assert threads() == []
        with pytest.raises(eventlog.ClosedError):
            await consumer.assignment()

    run(main())


def test_closing_ends_a_poll(log: eventlog.EventLog) -> None:
    """A poll under way raises ClosedError when another task closes the consumer; an iteration then ends."""
    fill(log, 0)

    async def main() -> None:
        consumer = log.async_consumer("t")
        poll = asyncio.create_task(consumer.poll(timeout=None))
        await asyncio.sleep(0)
        await in_poll(consumer)
        behind = asyncio.create_task(consumer.lag())
        await asyncio.sleep(0)
        await consumer.close()
        with pytest.raises(eventlog.ClosedError):
            await poll
        assert await behind == {T0: 0}
        assert [record async for record in consumer] == []

    run(main())


# --- groups ---


class Told(AsyncRebalanceListener):
    """Notes what it is told, and uses the consumer meanwhile."""

    def __init__(self, consumer: AsyncConsumer, *, commits: bool = True) -> None:
        self.consumer = consumer
        self.commits = commits
        self.told: list[tuple[str, list[int]]] = []
        self.threads: set[str] = set()

    def note(self, what: str, partitions: list[TopicPartition]) -> None:
        self.threads.add(threading.current_thread().name)
        self.told.append((what, [partition.partition for partition in partitions]))

    async def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
        await asyncio.sleep(0)
        self.note("assigned", partitions)
        assert set(partitions) <= set(await self.consumer.assignment())

    async def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        if self.commits:
            await asyncio.gather(self.consumer.commit(), self.consumer.lag())
        self.note("revoked", partitions)


def test_two_consumers_share_partitions(log: eventlog.EventLog) -> None:
    """Two consumers of one group in one loop each get half of the partitions; together they read every record once."""
    fill(log, 50, partitions=4)

    async def main() -> None:
        found: list[tuple[int, int]] = []
        full = asyncio.Event()

        async with (
            log.async_consumer("t", group="g", **EARLIEST) as one,
            log.async_consumer("t", group="g", **EARLIEST) as two,
        ):
            while len(await one.assignment()) != 2 or len(await two.assignment()) != 2:
                for consumer in (one, two):
                    found += [(r.partition, r.offset) for r in await consumer.poll(timeout=0.005, max_records=1)]
                    await consumer.commit()

            async def read(consumer: AsyncConsumer) -> None:
                async for record in consumer:
                    found.append((record.partition, record.offset))
                    if len(found) >= 200:
                        full.set()

            tasks = [asyncio.create_task(read(consumer)) for consumer in (one, two)]
            await full.wait()
            owned = [set(await consumer.assignment()) for consumer in (one, two)]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert [len(partitions) for partitions in owned] == [2, 2]
        assert not owned[0] & owned[1]
        assert sorted(found) == [(partition, offset) for partition in range(4) for offset in range(50)]

    run(main())


@pytest.mark.parametrize("seed", range(6))
def test_members_that_are_cancelled_and_replaced_read_everything_once(log: eventlog.EventLog, seed: int) -> None:
    """However polls are cancelled and members come and go, a group whose members commit reads each record once."""
    fill(log, 40, partitions=4)
    choose = random.Random(seed)
    found: list[tuple[int, int]] = []

    async def new_member() -> AsyncConsumer:
        auto = choose.random() < 0.5
        consumer = log.async_consumer(group="g", enable_auto_commit=auto, auto_offset_reset="earliest")
        await consumer.subscribe(["t"], listener=Told(consumer, commits=not auto))
        return consumer

    async def read(consumer: AsyncConsumer, choice: int) -> None:
        if choice:
            found.extend([(r.partition, r.offset) for r in await consumer.poll(timeout=0.01, max_records=choice)])
        else:
            record = await anext(consumer)
            found.append((record.partition, record.offset))

    async def main() -> None:
        members = [await new_member() for _ in range(3)]
        while len(found) < 160:
            tasks = [asyncio.create_task(read(member, choose.randrange(4))) for member in members]
            await steps(choose.choice([0, 1, 3, 10, 100]))
            for task in tasks:
                if choose.random() < 0.3:
                    task.cancel()
            await asyncio.wait(tasks, timeout=choose.choice([0, 0.02]))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert not [task for task in tasks if not task.cancelled() and task.exception()]
            if choose.random() < 0.1:
                gone = members.pop(choose.randrange(3))
                close = asyncio.create_task(gone.close())
                await asyncio.gather(close, *(read(member, 1) for member in members))
                members.append(await new_member())
        await asyncio.gather(*(member.close() for member in members), return_exceptions=False)
        assert sorted(found) == [(partition, offset) for partition in range(4) for offset in range(40)]

    run(main())


def test_a_listener_on_the_loop_may_commit(log: eventlog.EventLog) -> None:
    """Coroutines of a listener run on the loop while the rebalance waits, and may await the consumer."""
    fill(log, 10, partitions=2)

    async def main() -> None:
        one = log.async_consumer(group="g", enable_auto_commit=False, **EARLIEST)
        listener = Told(one)
        await one.subscribe(["t"], listener=listener)
        while len(await one.assignment()) < 2:
            await one.poll(timeout=1, max_records=20)
        while sum((await one.lag()).values()):
            await one.poll(timeout=1)
        async with log.async_consumer("t", group="g", **EARLIEST) as two:
            while len(await one.assignment()) != 1 or len(await two.assignment()) != 1:
                await one.poll(timeout=0.005)
                assert await two.poll(timeout=0.005) == []  # all of it was committed as the partition was given up
        await one.close()
        assert listener.told[0] == ("assigned", [0, 1])
        assert [what for what, _ in listener.told[1:]].count("revoked") == 2
        assert listener.threads == {"MainThread"}
        await one.close()

    run(main())


def test_a_listener_may_wait_for_a_task_that_commits(log: eventlog.EventLog) -> None:
    """A call that another task made, before the rebalance or during it, is done inside it: nobody waits in a circle."""
    fill(log, 10)

    async def main() -> None:
        consumer = log.async_consumer(group="g", **EARLIEST)
        others: list[asyncio.Task[Any]] = []

        class Waits(AsyncRebalanceListener):
            async def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
                await asyncio.wait(others)
                await outside.put(None)
                await answers.get()

        outside: asyncio.Queue[None] = asyncio.Queue()
        answers: asyncio.Queue[None] = asyncio.Queue()

        async def helper() -> None:  # begun outside of the listener
            await outside.get()
            await consumer.seek(T0, 5)
            await answers.put(None)

        helping = asyncio.create_task(helper())
        await consumer.subscribe(["t"], listener=Waits())
        poll = asyncio.create_task(consumer.poll(timeout=None))
        await asyncio.sleep(0)
        others += [asyncio.create_task(consumer.assignment()) for _ in range(3)]
        assert [record.offset for record in await poll] == [5, 6, 7, 8, 9]
        await helping
        assert [task.result() for task in others] == [[T0]] * 3
        await consumer.close()

    run(main())


def test_what_a_listener_must_not_do(log: eventlog.EventLog) -> None:
    """Polling, iterating, subscribing and closing inside a listener raise IllegalStateError instead of waiting."""
    fill(log)
    refused: list[str] = []

    async def main() -> None:
        consumer = log.async_consumer(group="g", **EARLIEST)

        class Tries(AsyncRebalanceListener):
            async def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
                for name, call in {
                    "poll": consumer.poll, "anext": lambda: anext(consumer), "close": consumer.close,
                    "unsubscribe": consumer.unsubscribe, "subscribe": lambda: consumer.subscribe(["t"]),
                }.items():  # fmt: skip
                    try:
                        await call()
                    except eventlog.IllegalStateError:
                        refused.append(name)

        await consumer.subscribe(["t"], listener=Tries())
        assert len(await consumer.poll(timeout=10)) == 10
        await consumer.close()
        assert refused == ["poll", "anext", "close", "unsubscribe", "subscribe"]

    run(main())


@pytest.mark.parametrize("kind", [RebalanceListener, AsyncRebalanceListener])
def test_an_error_of_a_listener_comes_out_of_the_poll(log: eventlog.EventLog, kind: type[Any]) -> None:
    """What a listener raises, in a coroutine or not, is raised by the poll under way; the rebalance is done."""
    fill(log)

    async def main() -> None:
        class Fails(kind):  # type: ignore[misc]
            async def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
                raise LookupError(partitions)

        async with log.async_consumer(group="g", **EARLIEST) as consumer:
            await consumer.subscribe(["t"], listener=Fails())
            with pytest.raises(LookupError):
                await consumer.poll(timeout=10)
            assert await consumer.assignment() == [T0]
            assert len(await consumer.poll()) == 10

    run(main())


def test_a_plain_listener_runs_off_the_loop(log: eventlog.EventLog) -> None:
    """The methods of a plain listener run in the consumer's thread, where they may block."""
    fill(log)
    reached, go_on = threading.Event(), threading.Event()
    where: list[str] = []

    class Blocks(RebalanceListener):
        def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
            reached.set()
            assert go_on.wait(30)
            where.append(threading.current_thread().name)

    async def main() -> None:
        async with log.async_consumer(group="g", **EARLIEST) as consumer:
            await consumer.subscribe(["t"], listener=Blocks())
            poll = asyncio.create_task(consumer.poll(timeout=None))
            while not reached.is_set():
                await asyncio.sleep(0)
            go_on.set()
            assert len(await poll) == 10

    run(main())
    assert where == ["eventlog-async-consumer"]


@pytest.mark.parametrize("kind", [RebalanceListener, AsyncRebalanceListener])
def test_lost_partitions_are_told_as_revoked_by_default(log: eventlog.EventLog, kind: type[Any]) -> None:
    """A coroutine ``on_partitions_revoked`` also runs for partitions that were lost."""
    from eventlog.aio.rebalance_listener import ListenerBridge

    told: list[list[TopicPartition]] = []

    class Listens(kind):  # type: ignore[misc]
        async def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
            told.append(partitions)

    def wait_for(awaitable: Any) -> None:
        with pytest.raises(StopIteration):
            awaitable.send(None)

    ListenerBridge(Listens(), wait_for).on_partitions_lost([T0])
    assert told == [[T0]]


def test_cancelling_a_poll_does_not_cut_a_rebalance_short(log: eventlog.EventLog) -> None:
    """A listener's coroutine runs to its end when the poll that caused it is cancelled; the next poll goes on."""
    fill(log)

    async def main() -> None:
        begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        class Slow(AsyncRebalanceListener):
            async def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
                begun.set()
                await go_on.wait()
                await consumer.seek(T0, 7)
                ended.set()

        async with log.async_consumer(group="g", **EARLIEST) as consumer:
            await consumer.subscribe(["t"], listener=Slow())
            poll = asyncio.create_task(consumer.poll(timeout=None))
            await begun.wait()
            poll.cancel()
            await asyncio.wait([poll])
            assert poll.cancelled()
            go_on.set()
            assert [record.offset for record in await consumer.poll(timeout=10)] == [7, 8, 9]
            assert ended.is_set()

    run(main())


def test_closing_the_log_does_not_wait_for_a_coroutine(log_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    """``log.close()`` on the loop's own thread ends, although a listener's coroutine would need that thread."""
    fill(eventlog.open(log_path))

    async def main(*, in_rebalance: bool) -> None:
        begun = asyncio.Event()

        class Never(AsyncRebalanceListener):
            async def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
                if in_rebalance:
                    begun.set()
                    await asyncio.Event().wait()

            async def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
                raise AssertionError("nobody should come here")

        log = eventlog.open(log_path)
        consumer = log.async_consumer(group="g", **EARLIEST)
        await consumer.subscribe(["t"], listener=Never())
        poll = asyncio.create_task(consumer.poll(timeout=None))
        await (begun.wait() if in_rebalance else asyncio.wait([poll]))
        log.close()
        await asyncio.wait([poll])
        with pytest.raises(eventlog.ClosedError):
            await consumer.commit()
        await consumer.close()

    run(main(in_rebalance=True))
    run(main(in_rebalance=False))
    assert "was not waited for" in caplog.text


# --- the end ---


def test_dropped_it_ends(log: eventlog.EventLog) -> None:
    """A consumer that is dropped leaves its group and ends its thread, also when its loop is closed by then."""
    fill(log)

    async def main() -> None:
        consumer = log.async_consumer("t", group="g", **EARLIEST)
        assert len(await consumer.poll(timeout=10)) == 10

    run(main())
    gc.collect()
    for thread in threading.enumerate():
        if "eventlog-async" in thread.name:
            thread.join(10)
    with log.consumer("t", group="g") as other:
        assert other.committed(T0).offset == 10
        other.poll()
        assert other.assignment() == [T0]


def test_a_loop_may_end_without_closing_it(log: eventlog.EventLog) -> None:
    """A loop that is closed while a task waits in a poll leaves no waiting thread behind."""
    fill(log, 0)

    async def begin() -> asyncio.Task[Any]:
        consumer = log.async_consumer("t", **EARLIEST)
        task = asyncio.create_task(consumer.poll(timeout=None))
        await asyncio.sleep(0)
        await in_poll(consumer)
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(begin())
    task._log_destroy_pending = False  # this is what is tested
    loop.close()
    del task
    gc.collect()  # the fixture looks for the thread


def test_it_belongs_to_one_loop(log: eventlog.EventLog) -> None:
    """Another loop gets an error, instead of futures that nobody sets."""
    fill(log)
    consumer = log.async_consumer("t", **EARLIEST)
    assert len(run(consumer.poll())) == 10
    with pytest.raises(eventlog.IllegalStateError, match="another event loop"):
        run(consumer.poll())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_an_error(log: eventlog.EventLog) -> None:
    """A child has no thread to do its calls: they raise ClosedError, and closing the log there does not wait."""
    fill(log, 0)

    async def main() -> None:
        async with log.async_consumer("t", group="g", **EARLIEST) as consumer, polling(consumer):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    asyncio.new_event_loop().run_until_complete(in_child(consumer))
                    status = 0
                finally:
                    os._exit(status)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert status == 0

    async def in_child(consumer: AsyncConsumer) -> None:
        with pytest.raises(eventlog.ClosedError):
            await consumer.poll()
        await consumer.close()
        log.close()

    run(main())


def test_a_program_may_end_without_closing_anything(log_path: Any, run_python: RunPython) -> None:
    """An interpreter whose main coroutine returns early ends, with whatever tasks and consumers there are."""
    script = """
import asyncio, eventlog
log = eventlog.open(ARGS[0])
log.create_topic("t").partitions[0].append([b"a"])
consumer = log.async_consumer("t", group="g", auto_offset_reset="earliest")
async def main():
    assert len(await consumer.poll(timeout=10)) == 1
    global task
    task = asyncio.create_task(consumer.poll(timeout=None))
    await asyncio.sleep(0)
    answer("done")
asyncio.run(main())
"""
    assert run_python(script, log_path) == "done"
