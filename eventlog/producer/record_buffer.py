"""Records that wait for their batch to fill, one buffer a partition.

Appending to ``records`` takes no lock: ``list.append`` is one atomic step, and the list is never exchanged for
another one. Whoever drains it, under the buffer's lock, reads a prefix, writes it, and only then deletes that prefix:
an interrupt in between leaves the records where they are, and a record that was appended meanwhile stays behind it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventlog.errors import ClosedError, DeliveryTimeoutError, EventLogError, RecordTooLargeError
from eventlog.format.batch_encoder import EncodedBatch
from eventlog.producer.delivery import Callback, Delivery, FullDelivery, Outcome, run_callback
from eventlog.topics.partition import Partition

if TYPE_CHECKING:
    from eventlog.model import AppendResult

_RETRY_PAUSE = 0.0005  # between looks at a partition whose lock another process holds
_FIRST_LIMIT = 64  # records, until the first batch has told their size


class RecordBuffer:
    """The unsent records of one partition."""

    def __init__(self, partition: Partition, batch_size: int, codec: int, durability: str | None) -> None:
        self.partition = partition
        self.records: list[Delivery] = []
        self.limit = _FIRST_LIMIT if batch_size else 1
        self.is_slow = (durability or partition.config.durability) == "disk"  # an append waits for the device
        self.full_sent = 0  # records with a key, headers or an own timestamp: counted before they are appended ...
        self._full_settled = 0  # ... and when they are settled; equal means that all that wait are plain values
        self._batch_size = batch_size
        self._codec = codec
        self._durability = durability
        self._stamps_appends = partition.config.message_timestamp_type == "LogAppendTime"
        self._lock = threading.Lock()
        self._callbacks: dict[Delivery, list[Callback]] = {}
        self._callbacks_lock = threading.Lock()
        self.on_drained: Callable[[RecordBuffer, int], None] = lambda buffer, size: None

    # --- draining ---

    def try_drain(self) -> bool:
        """Write what waits unless someone else is writing, here or in another process; tell if it was written."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self.partition.log.is_busy():
                return False
            self._drain()
        finally:
            self._lock.release()
        return True

    def drain(self, deadline: float | None = None) -> bool:
        """Write what waits; False when the lock could not be had before ``deadline`` (monotonic seconds)."""
        if not self._acquire(deadline):
            return False
        try:
            self._drain()
        finally:
            self._lock.release()
        return True

    def write_behind(self, batches: list[EncodedBatch]) -> Outcome:
        """Write what waits, then these batches, so that order is kept."""
        with self._lock:
            if self.records:
                self._drain()
            try:
                return self._outcome(self.partition.log.append(batches, self._durability))
            except EventLogError as error:
                return Outcome(self.partition.topic, self.partition.number, error=error)

    def _acquire(self, deadline: float | None) -> bool:
        if deadline is None:
            return self._lock.acquire()
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return False
        while self.partition.log.is_busy():
            if time.monotonic() >= deadline:
                self._lock.release()
                return False
            time.sleep(_RETRY_PAUSE)
        return True

    def _drain(self) -> None:
        """Write everything that is here now. The caller holds the lock."""
        records = self.records[:]
        if not records:
            return
        plain = self.full_sent == self._full_settled
        try:
            batches = self._encode(records, plain)
        except RecordTooLargeError:
            self._drain_one_by_one(records)
        else:
            self._write(records, batches)

    def _write(self, records: list[Delivery], batches: list[EncodedBatch]) -> None:
        """Append; an error becomes the outcome of these records. After an interrupt, unwritten ones stay here."""
        try:
            result = self.partition.log.append(batches, self._durability)
        except EventLogError as error:
            self._settle(records, Outcome(self.partition.topic, self.partition.number, error=error))
            return
        except BaseException as interrupt:
            written: AppendResult | None = getattr(interrupt, "append_result", None)
            if written is not None:
                self._settle(records, self._outcome(written))
            raise
        self._settle(records, self._outcome(result))
        size = sum(batch.size for batch in batches)
        self.limit = max(1, self._batch_size * len(records) // size)
        self.on_drained(self, size)

    def _drain_one_by_one(self, records: list[Delivery]) -> None:
        """One record is too large even when it is alone: it fails, and the others are written."""
        for record in records:
            try:
                batches = self._encode([record], plain=type(record) is Delivery)
            except EventLogError as error:
                self._settle([record], Outcome(self.partition.topic, self.partition.number, error=error))
            else:
                self._write([record], batches)

    def _encode(self, records: list[Delivery], plain: bool) -> list[EncodedBatch]:
        values = [record.value for record in records]
        stamps = [record.stamp for record in records]
        first, last = int(stamps[0] * 1000), int(stamps[-1] * 1000)
        if plain:
            timestamps = first if first == last else [int(stamp * 1000) for stamp in stamps]
            return self.partition.encode(values, None, timestamps, None, self._codec)
        full = [record if isinstance(record, FullDelivery) else None for record in records]
        keys = [record and record.key for record in full]
        headers = [record and record.headers for record in full]
        return self.partition.encode(
            values,
            keys if any(key is not None for key in keys) else None,
            [
                int(stamp * 1000) if record is None else record.timestamp_ms
                for record, stamp in zip(full, stamps, strict=True)
            ],
            headers if any(headers) else None,
            self._codec,
        )

    # --- outcomes ---

    def _outcome(self, result: AppendResult) -> Outcome:
        append_time = result.timestamp_ms if self._stamps_appends else None
        return Outcome(self.partition.topic, self.partition.number, result.base_offset, result.durable, append_time)

    def _settle(self, records: list[Delivery], outcome: Outcome) -> None:
        """Give each record its outcome, and take the records out of the buffer."""
        for index, record in enumerate(records):
            record.index = index
            record.home = outcome
            record.value = None  # who keeps deliveries does not want to keep the values alive
            if type(record) is FullDelivery:
                self._full_settled += 1
        del self.records[: len(records)]
        if self._callbacks:
            self._run_callbacks(records)

    def settle(self, delivery: Delivery, timeout: float | None) -> None:
        """Write until the delivery's outcome is known. Raises DeliveryTimeoutError, and ClosedError after a fork."""
        if not self.drain(None if timeout is None else time.monotonic() + timeout):
            raise DeliveryTimeoutError(
                f"the record was not written within {timeout} s", topic=self.partition.topic,
                partition=self.partition.number, hint="another process holds the partition's lock; it may still be written",
            )  # fmt: skip
        if delivery.home is self:
            raise ClosedError("the record belongs to the parent of this process, which writes it")

    def add_callback(self, delivery: Delivery, callback: Callback) -> bool:
        """Keep the callback for later; False when the outcome is known already."""
        with self._callbacks_lock:
            if delivery.home is not self:
                return False
            self._callbacks.setdefault(delivery, []).append(callback)
            return True

    def _run_callbacks(self, records: list[Delivery]) -> None:
        for record in records:
            with self._callbacks_lock:
                callbacks = self._callbacks.pop(record, ())
            for callback in callbacks:
                run_callback(record, callback)

    # --- care ---

    def pending_bytes(self) -> int:
        """Return the size of the keys and values that wait."""
        return sum(record_bytes(record) for record in self.records[:])

    def after_fork(self) -> None:
        """In a forked child: the records are the parent's, who writes them."""
        self._lock = threading.Lock()
        self._callbacks_lock = threading.Lock()
        self._callbacks.clear()
        self.records.clear()
        self.full_sent = self._full_settled = 0


def record_bytes(record: Delivery) -> int:
    """Return the size of a waiting record's value and key, in bytes."""
    value = record.value
    size = 0 if value is None else len(value)
    if isinstance(record, FullDelivery) and record.key is not None:
        size += len(record.key)
    return size
