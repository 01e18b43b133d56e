"""How a producer sends into its open transaction: into `CollectedRecords`, to be placed when it is committed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from eventlog.errors import EventLogError
from eventlog.files.mutex import calls_out
from eventlog.format.record_input import checked_headers, clock_ms
from eventlog.producer.arguments import header_bytes
from eventlog.producer.collected_records import RECORD_OVERHEAD, CollectedRecords
from eventlog.producer.delivery import Delivery, KeyedDelivery
from eventlog.producer.keyed_sends import LAST_SECOND, KeyedSends, new_delivery
from eventlog.producer.record_buffer import RecordBuffer
from eventlog.producer.record_columns import record_bytes
from eventlog.producer.transaction_manager import TransactionManager
from eventlog.producer.unplaced_records import UnplacedRecords
from eventlog.topics.topic import Topic


class TransactionSends(KeyedSends):
    """The part of a producer that is about what it sends in transactions."""

    __slots__ = ()

    _fast: dict[str, RecordBuffer | CollectedRecords]  # where a plain value goes without further thought
    _transactions: TransactionManager | None

    def _send_in_transaction(self, collected: CollectedRecords, value: Any, key: Any, headers: Any) -> Delivery:
        """Send a record to a topic that the transaction knows: no lock is taken, and nothing is looked up."""
        if (
            headers is not None
            or type(value) is not bytes
            or (key is not None and type(key) is not bytes)
            or (size := len(value) if key is None else len(key) + len(value)) > collected.at_once
        ):
            delivery = self._serialized(value, key, headers)
            size = record_bytes(delivery)
            if size + header_bytes(delivery.headers) > collected.most:
                return self._send_again(collected, delivery)
        else:
            if key is None:
                delivery = Delivery()
            else:
                delivery = KeyedDelivery()
                delivery.key = key
            delivery.value = value
            delivery.stamp = stamp = self._now()
            if not 0.0 <= stamp < LAST_SECOND:
                clock_ms(stamp)  # which says what is wrong with the clock
        if not collected.limits.take(size + RECORD_OVERHEAD):
            return self._send_again(collected, delivery)
        delivery.home = collected
        collected.records.append(delivery)
        return self._sent_late(collected, delivery) if collected.is_closed else delivery

    @calls_out
    def _serialized(self, value: Any, key: Any, headers: Any) -> Delivery:
        return new_delivery(self._value(value), self._key(key), checked_headers(headers), self._now())

    def _sent_late(self, collected: CollectedRecords, delivery: Delivery) -> Delivery:
        """The transaction was closed at the same moment: send the record again, unless it was taken before that."""
        assert self._transactions is not None
        if self._transactions.remove(collected, delivery):
            return self._send_again(collected, delivery)
        return delivery

    def _send_again(self, collected: CollectedRecords, delivery: Delivery) -> Delivery:
        """Send in the way that looks at everything, and says what is wrong."""
        self._check_open()
        topic = self._registry.to_write(collected.topic.name)
        return self._send_full(topic, delivery.value, delivery.key, delivery.headers, None, None)

    def _send_with_lock(self, transactions: TransactionManager, topic: Topic, number: int, delivery: Delivery) -> None:
        """Send a record to its partition; those that follow may be collected."""
        collected = transactions.send(topic, number, delivery)
        if collected is not None and self._placement.hashes_keys:
            self._fast[topic.name] = self._fast_keyed[topic.name] = collected

    def place(self, delivery: Delivery) -> None:
        """Find the partition of a record that was sent, if it is not known yet."""
        if isinstance(delivery.home, UnplacedRecords):
            delivery.home.place()
        elif isinstance(delivery.home, CollectedRecords) and self._transactions is not None:
            self._transactions.place(delivery)

    def fail_transaction(self, error: EventLogError) -> None:
        """A record has failed: the open transaction, if there is one, can only be aborted, as in Kafka."""
        if self._transactions is not None:
            self._transactions.fail(error)

    @abstractmethod
    def _check_open(self) -> None: ...
