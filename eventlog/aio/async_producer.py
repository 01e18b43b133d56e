"""The producer for asyncio."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from eventlog.aio.async_transactional import AsyncTransactional
from eventlog.aio.producer_thread import ProducerThread
from eventlog.config import ProducerConfig
from eventlog.format.batch_encoder import RecordHeaders
from eventlog.format.record_input import (
    checked_bytes,
    checked_column,
    checked_header_column,
    checked_headers,
    checked_sequence,
    checked_time,
    checked_times,
)
from eventlog.model import RecordMetadata, Time, TopicPartition
from eventlog.pickling import OfOneProcess
from eventlog.producer.arguments import header_bytes, serialized
from eventlog.producer.delivery import ManyDelivery
from eventlog.producer.producer import Producer
from eventlog.quantities import checked_timeout
from eventlog.serializers import as_bytes, serializer

_OVERHEAD = 512  # bytes: what a future, a delivery and their callback take for a record that waits


class AsyncProducer(AsyncTransactional, OfOneProcess):
    """`Producer` for asyncio: whatever touches files or waits is done in a thread of its own.

    Made by `EventLog.async_producer`, for the tasks of one event loop. An asynchronous context manager; closing it
    writes everything that waits. Records for a partition are written in the order of the calls.

    When a send is cancelled its record may still be written.

    >>> import asyncio, eventlog, tempfile
    >>> log = eventlog.open(tempfile.mkdtemp())
    >>> _ = log.create_topic("orders")
    >>> async def main():
    ...     async with log.async_producer() as producer:
    ...         return await producer.send("orders", b"paid", key=b"order-7")
    >>> asyncio.run(main()).offset
    0
    """

    def __init__(self, producer: Producer, config: ProducerConfig) -> None:
        """``producer`` is this object's own, and has no serializers: those of ``config`` are applied here."""
        self.config = config
        self._producer = producer
        self._serialize_key = serializer(config.key_serializer, "key")
        self._serialize_value = serializer(config.value_serializer, "value")
        self._thread = ProducerThread(producer)
        weakref.finalize(self, self._thread.drop).atexit = False  # which ends it in its own way

    @property
    def thread(self) -> ProducerThread:
        """What the log closes when it is closed first."""
        return self._thread

    # --- sending ---

    async def send(
        self,
        topic: str,
        value: Any,
        key: Any = None,
        *,
        headers: RecordHeaders | None = None,
        partition: int | None = None,
        timestamp_ms: Time | None = None,
    ) -> RecordMetadata:
        """Write one record and return its metadata. It does not linger; those of tasks that send at once share a batch.

        Arguments and errors are those of `Producer.send` and its delivery. While ``buffer_memory`` is full this waits,
        and raises BufferExhaustedError after ``max_block_ms``.
        """
        arguments = self._arguments(value, key, headers, partition, timestamp_ms)
        size = _size(*arguments[:3])
        self._thread.bound_loop()
        if not self._thread.has_room(size):
            await self._thread.wait_for_room(size)
        metadata: RecordMetadata = await self._put(topic, arguments, size, is_urgent=True)
        return metadata

    def send_nowait(
        self,
        topic: str,
        value: Any,
        key: Any = None,
        *,
        headers: RecordHeaders | None = None,
        partition: int | None = None,
        timestamp_ms: Time | None = None,
    ) -> asyncio.Future[RecordMetadata]:
        """Accept one record, to be written when its batch is full or has lingered; return the future of its metadata.

        Raises BufferExhaustedError at once when ``buffer_memory`` is full: await `send`, or some of the futures.
        SerializationError, InvalidRecordError and ClosedError are raised here, too; other errors are the future's.
        """
        arguments = self._arguments(value, key, headers, partition, timestamp_ms)
        size = _size(*arguments[:3])
        self._thread.bound_loop()
        if not self._thread.has_room(size):
            raise self._thread.exhausted()
        return self._put(topic, arguments, size, is_urgent=False)

    def _arguments(
        self, value: Any, key: Any, headers: Any, partition: int | None, timestamp_ms: Any
    ) -> tuple[Any, ...]:
        """Serialize and check now: a caller may change what it sends when this returns."""
        if self._serialize_value is not None:
            value = self._serialize_value(value)
        if self._serialize_key is not None:
            key = self._serialize_key(key)
        if timestamp_ms is not None:
            timestamp_ms = checked_time(timestamp_ms)
        return as_bytes(value, "value"), as_bytes(key, "key"), checked_headers(headers), partition, timestamp_ms

    def _put(
        self, topic: str, arguments: tuple[Any, ...], size: int, *, is_urgent: bool
    ) -> asyncio.Future[RecordMetadata]:
        value, key, headers, partition, timestamp_ms = arguments
        send = self._producer.send
        try:
            return self._thread.put(
                lambda: send(topic, value, key, headers=headers, partition=partition, timestamp_ms=timestamp_ms),
                size, is_urgent=is_urgent,
            )  # fmt: skip
        except BaseException:
            self._thread.give_back_room(size)
            raise

    async def send_many(
        self,
        topic: str,
        values: Sequence[Any],
        keys: Sequence[Any] | None = None,
        *,
        headers: Sequence[RecordHeaders | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Sequence[Time] | Time | None = None,
    ) -> ManyDelivery:
        """Write n records, as `Producer.send_many` does, and return their delivery, done unless in a transaction.

        What serializers are given must not change meanwhile: they are called in the producer's thread. Raises what
        kept a part from being written; other parts, in other partitions, may have been written.
        """
        values = checked_sequence(values)  # and copied here and now, as far as it is bytes
        count = len(values)
        keys = checked_column(keys, "keys", count)
        headers = checked_header_column(headers, count)
        stamps: Any = None if timestamps_ms is None else checked_times(timestamps_ms, count)
        serialize_value, serialize_key = self._serialize_value, self._serialize_key
        if serialize_value is None:
            values = checked_bytes(values, "value")
        if keys is not None and serialize_key is None:
            keys = checked_bytes(keys, "key")

        def send() -> ManyDelivery:
            made = self._producer.send_many(
                topic,
                serialized(values, serialize_value, "value"),
                None if keys is None else serialized(keys, serialize_key, "key"),
                headers=headers, partition=partition, timestamps_ms=stamps,
            )  # fmt: skip
            if self.config.transactional_id is None:  # or else it is known when the transaction has ended
                made.result()
            return made

        delivery: ManyDelivery = await self._thread.put(send)
        return delivery

    async def partitions_for(self, topic: str) -> list[TopicPartition]:
        """As `Producer.partitions_for`."""
        return list(await self._thread.put(lambda: self._producer.partitions_for(topic)))

    # --- writing what waits ---

    async def flush(self, timeout: float | None = None) -> None:
        """Write everything that was sent before; the outcome of each record is known when this returns.

        What waits for a transaction waits on. Raises DeliveryTimeoutError as `Producer.flush` does.
        """
        timeout = checked_timeout(timeout)
        sent = self._thread.unsettled()
        await self._thread.put(lambda: self._producer.flush(timeout))
        pending = [item.future for item in sent if not item.is_taken and not item.future.done()]
        if pending:  # written, but the thread that wrote them has not come to tell it
            await asyncio.wait(pending)

    async def close(self, timeout: float | None = None) -> None:
        """Write everything that waits, and end. Harmless when closed already. When cancelled, both happen all the same.

        Raises DeliveryTimeoutError when ``timeout`` seconds were not enough.
        """
        await self._thread.aclose(checked_timeout(timeout))

    async def __aenter__(self) -> AsyncProducer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Async{repr(self._producer)[1:]}"


def _size(value: bytes | None, key: bytes | None, headers: RecordHeaders | None) -> int:
    return len(value or b"") + len(key or b"") + header_bytes(headers) + _OVERHEAD
