"""Records that wait for their batch to fill, one buffer a partition.

Appending to ``records`` takes no lock: ``list.append`` is one atomic step, and the list is never exchanged for
another one. Whoever drains it, under the buffer's lock, reads a prefix, writes it, notes the result, gives each record
its outcome, and only then deletes that prefix: an interrupt before the note leaves the records to be written, one after
it leaves them to be settled, and a record that was appended meanwhile stays behind them.

The lock is taken by ``with`` alone: an interrupt can come between ``acquire()`` and the ``try`` that would release it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventlog.errors import ClosedError, DeliveryTimeoutError, EventLogError
from eventlog.format.batch_encoder import EncodedBatch
from eventlog.producer.delivery import Callback, Delivery, FullDelivery, Outcome, run_callback
from eventlog.producer.record_columns import encode_records, record_bytes
from eventlog.topics.partition import Partition

if TYPE_CHECKING:
    from eventlog.model import AppendResult

logger = logging.getLogger("eventlog")
_RETRY_PAUSE = 0.0005  # between looks at a partition whose lock another process holds
_FIRST_LIMIT = 64  # records, until the first batch has told their size


class RecordBuffer:
    """The unsent records of one partition."""

    # fmt: off
    __slots__ = (  # a dictionary this large would slow the hot path
        "__weakref__", "_batch_size", "_callbacks", "_callbacks_lock", "_codec", "_durability", "_failed",
        "_full_settled", "_lock", "_most", "_settled", "_stamps_appends", "_unsettled", "full", "full_sent", "is_slow",
        "last", "limit", "on_drained", "partition", "records",
    )
    # fmt: on

    def __init__(
        self, partition: Partition, batch_size: int, codec: int, durability: str | None, most: int = _FIRST_LIMIT
    ) -> None:
        self.partition = partition
        self.records: list[Delivery] = []
        self.full = min(_FIRST_LIMIT, most) if batch_size else 1  # records that make a batch
        self.limit = self.full  # when to try to write: later, where it could not be done at once
        self.last = False  # the producer was closed: whatever still slips in is written at once
        self.is_slow = (durability or partition.config.durability) == "disk"  # an append waits for the device
        self.full_sent = 0  # records with a key, headers or an own timestamp: counted before they are appended ...
        self._full_settled = 0  # ... and when they are settled; equal means that all that wait are plain values
        self._batch_size = batch_size
        self._most = most  # records that `limit` may reach: that values are small now says nothing about the next
        self._codec = codec
        self._durability = durability
        self._stamps_appends = partition.config.message_timestamp_type == "LogAppendTime"
        self._lock = threading.Lock()
        self._unsettled: tuple[list[Delivery], AppendResult | EventLogError] | None = None
        self._callbacks: dict[Delivery, list[Callback]] = {}
        self._settled: deque[list[Delivery]] = deque()  # whose callbacks are still to be run
        self._failed: deque[tuple[int, EventLogError]] = deque()  # how many records, and why: still to be logged
        self._callbacks_lock = threading.Lock()
        self.on_drained: Callable[[RecordBuffer, int], None] = lambda buffer, size: None

    # --- draining ---

    def try_drain(self) -> bool:
        """Write what waits unless someone else is writing, here or in another process; tell if it was written."""
        if self._lock.locked():
            return False
        with self._lock:
            if self._is_busy():
                return False
            self._drain()
        self._run_callbacks()
        return True

    def _is_busy(self) -> bool:
        try:
            return self.partition.log.writer.is_busy()
        except (EventLogError, OSError):
            return False  # the append will tell what is wrong, to those whom it concerns

    def drain(self, deadline: float | None = None, *, last: bool = False, wanted: Delivery | None = None) -> bool:
        """Write what waits; False when the lock could not be had before ``deadline`` (monotonic seconds).

        ``last`` says that the producer ends: a record that slips in later finds the batch full. Who wants the outcome
        of one delivery writes nothing if another thread has written that one meanwhile.
        """
        while deadline is not None and (self._lock.locked() or self._is_busy()):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_RETRY_PAUSE)
        with self._lock:
            if last:
                self.last, self.full, self.limit = True, 0, 0
            if wanted is None or wanted.home is self:
                self._drain()
        self._run_callbacks()
        return True

    def write_behind(self, batches: list[EncodedBatch]) -> Outcome:
        """Write what waits, then these batches, so that order is kept."""
        with self._lock:
            if self.records:
                self._drain()
            try:
                outcome = self._outcome(self.partition.log.writer.append(batches, self._durability))
            except EventLogError as error:
                outcome = Outcome(self.partition.topic, self.partition.number, error=error)
                self._failed.append((sum(batch.records for batch in batches), error))
        self._run_callbacks()
        return outcome

    def _drain(self) -> None:
        """Write everything that is here now. The caller holds the lock."""
        if self._unsettled is not None:
            self._settle()
        records = self.records[:]
        if not records:
            return
        plain = self.full_sent == self._full_settled
        try:
            batches = self._encode(records, plain)
        except EventLogError:
            self._drain_one_by_one(records)
        else:
            self._write(records, batches)

    def _write(self, records: list[Delivery], batches: list[EncodedBatch]) -> None:
        """Append; an error becomes the outcome of these records. After an interrupt, unwritten ones stay here."""
        try:
            self._unsettled = records, self.partition.log.writer.append(batches, self._durability)
        except EventLogError as error:
            self._fail(records, error)
            self.on_drained(self, 0)
            return
        except BaseException as interrupt:
            written: AppendResult | None = getattr(interrupt, "append_result", None)
            if written is not None:
                self._unsettled = records, written
            raise
        self._settle()
        size = sum(batch.size for batch in batches)
        self.full = 0 if self.last else max(1, min(self._most, self._batch_size * len(records) // size))
        self.limit = self.full
        self.on_drained(self, size)

    def _drain_one_by_one(self, records: list[Delivery]) -> None:
        """One record cannot be encoded, as when it is too large even alone: it fails, and the others are written."""
        for record in records:
            try:
                batches = self._encode([record], plain=type(record) is Delivery)
            except EventLogError as error:
                self._fail([record], error)
            else:
                self._write([record], batches)

    def _encode(self, records: list[Delivery], plain: bool) -> list[EncodedBatch]:
        return encode_records(self.partition, records, self._codec, plain=plain)

    # --- outcomes ---

    def _outcome(self, result: AppendResult) -> Outcome:
        append_time = result.timestamp_ms if self._stamps_appends else None
        return Outcome(self.partition.topic, self.partition.number, result.base_offset, result.durable, append_time)

    def _settle(self) -> None:
        """Give each record its outcome, and take the records out of the buffer. May be repeated after an interrupt."""
        assert self._unsettled is not None
        records, result = self._unsettled
        if isinstance(result, EventLogError):
            outcome = Outcome(self.partition.topic, self.partition.number, error=result)
        else:
            outcome = self._outcome(result)
        for index, record in enumerate(records):
            record.index = index
            record.home = outcome
            record.value = None  # who keeps deliveries does not want to keep the values alive
        count, settled = len(records), self._full_settled
        if self.full_sent != settled:
            settled += sum(type(record) is FullDelivery for record in records)
        self._full_settled = settled  # from here on without a call, so that no interrupt comes in between
        del self.records[:count]
        self._unsettled = None
        if self._callbacks:
            self._settled.append(records)

    def _fail(self, records: list[Delivery], error: EventLogError) -> None:
        self._unsettled = records, error
        self._failed.append((len(records), error))
        self._settle()

    def settle(self, delivery: Delivery, timeout: float | None) -> None:
        """Write until the delivery's outcome is known. Raises DeliveryTimeoutError, and ClosedError after a fork."""
        if not self.drain(None if timeout is None else time.monotonic() + timeout, wanted=delivery):
            raise DeliveryTimeoutError(
                f"the record was not written within {timeout} s", topic=self.partition.topic,
                partition=self.partition.number,
                hint="another process holds the partition's lock; it may still be written",
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

    def _run_callbacks(self) -> None:
        """Call back without holding the buffer: a callback may send, flush, or wait for another delivery."""
        if self._failed:
            self._log_failures()
        while self._settled:
            try:
                records = self._settled.popleft()
            except IndexError:
                return  # another thread was here first
            for record in records:
                with self._callbacks_lock:
                    callbacks = self._callbacks.pop(record, ())
                for callback in callbacks:
                    run_callback(record, callback)

    def _log_failures(self) -> None:
        """Log each batch that failed, once: nobody may ever ask for its deliveries. A handler may send, too."""
        while self._failed:
            try:
                count, error = self._failed.popleft()
            except IndexError:
                return  # another thread was here first
            logger.warning(
                "%d records for %s-%d were not written: %s", count, self.partition.topic, self.partition.number, error
            )

    # --- care ---

    def is_empty(self) -> bool:
        """Tell whether nothing waits, neither to be written nor to be settled."""
        return not self.records and self._unsettled is None

    def pending_bytes(self) -> int:
        """Return the size of the keys and values that wait."""
        return sum(record_bytes(record) for record in self.records[:])

    def after_fork(self) -> None:
        """In a forked child: the records are the parent's, who writes them."""
        self._lock = threading.Lock()
        self._unsettled = None
        self._callbacks_lock = threading.Lock()
        self._callbacks.clear()
        self._settled.clear()
        self._failed.clear()
        self.records.clear()
        self.full_sent = self._full_settled = 0
