"""The consumer for asyncio."""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Never, Self

from eventlog.aio.consumer_thread import ConsumerThread, Kind
from eventlog.aio.read_ahead import Pace
from eventlog.aio.rebalance_listener import AsyncRebalanceListener, ListenerBridge, checked_listener
from eventlog.config import ConsumerConfig
from eventlog.consumer.consumer import Consumer
from eventlog.consumer.rebalance_listener import RebalanceListener
from eventlog.format.record_batch import RecordBatch
from eventlog.model import (
    GroupMetadata,
    Key,
    OffsetAndMetadata,
    OffsetAndTimestamp,
    Record,
    Time,
    TopicPartition,
    Value,
)
from eventlog.pickling import OfOneProcess
from eventlog.quantities import checked_count, poll_timeout


class AsyncConsumer(OfOneProcess, Generic[Key, Value]):
    """`Consumer` for asyncio: what it does, it does in a thread of its own, and the event loop goes on.

    Made by `EventLog.async_consumer`, for the tasks of one event loop. An asynchronous context manager, and an
    asynchronous iterator that waits for records for ever. One task at a time may poll or iterate; other tasks may make
    other calls meanwhile: a poll that waits makes way for them.

    Cancelling a call leaves the consumer usable. A poll that is cancelled loses no record: the next one returns what
    it may have read. Any other call that has begun is done to its end.

    The position, which `commit` commits, is behind the last record that was handed out, also within ``async for``,
    which reads ahead. With a group, poll or iterate at least every ``max_poll_interval_ms``.

    >>> import asyncio, eventlog, tempfile
    >>> log = eventlog.open(tempfile.mkdtemp())
    >>> _ = log.create_topic("orders").partitions[0].append([b"a", b"b"])
    >>> async def main():
    ...     async with log.async_consumer("orders", auto_offset_reset="earliest") as consumer:
    ...         return [record.value for record in await consumer.poll()]
    >>> asyncio.run(main())
    [b'a', b'b']
    """

    def __init__(self, consumer: Consumer, topics: Sequence[str], at_first: Callable[[], None] | None = None) -> None:
        """``consumer`` is this object's own. The first call does ``at_first``, and subscribes to ``topics``, if any."""
        self._consumer = consumer
        self._thread = ConsumerThread(consumer, topics, at_first)
        self._read_ahead = self._thread.read_ahead
        self._pace = Pace(consumer.config.max_poll_records)
        weakref.finalize(self, self._thread.drop).atexit = False

    @property
    def config(self) -> ConsumerConfig:
        """The settings."""
        return self._consumer.config

    @property
    def thread(self) -> ConsumerThread:
        """What the log closes when it is closed first."""
        return self._thread

    # --- what to read ---

    async def subscribe(
        self,
        topics: Sequence[str] | None = None,
        pattern: str | re.Pattern[str] | None = None,
        listener: RebalanceListener | AsyncRebalanceListener | None = None,
    ) -> None:
        """As `Consumer.subscribe`. The methods of an `AsyncRebalanceListener` run on the loop.

        Those of a plain `RebalanceListener` run in the consumer's thread, where they may block, but cannot use this
        consumer.
        """
        bridge = None if listener is None else ListenerBridge(checked_listener(listener), self._thread.wait_for)
        await self._thread.call(lambda: self._consumer.subscribe(topics, pattern, bridge), Kind.CHOOSE)

    async def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """As `Consumer.assign`."""
        await self._call(self._consumer.assign, partitions)

    async def unsubscribe(self) -> None:
        """As `Consumer.unsubscribe`."""
        await self._thread.call(self._consumer.unsubscribe, Kind.CHOOSE)

    async def assignment(self) -> list[TopicPartition]:
        """As `Consumer.assignment`."""
        return list(await self._call(self._consumer.assignment))

    async def subscription(self) -> list[str]:
        """As `Consumer.subscription`."""
        return list(await self._call(self._consumer.subscription))

    async def topics(self) -> list[str]:
        """As `Consumer.topics`."""
        return list(await self._call(self._consumer.topics))

    async def partitions_for_topic(self, topic: str) -> list[TopicPartition]:
        """As `Consumer.partitions_for_topic`."""
        return list(await self._call(self._consumer.partitions_for_topic, topic))

    # --- reading ---

    async def poll(
        self, timeout: float | None = 0.0, max_records: int | None = None, **unknown: Never
    ) -> list[Record[Key, Value]]:
        """As `Consumer.poll`; a ``timeout`` of None waits until the task is cancelled.

        Raises ConcurrentAccessError while another task polls or iterates, and ClosedError when the consumer is closed
        meanwhile.
        """
        count = self.config.max_poll_records if max_records is None else checked_count(max_records)
        consumer = self._consumer
        await self._thread.poll(lambda seconds: consumer.poll(seconds, count), poll_timeout(timeout, unknown))
        return self._read_ahead.take_all()

    async def poll_batches(self, timeout: float | None = 0.0, **unknown: Never) -> list[RecordBatch]:
        """As `Consumer.poll_batches`; waits and raises as `poll` does."""
        await self._thread.poll(self._consumer.poll_batches, poll_timeout(timeout, unknown))
        return self._read_ahead.take_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record[Key, Value]:
        thread, ahead, pace = self._thread, self._read_ahead, self._pace
        thread.refuse_second_poll()
        thread.raise_if_woken()
        while not ahead.left or pace.is_over(time.monotonic()):
            if thread.is_ending:
                raise StopAsyncIteration
            count = pace.choose(time.monotonic(), ahead.cut_after)
            consumer = self._consumer
            await thread.poll(lambda seconds: consumer.poll(seconds, count), None)  # noqa: B023  # awaited right here
            ahead.begin()
            pace.filled(time.monotonic())
        record: Record[Key, Value] = ahead.take()
        return record

    def wakeup(self) -> None:
        """As `Consumer.wakeup`. No coroutine, and for any thread."""
        self._thread.wakeup()

    # --- the group ---

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata | int] | None = None) -> None:
        """As `Consumer.commit`. When cancelled, all of it was committed, or nothing."""
        await self._call(self._consumer.commit, offsets)

    async def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """As `Consumer.committed`."""
        found: OffsetAndMetadata | None = await self._call(self._consumer.committed, partition)
        return found

    async def group_metadata(self) -> GroupMetadata:
        """As `Consumer.group_metadata`."""
        found: GroupMetadata = await self._call(self._consumer.group_metadata)
        return found

    def metrics(self) -> dict[str, float]:
        """As `Consumer.metrics`. No coroutine, and for any thread."""
        return self._consumer.metrics()

    async def lag(self) -> dict[TopicPartition, int]:
        """As `Consumer.lag`."""
        return dict(await self._call(self._consumer.lag))

    # --- places ---

    async def position(self, partition: TopicPartition) -> int:
        """As `Consumer.position`."""
        return int(await self._call(self._consumer.position, partition))

    async def positions(self) -> dict[TopicPartition, int]:
        """As `Consumer.positions`."""
        return dict(await self._call(self._consumer.positions))

    async def seek(self, partition: TopicPartition, offset: int | OffsetAndMetadata) -> None:
        """As `Consumer.seek`."""
        await self._call(self._consumer.seek, partition, offset)

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """As `Consumer.seek_to_beginning`."""
        await self._call(self._consumer.seek_to_beginning, *partitions)

    async def seek_to_end(self, *partitions: TopicPartition) -> None:
        """As `Consumer.seek_to_end`."""
        await self._call(self._consumer.seek_to_end, *partitions)

    async def seek_to_committed(self, *partitions: TopicPartition) -> None:
        """As `Consumer.seek_to_committed`."""
        await self._call(self._consumer.seek_to_committed, *partitions)

    async def pause(self, *partitions: TopicPartition) -> None:
        """As `Consumer.pause`."""
        await self._call(self._consumer.pause, *partitions)

    async def resume(self, *partitions: TopicPartition) -> None:
        """As `Consumer.resume`."""
        await self._call(self._consumer.resume, *partitions)

    async def paused(self) -> list[TopicPartition]:
        """As `Consumer.paused`."""
        return list(await self._call(self._consumer.paused))

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """As `Consumer.beginning_offsets`."""
        return dict(await self._call(self._consumer.beginning_offsets, partitions))

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """As `Consumer.end_offsets`."""
        return dict(await self._call(self._consumer.end_offsets, partitions))

    async def offsets_for_times(
        self, times_ms: Mapping[TopicPartition, Time]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """As `Consumer.offsets_for_times`."""
        return dict(await self._call(self._consumer.offsets_for_times, times_ms))

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._thread.call(lambda: function(*arguments))

    # --- closing ---

    async def close(self, *, autocommit: bool = True) -> None:
        """End, as `Consumer.close` does, behind the calls that were made before; a poll under way raises ClosedError.

        Harmless when closed already. When cancelled, the consumer is closed all the same. One that is dropped is closed
        too, but later; when its log is closed first, no `AsyncRebalanceListener` is told.
        """
        self._thread.autocommit &= autocommit
        await self._thread.aclose()

    async def __aenter__(self) -> Self:
        """Subscribe, if topics were given."""
        try:
            await self._call(lambda: None)
        except BaseException:
            await self.close()  # for there is no exit without an entry
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(autocommit=kind is None)

    def __repr__(self) -> str:
        return f"<Async{repr(self._consumer)[1:]}"
