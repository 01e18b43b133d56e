"""How a producer sends records with a key: into `UnplacedRecords`, to be placed many at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from eventlog.files.mutex import calls_out
from eventlog.files.signal_handlers import unless_reentrant
from eventlog.format.record_input import LATEST_MS, checked_headers, clock_ms
from eventlog.model import Headers
from eventlog.producer.arguments import header_bytes
from eventlog.producer.buffer_pool import BufferPool
from eventlog.producer.collected_records import CollectedRecords
from eventlog.producer.delivery import Delivery, FullDelivery, KeyedDelivery
from eventlog.producer.linger_thread import LingerThread
from eventlog.producer.placement import Placement
from eventlog.producer.record_buffer import RecordBuffer
from eventlog.producer.unplaced_records import UnplacedRecords
from eventlog.serializers import Serializer, as_bytes
from eventlog.topics.registry import TopicRegistry
from eventlog.topics.topic import Topic

LAST_SECOND = float(LATEST_MS // 1000)  # that a record can be stamped with; to compare two floats is fastest


def new_delivery(value: bytes | None, key: bytes | None, headers: Headers | None, stamp: float) -> Delivery:
    """Return the delivery of a record that was checked. Raises InvalidRecordError for an impossible time."""
    now_ms = clock_ms(stamp)
    delivery: Delivery
    if headers:
        delivery = FullDelivery()
        delivery.key, delivery.headers, delivery.timestamp_ms = key, headers, now_ms
    elif key is not None:
        delivery = KeyedDelivery()
        delivery.key = key
    else:
        delivery = Delivery()
    delivery.value, delivery.stamp = value, stamp
    return delivery


class KeyedSends:
    """The part of a producer that is about keys."""

    __slots__ = ()

    _closed: bool
    _fast_keyed: dict[str, UnplacedRecords | CollectedRecords]  # where records with a key go without further thought
    _linger: LingerThread | None
    _now: Callable[[], float]
    _placement: Placement
    _pool: BufferPool
    _registry: TopicRegistry
    _serialize_key: Serializer | None
    _serialize_value: Serializer | None

    @calls_out
    def _send_known(self, unplaced: UnplacedRecords, value: Any, key: Any, headers: Any) -> Delivery:
        """Send a record with a key to a topic that is known: no lock is taken, and nothing is looked up."""
        if headers is not None:
            key, value = self._key(key), self._value(value)
            return self._send_checked(unplaced, value, key, headers)
        if type(key) is not bytes or type(value) is not bytes or len(key) + len(value) > unplaced.at_once:
            key, value = self._key(key), self._value(value)
            if key is None or value is None or len(key) + len(value) > unplaced.most:
                return self._send_checked(unplaced, value, key, None)
        delivery = KeyedDelivery()
        delivery.key = key
        delivery.value = value
        delivery.stamp = stamp = self._now()
        delivery.home = unplaced
        if not 0.0 <= stamp < LAST_SECOND:
            clock_ms(stamp)  # which says what is wrong with the clock
        records = unplaced.records
        records.append(delivery)
        if len(records) >= unplaced.limit:
            self._filled_unplaced(unplaced)
        return delivery

    @calls_out
    def _send_checked(
        self, unplaced: UnplacedRecords, value: bytes | None, key: bytes | None, headers: Any
    ) -> Delivery:
        """Do the same for what may have headers, or no value, or be too large: key and value are serialized."""
        headers = checked_headers(headers)
        size = len(value or b"") + header_bytes(headers)
        if key is None or size + len(key) > unplaced.most:
            return self._send_full(self._registry.to_write(unplaced.topic.name), value, key, headers, None, None)
        delivery = new_delivery(value, key, headers, self._now())
        delivery.home = unplaced
        unplaced.records.append(delivery)
        if len(unplaced.records) >= unplaced.limit:
            self._filled_unplaced(unplaced)
        return delivery

    def _send_headed(self, buffer: RecordBuffer, value: bytes, headers: Any) -> Delivery:
        """Send a record without a key, but with headers, to the buffer of the sticky partition."""
        headers = checked_headers(headers)
        if len(value) + header_bytes(headers) > buffer.small:
            topic = self._registry.to_write(buffer.partition.topic)
            return self._send_full(topic, value, None, headers, None, None)
        delivery = new_delivery(value, None, headers, self._now())
        delivery.home = buffer
        buffer.records.append(delivery)
        if len(buffer.records) >= buffer.limit:
            self._filled(buffer)
        return delivery

    def _send_unplaced(self, unplaced: UnplacedRecords, delivery: FullDelivery, size: int) -> Delivery:
        """Send one to a topic that was looked up; ``size`` bytes count against ``buffer_memory``."""
        name = unplaced.topic.name
        self._pool.reserve(size, name)
        delivery.home = unplaced
        unplaced.records.append(delivery)
        if self._linger is None:
            self._start_linger_thread()
        if self._fast_keyed.get(name) is not unplaced:
            if not unplaced.is_congested:
                self._fast_keyed[name] = unplaced
            if self._linger is not None:
                self._linger.signal()
        if self._closed:  # behind the store: close() may have come in between
            self._fast_keyed.clear()
            for buffer in unplaced.place():
                unless_reentrant(buffer.drain)
        elif len(unplaced.records) >= unplaced.limit:
            self._filled_unplaced(unplaced)
        return delivery

    def _filled_unplaced(self, unplaced: UnplacedRecords) -> None:
        """Compute the partitions of what waits, and write the batches that are full now."""
        touched = unplaced.place()
        for buffer in touched:
            if len(buffer.records) >= buffer.limit:
                self._filled(buffer)
        if any(len(buffer.records) >= buffer.limit for buffer in touched):
            unplaced.is_congested = True
            self._fast_keyed.pop(unplaced.topic.name, None)
        elif touched:
            unplaced.is_congested = False

    def _key(self, key: Any) -> bytes | None:
        if self._serialize_key is not None:
            key = self._serialize_key(key)
        return key if type(key) is bytes else as_bytes(key, "key")

    def _value(self, value: Any) -> bytes | None:
        if self._serialize_value is not None:
            value = self._serialize_value(value)
        return value if type(value) is bytes else as_bytes(value, "value")

    # --- what the producer has besides ---

    @abstractmethod
    def _send_full(
        self,
        topic: Topic,
        value: bytes | None,
        key: bytes | None,
        headers: Any,
        partition: int | None,
        timestamp_ms: int | None,
    ) -> Delivery: ...

    @abstractmethod
    def _filled(self, buffer: RecordBuffer) -> None: ...

    @abstractmethod
    def _start_linger_thread(self) -> None: ...
