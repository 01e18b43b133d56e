"""The producer: batches records in memory, and writes each batch as one append.

`send` keeps a record for up to ``linger_ms``; the batch is written by the send that fills it, by the background
thread when it has lingered, or by whoever waits for it (`Delivery.result`, `flush`). `send_many` brings a whole batch
along and writes it at once.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

from eventlog.clock import Clock
from eventlog.config import ProducerConfig
from eventlog.coordination.transaction_coordinator import TransactionCoordinator
from eventlog.errors import ClosedError, EventLogError
from eventlog.files.deferred import ClosesLater
from eventlog.files.mutex import Mutex, calls_out
from eventlog.files.signal_handlers import suppress, unless_reentrant
from eventlog.format.batch_encoder import RecordHeaders
from eventlog.format.compression import codec_id, compress
from eventlog.format.record_input import (
    checked_column,
    checked_header_column,
    checked_headers,
    checked_sequence,
    checked_time,
    checked_times,
    clock_ms,
)
from eventlog.model import Time, TopicPartition
from eventlog.pickling import OfOneProcess
from eventlog.producer.arguments import check_size, header_bytes, serialized
from eventlog.producer.buffer_pool import BufferPool, may_wait_uncounted
from eventlog.producer.collected_records import CollectedRecords
from eventlog.producer.delivery import Delivery, FullDelivery, ManyDelivery, unacknowledged
from eventlog.producer.keyed_sends import LAST_SECOND
from eventlog.producer.linger_thread import LingerThread
from eventlog.producer.list_columns import ListColumns
from eventlog.producer.list_sender import ListSender
from eventlog.producer.placement import Placement
from eventlog.producer.record_buffer import RecordBuffer
from eventlog.producer.record_columns import record_bytes
from eventlog.producer.transaction_manager import TransactionManager
from eventlog.producer.transaction_sends import TransactionSends
from eventlog.producer.transactional import Transactional
from eventlog.producer.unplaced_records import UnplacedRecords
from eventlog.quantities import checked_timeout
from eventlog.serializers import serializer
from eventlog.topics.registry import TopicRegistry
from eventlog.topics.timestamp_bounds import refuse_out_of_bounds
from eventlog.topics.topic import Topic

_every_producer: weakref.WeakSet[Producer] = weakref.WeakSet()


class Producer(TransactionSends, Transactional, OfOneProcess):
    """Sends records to topics. Thread-safe; order is kept within a partition.

    Made by `EventLog.producer`. A context manager; closing it writes everything that waits, and so does the end of
    the interpreter. A forked child starts empty: the parent's records are the parent's to send.

    >>> import eventlog, tempfile
    >>> log = eventlog.open(tempfile.mkdtemp())
    >>> _ = log.create_topic("orders")
    >>> with log.producer() as producer:
    ...     delivery = producer.send("orders", b"paid", key=b"order-7")
    >>> delivery.result().offset
    0
    """

    # fmt: off
    __slots__ = (  # a dictionary this large would slow the hot path
        "__weakref__", "_closed", "_codec", "_fast", "_fast_allowed", "_fast_keyed", "_later", "_linger",
        "_lists", "_lock",
        "_now", "_placement", "_places_later", "_pool", "_registry", "_serialize_key", "_serialize_value",
        "config", "linger_seconds",
    )
    # fmt: on

    def __init__(
        self, registry: TopicRegistry, config: ProducerConfig, clock: Clock, coordinator: TransactionCoordinator
    ) -> None:
        self.config = config
        self.linger_seconds = config.linger_ms / 1000
        self._registry = registry
        self._now = clock.time
        self._placement = Placement(config)
        self._codec = codec_id(config.compression_type)
        compress(self._codec, b"")  # a missing extra is told now, and not to each record
        self._serialize_key = serializer(config.key_serializer, "key")
        self._serialize_value = serializer(config.value_serializer, "value")
        self._pool = BufferPool(config, self._codec, self._now, self._drained)
        self._fast: dict[str, RecordBuffer | CollectedRecords] = {}  # where a plain value goes without further thought
        self._fast_keyed: dict[str, UnplacedRecords | CollectedRecords] = {}  # and one with a key
        may_wait = may_wait_uncounted(config)
        self._fast_allowed = may_wait and self._placement.is_sticky and self._serialize_value is None
        self._places_later = may_wait and self._placement.hashes_keys
        self._lock = Mutex()
        self._linger: LingerThread | None = None
        self._closed = False
        self._later = ClosesLater()
        self._transactions = None
        if config.transactional_id is not None:
            self._transactions = TransactionManager(coordinator, config, self._codec, self._placement)
        self._lists = ListSender(self._placement, self._pool, self._transactions, self._codec)
        _every_producer.add(self)

    def partitions_for(self, topic: str) -> list[TopicPartition]:
        """Return the partitions of a topic. Raises UnknownTopicError and InvalidTopicError."""
        self._check_open()
        return self._registry.partitions_of(topic)

    # --- sending ---

    def send(  # noqa: C901  # each branch saves a record the cost of a call
        self,
        topic: str,
        value: Any,
        key: Any = None,
        *,
        headers: RecordHeaders | None = None,
        partition: int | None = None,
        timestamp_ms: Time | None = None,
    ) -> Delivery:
        """Accept one record and return its delivery. Returns at once unless ``buffer_memory`` is full.

        ``value`` None is a tombstone; ``headers`` are ``(str, bytes or None)`` pairs; ``timestamp_ms`` is in
        milliseconds since the epoch, or a datetime with a time zone; by default now.

        Raises SerializationError, InvalidRecordError, RecordTooLargeError, UnknownTopicError, UnknownPartitionError,
        BufferExhaustedError after ``max_block_ms``, and ClosedError. What goes wrong later is the delivery's error.
        """
        # The short ways for a topic that is known: no lock is taken, and a list is appended to in one atomic step.
        try:
            if key is None:
                home = self._fast[topic]
            else:
                keyed = self._fast_keyed[topic]
        except (KeyError, TypeError):
            return self._send_slowly(topic, value, key, headers, partition, timestamp_ms)
        if partition is None and timestamp_ms is None:
            if key is not None:
                if type(keyed) is UnplacedRecords:
                    return self._send_known(keyed, value, key, headers)
                return self._send_in_transaction(keyed, value, key, headers)
            if type(home) is CollectedRecords:
                return self._send_in_transaction(home, value, None, headers)
            if type(value) is bytes and len(value) <= home.small and not home.before:
                if headers is not None:
                    return self._send_headed(home, value, headers)
                delivery = Delivery()
                delivery.value = value
                delivery.stamp = stamp = self._now()
                delivery.home = home
                if not 0.0 <= stamp < LAST_SECOND:
                    clock_ms(stamp)  # which says what is wrong with the clock
                records = home.records
                records.append(delivery)
                if len(records) >= home.limit:
                    self._filled(home)
                return delivery
        return self._send_slowly(topic, value, key, headers, partition, timestamp_ms)

    @calls_out
    def _send_slowly(
        self, name: str, value: Any, key: Any, headers: Any, partition: int | None, timestamp_ms: Time | None
    ) -> Delivery:
        self._check_open()
        topic = self._registry.to_write(name)
        return self._send_full(topic, self._value(value), self._key(key), headers, partition, timestamp_ms)

    def _send_full(
        self,
        topic: Topic,
        value: bytes | None,
        key: bytes | None,
        headers: Any,
        partition: int | None,
        timestamp_ms: Time | None,
    ) -> Delivery:
        delivery = FullDelivery()
        delivery.key, delivery.value, delivery.headers = key, value, checked_headers(headers)
        delivery.stamp = self._now()
        now_ms = clock_ms(delivery.stamp)
        delivery.timestamp_ms = now_ms if timestamp_ms is None else checked_time(timestamp_ms)
        try:
            if timestamp_ms is not None:
                refuse_out_of_bounds(topic.config, topic.name, delivery.timestamp_ms, now_ms, in_list=False)
            check_size(topic, delivery, self._codec)
        except EventLogError as error:
            self.fail_transaction(error)
            raise
        size = record_bytes(delivery)
        if self._places_later:
            unplaced = self._pool.unplaced(topic)
            if key is not None and partition is None and size + header_bytes(delivery.headers) <= unplaced.most:
                return self._send_unplaced(unplaced, delivery, size)
            unplaced.place()
        number = self._placement.choose(topic, key, value, partition)
        if self._transactions is not None:
            self._send_with_lock(self._transactions, topic, number, delivery)
            if key is None:
                self._placement.sent(topic.name, size)
            return delivery
        buffer = self._pool.get(topic, number)
        delivery.home = buffer
        self._pool.reserve(size, topic.name)
        buffer.records.append(delivery)
        self._after_slow_send(buffer, keyless=key is None and partition is None)
        if self.config.acks == 0:
            return unacknowledged(delivery, number, topic.name)
        return delivery

    def _after_slow_send(self, buffer: RecordBuffer, *, keyless: bool) -> None:
        if self.config.linger_ms == 0 or self.config.batch_size == 0 or self._closed:
            if not buffer.write_now(patient=self._closed):  # tried again in the background
                self._start_linger_thread()
            return
        if self._linger is None:
            self._start_linger_thread()
        if keyless and self._fast_allowed and len(buffer.records) < buffer.limit:
            self._fast[buffer.partition.topic] = buffer
            if self._is_closed():  # behind the store: close() may have come in between
                self._fast.clear()
        if self._linger is not None:
            self._linger.signal()
        if len(buffer.records) >= buffer.limit:
            self._filled(buffer)

    def _start_linger_thread(self) -> None:
        if self._lock.is_mine():
            return  # a signal handler came in the middle of this, which goes on
        with self._lock:
            if self._linger is None and not self._closed:
                linger = LingerThread(self)
                try:
                    self._linger = linger.started()
                except BaseException:
                    linger.leave()  # an interrupt may come when it runs already, and nobody else would end it
                    raise

    def _filled(self, buffer: RecordBuffer) -> None:
        """Write a full batch here and now, unless that would have to wait for a device or for someone else."""
        if not buffer.is_slow and unless_reentrant(buffer.try_drain):
            return
        if buffer.last:
            buffer.drain()
        if self._linger is not None:
            self._linger.signal()
        waiting = len(buffer.records)
        most = self._pool.most(buffer)
        if waiting >= most:
            self._slow_down(buffer)
        else:
            buffer.limit = min(waiting + buffer.full, most)  # not again with each record

    def _drained(self, buffer: RecordBuffer, size: int) -> None:
        """After a batch, the sticky partitioner may move on to another partition. After a failure, ``size`` is 0."""
        name = buffer.partition.topic
        if not size and self._linger is not None:
            self._linger.signal()  # what failed may have to be tried again before it would have lingered
        if not size:
            self._slow_down(buffer)
        if self._fast.get(name) is not buffer:
            return
        self._placement.sent(name, size)
        with suppress(EventLogError):  # deleted meanwhile: these records were written all the same
            topic = self._registry.get(name)
            number = self._placement.keyless(name, len(topic.partitions))
            if number != buffer.partition.number:
                self._fast[name] = self._pool.get(topic, number)

    def _slow_down(self, buffer: RecordBuffer) -> None:
        """The next send looks the topic up again, and is counted."""
        self._fast.pop(buffer.partition.topic, None)
        self._fast_keyed.pop(buffer.partition.topic, None)

    def cool_down(self) -> None:
        """The same for all topics: nothing has been sent for a while, or never will be again."""
        self._fast.clear()
        self._fast_keyed.clear()

    # --- whole lists ---

    @calls_out
    def send_many(
        self,
        topic: str,
        values: Sequence[Any],
        keys: Sequence[Any] | None = None,
        *,
        headers: Sequence[RecordHeaders | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Sequence[Time] | Time | None = None,
    ) -> ManyDelivery:
        """Write n records at once, behind what `send` has accepted before, and return their delivery, done.

        The fast path: each partition gets its part as one append, as large as ``max_message_bytes`` permits. ``keys``
        and ``headers`` have n items or are None; ``timestamps_ms`` are n, one for all, or None for now. Without keys
        all records go to one partition. Raises as `send` does, before anything is written; what goes wrong while
        writing is the delivery's error. So is a timestamp that the topic does not take: its record fails alone.
        """
        self._check_open()
        found = self._registry.to_write(topic)
        values = checked_sequence(values)
        keys = checked_column(keys, "keys", len(values))
        headers = checked_header_column(headers, len(values))
        now_ms = clock_ms(self._now())
        stamps = now_ms if timestamps_ms is None else checked_times(timestamps_ms, len(values))
        values = serialized(values, self._serialize_value, "value")
        if keys is not None:
            keys = serialized(keys, self._serialize_key, "key")
        return self._lists.send(found, ListColumns(values, keys, stamps, headers), partition, now_ms)

    # --- writing what waits ---

    def drain_lingering(self) -> float | None:
        """Write what has lingered or is full; return the seconds until the next is due, None when nothing waits."""
        return self._pool.drain_lingering(self.linger_seconds, self._now)

    def flush(self, timeout: float | None = None) -> None:
        """Write everything that was sent before; each record's outcome is known when this returns.

        ``timeout`` is in seconds. Raises DeliveryTimeoutError when another process kept a partition locked for so
        long; the records wait on.
        """
        self._pool.drain(checked_timeout(timeout), last=False)

    def close(self, timeout: float | None = None) -> None:
        """Write everything that waits, and end. Harmless when closed already, and goes on after an interrupt.

        In a signal handler that has interrupted another call, a thread does so as soon as that call is over.
        """
        timeout = checked_timeout(timeout)
        self._closed = True
        self.cool_down()
        self._later.close(partial(self._close, timeout), timeout=timeout)

    def _close(self, timeout: float | None) -> None:
        if self._linger is not None:
            self._linger.stop(timeout)
        self._pool.drain(timeout, last=True)
        self._pool.forget()
        if self._transactions is not None:
            self._transactions.close()

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        # The cycle collector may run this in the middle of an append, whose locks this very thread holds.
        with contextlib.suppress(AttributeError):  # not even made
            if self._linger is None:
                self._pool.forget()  # without a thread nothing waits
            elif not self._closed:
                self._linger.finish(self._pool)

    def __repr__(self) -> str:
        waiting = sum(len(buffer.records) for buffer in self._pool.all())
        return f"<Producer with {waiting} records waiting{' (closed)' if self._closed else ''}>"

    def after_fork(self) -> None:
        """Start empty in a forked child."""
        self._lock = Mutex()
        self._linger = None
        self.cool_down()
        self._pool.after_fork()
        if self._transactions is not None:
            self._transactions.after_fork()

    def _is_closed(self) -> bool:
        return self._closed

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the producer is closed", hint="make a new one with log.producer()")


def _close_all() -> None:
    for producer in list(_every_producer):
        with suppress(EventLogError):
            producer.close(timeout=30)


def _after_fork_in_child() -> None:
    for producer in list(_every_producer):
        producer.after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork_in_child)
