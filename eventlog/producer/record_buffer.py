"""Records that wait for their batch to fill, one buffer a partition.

Appending to ``records`` takes no lock: ``list.append`` is one atomic step, and the list is never exchanged for
another one. Whoever drains it, under the buffer's lock, reads a prefix, writes it, notes the result, gives each record
its outcome, and only then deletes that prefix: an interrupt before the note leaves the records to be written, one after
it leaves them to be settled, and a record that was appended meanwhile stays behind them.

What is being written is an `Attempt`. One that has failed and may succeed later stays in flight, and is tried again
before anything else is written: by the background thread, and by whoever waits.

The lock is taken by ``with`` alone: an interrupt can come between ``acquire()`` and the ``try`` that would release it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventlog.config import ProducerConfig
from eventlog.errors import ClosedError, DeliveryTimeoutError, EventLogError, ReentrantCallError
from eventlog.files.mutex import Mutex
from eventlog.files.signal_handlers import is_from_handler, pass_on_handlers
from eventlog.format.batch_encoder import EncodedBatch
from eventlog.format.producer_stamp import NO_STAMP, ProducerStamp
from eventlog.producer.attempt import Attempt, RetryPolicy, may_succeed_later
from eventlog.producer.delivery import Callback, Delivery, FullDelivery, Outcome
from eventlog.producer.notifications import Notifications
from eventlog.producer.record_columns import encode_records, record_bytes
from eventlog.topics.partition import Partition

if TYPE_CHECKING:
    from eventlog.model import AppendResult

_RETRY_PAUSE = 0.0005  # between looks at a partition whose lock another process holds
_FIRST_LIMIT = 64  # records, until the first batch has told their size


class RecordBuffer:
    """The unsent records of one partition."""

    # fmt: off
    __slots__ = (  # a dictionary this large would slow the hot path
        "__weakref__", "_batch_size", "_codec", "_durability", "_full_settled", "_in_flight", "_lock", "_most",
        "_policy", "_stamp", "_stamps_appends", "_told", "_unsettled", "full", "full_sent", "is_slow", "last", "limit",
        "on_drained", "partition", "records",
    )
    # fmt: on

    def __init__(
        self,
        partition: Partition,
        config: ProducerConfig,
        codec: int,
        most: int,
        policy: RetryPolicy,
        stamp: ProducerStamp | None,
    ) -> None:
        """``stamp`` is that of the first batch; None for a producer that is not idempotent."""
        self.partition = partition
        self.records: list[Delivery] = []
        self.full = min(_FIRST_LIMIT, most) if config.batch_size else 1  # records that make a batch
        self.limit = self.full  # when to try to write: later, where it could not be done at once
        self.last = False  # the producer was closed: whatever still slips in is written at once
        self.is_slow = (config.durability or partition.config.durability) == "disk"  # an append waits for the device
        self.full_sent = 0  # records with a key, headers or an own timestamp: counted before they are appended ...
        self._full_settled = 0  # ... and when they are settled; equal means that all that wait are plain values
        self._batch_size = config.batch_size
        self._most = most  # records that `limit` may reach: that values are small now says nothing about the next
        self._codec = codec
        self._durability = config.durability
        self._policy = policy
        self._stamps_appends = partition.config.message_timestamp_type == "LogAppendTime"
        self._lock = Mutex()
        self._stamp = stamp  # of what is written next, behind what is in flight
        self._in_flight: Attempt | None = None  # of the first records, or of a list that somebody sends as a whole
        self._unsettled: tuple[Attempt, AppendResult | EventLogError] | None = None
        self._told = Notifications()
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
            done = self._in_flight is None
        self._told.run()
        return done

    def _is_busy(self) -> bool:
        try:
            return self.partition.log.writer.is_busy()
        except (EventLogError, OSError) as error:
            pass_on_handlers(error)
            return False  # the append will tell what is wrong, to those whom it concerns

    def drain(
        self,
        deadline: float | None = None,
        *,
        last: bool = False,
        wanted: Delivery | None = None,
        patient: bool = True,
    ) -> bool:
        """Write what waits; False when that was not done before ``deadline`` (monotonic seconds).

        Raises ReentrantCallError when this thread is in the middle of writing to the partition.
        ``last`` says that the producer ends: a record that slips in later finds the batch full. Who wants the outcome
        of one delivery writes nothing if another thread has written that one meanwhile. Who is not ``patient`` does
        not wait for what failed to be tried again.
        """
        self.refuse_reentry()
        if wanted is None:
            newest = self.records[-1:]  # what is sent from here on need not be waited for
            wanted_now = newest[0] if newest else None
        else:
            wanted_now = wanted
        while True:
            while deadline is not None and (self._lock.locked() or self._is_busy()):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_RETRY_PAUSE)
            with self._lock:
                if last:
                    last = self._begin_last()
                if wanted is None or wanted.home is self:
                    self._drain()
                pause = self._seconds_until_retry()
            self._told.run()
            if pause is None or wanted_now is None or wanted_now.home is not self:
                return True
            if not patient:
                return False
            if deadline is not None and time.monotonic() + pause >= deadline:
                time.sleep(max(0.0, deadline - time.monotonic()))
                return False
            time.sleep(pause)

    def refuse_reentry(self) -> None:
        """Raise ReentrantCallError when this thread is in the middle of writing to the partition."""
        self._lock.refuse_reentry()
        self.partition.refuse_reentry()

    def _begin_last(self) -> bool:
        """The producer ends: what failed is tried once more at once, since there may be no later. Returns False."""
        if self._in_flight is not None:
            self._in_flight.retry_at = 0.0
        self.last, self.full, self.limit = True, 0, 0
        return False

    def _seconds_until_retry(self) -> float | None:
        attempt = self._in_flight
        return None if attempt is None else max(_RETRY_PAUSE, attempt.retry_at - time.monotonic())

    def seconds_until_retry(self, otherwise: float) -> float:
        """Return when what failed is to be tried again; ``otherwise`` if nothing has."""
        pause = self._seconds_until_retry()
        return otherwise if pause is None else pause

    @property
    def error(self) -> EventLogError | None:
        """Why what waits could not be written yet, if it was tried."""
        attempt = self._in_flight
        return None if attempt is None else attempt.error

    def guess_stamp(self) -> ProducerStamp:
        """Return the stamp that batches will probably get which are written behind what waits."""
        return NO_STAMP if self._stamp is None else self._stamp.after(len(self.records))

    def write_behind(self, batches: list[EncodedBatch]) -> Outcome:
        """Write what waits, then these batches, so that order is kept; returns when their outcome is known."""
        attempt = Attempt([], batches, None, self._policy.now())
        try:
            return self._write_until_known(attempt)
        except BaseException as interrupt:
            self._withdraw(attempt, interrupt)
            raise

    def _write_until_known(self, attempt: Attempt) -> Outcome:
        while attempt.outcome is None:
            with self._lock:
                self._drain()
                if self._in_flight is None and attempt.outcome is None:
                    self._begin(attempt)
                pause = self._seconds_until_retry()
            self._told.run()
            if pause is not None and attempt.outcome is None:
                time.sleep(pause)
        return attempt.outcome

    def _withdraw(self, attempt: Attempt, interrupt: BaseException) -> None:
        """Nobody waits for it any more, and the caller believes that it was not written: see that it never is."""
        with self._lock:
            if self._in_flight is attempt and self._unsettled is None:
                following = attempt.following(Outcome("", 0, error=interrupt))
                self._stamp = following  # from here on without a call, so that no interrupt comes in between
                self._in_flight = None

    def _drain(self) -> None:
        """Write everything that is here now. The caller holds the lock."""
        if self._unsettled is not None:
            self._settle()
        if self._in_flight is not None and not self._try(self._in_flight):
            return
        records = self.records[:]
        if not records:
            return
        plain = self.full_sent == self._full_settled
        try:
            batches = self._encode(records, plain)
        except EventLogError as error:
            pass_on_handlers(error)
            self._drain_one_by_one(records)
        else:
            self._write(records, batches)

    def _encode(self, records: list[Delivery], plain: bool) -> list[EncodedBatch]:
        return encode_records(self.partition, records, self._codec, plain=plain, stamp=self._stamp or NO_STAMP)

    def _drain_one_by_one(self, records: list[Delivery]) -> None:
        """One record cannot be encoded, as when it is too large even alone: it fails, and the others are written."""
        for record in records:
            try:
                batches = self._encode([record], plain=type(record) is Delivery)
            except EventLogError as error:
                pass_on_handlers(error)
                self._fail(Attempt([record], [], None, record.stamp), error)
            else:
                if not self._write([record], batches):
                    return

    def _write(self, records: list[Delivery], batches: list[EncodedBatch]) -> bool:
        if not self._try(Attempt(records, batches, self._stamp, records[0].stamp)):
            return False
        size = sum(batch.size for batch in batches)
        self.full = 0 if self.last else max(1, min(self._most, self._batch_size * len(records) // size))
        self.limit = self.full
        self.on_drained(self, size)
        return True

    def _begin(self, attempt: Attempt) -> None:
        """Write a list that was encoded before it was known what would come before it."""
        if self._stamp is not None:
            stamp, stamped = self._stamp, []
            for batch in attempt.batches:
                stamped.append(batch.stamped(stamp))
                stamp = stamp.after(batch.records)
            attempt.batches, attempt.stamp = stamped, self._stamp
        self._try(attempt)

    # --- attempts ---

    def _try(self, attempt: Attempt) -> bool:
        """Append what is or will be in flight; False when that is to be tried again. The caller holds the lock.

        An error that is final becomes the outcome of these records. After an interrupt they stay in flight.
        """
        if attempt.retry_at and time.monotonic() < attempt.retry_at:
            return False
        self._in_flight = attempt
        try:
            self._unsettled = (
                attempt,
                self.partition.log.writer.append(attempt.batches, self._durability, attempt.stamp, is_own=True),
            )
        except EventLogError as error:
            if isinstance(error, ReentrantCallError) or is_from_handler(error):
                self._keep_in_flight(attempt, error)
                raise
            if self._is_postponed(attempt, error):
                return False
            self._fail(attempt, error)
            return True
        except BaseException as interrupt:
            self._keep_in_flight(attempt, interrupt)
            raise
        self._settle()
        return True

    def _keep_in_flight(self, attempt: Attempt, interrupt: BaseException) -> None:
        """Whoever comes next tries it again, or settles it if it was written."""
        written: AppendResult | None = getattr(interrupt, "append_result", None)
        if written is not None:
            self._unsettled = attempt, written

    def _is_postponed(self, attempt: Attempt, error: EventLogError) -> bool:
        if not may_succeed_later(error) or self.partition.is_poisoned:
            return False
        if attempt.stamp is None and getattr(error, "append_result", None) is not None:
            return False  # the records are there, and without a stamp they would be written again
        if not attempt.postpone(error, self._policy):
            return False
        if attempt.is_first_failure:
            self.on_drained(self, 0)
            self._told.warn(
                "%d records for %s-%d were not written yet, and will be tried again for %.3g s: %s",
                attempt.count, self.partition.topic, self.partition.number, attempt.seconds_left(), error,
            )  # fmt: skip
        return True

    # --- outcomes ---

    def _outcome(self, result: AppendResult) -> Outcome:
        append_time = result.timestamp_ms if self._stamps_appends else None
        return Outcome(self.partition.topic, self.partition.number, result.base_offset, result.durable, append_time)

    def _settle(self) -> None:
        """Give each record its outcome, and take the records out of the buffer. May be repeated after an interrupt."""
        assert self._unsettled is not None
        attempt, result = self._unsettled
        records = attempt.records
        if isinstance(result, EventLogError):
            outcome = Outcome(self.partition.topic, self.partition.number, error=result)
        else:
            outcome = self._outcome(result)
        for index, record in enumerate(records):
            record.index = index
            record.home = outcome
            record.value = None  # who keeps deliveries does not want to keep the values alive
        attempt.outcome = outcome
        following = self._stamp if attempt.stamp is None else attempt.following(outcome)
        count, settled = len(records), self._full_settled
        if self.full_sent != settled:
            settled += sum(type(record) is FullDelivery for record in records)
        self._full_settled = settled  # from here on without a call, so that no interrupt comes in between
        self._stamp = following
        del self.records[:count]
        self._unsettled = self._in_flight = None
        self._told.settled(records)

    def _fail(self, attempt: Attempt, error: EventLogError) -> None:
        self._unsettled = attempt, error
        self._told.warn(
            "%d records for %s-%d were not written: %s",
            attempt.count, self.partition.topic, self.partition.number, error,
        )  # fmt: skip
        self._settle()
        self.on_drained(self, 0)

    def settle(self, delivery: Delivery, timeout: float | None) -> None:
        """Write until the delivery's outcome is known. Raises DeliveryTimeoutError, and ClosedError after a fork."""
        if not self.drain(None if timeout is None else time.monotonic() + timeout, wanted=delivery):
            raise self.timeout_error("the record was not written", timeout)
        if delivery.home is self:
            raise ClosedError("the record belongs to the parent of this process, which writes it")

    def add_callback(self, delivery: Delivery, callback: Callback) -> bool:
        """Keep the callback for later; False when the outcome is known already."""
        return self._told.add_callback(delivery, callback)

    # --- care ---

    def is_empty(self) -> bool:
        """Tell whether nothing waits, neither to be written nor to be settled."""
        return not self.records and self._unsettled is None and self._in_flight is None

    def pending_bytes(self) -> int:
        """Return the size of the keys and values that wait."""
        return sum(record_bytes(record) for record in self.records[:])

    def timeout_error(self, what: str, timeout: float | None) -> DeliveryTimeoutError:
        """Return the error for who could not wait any longer."""
        hint = "another process holds the partition's lock; it may still be written"
        if self.error is not None:
            hint = f"it is tried again, since: {self.error}"
        error = DeliveryTimeoutError(
            f"{what} within {timeout} s", topic=self.partition.topic, partition=self.partition.number, hint=hint
        )
        error.__cause__ = self.error
        return error

    def forget(self) -> None:
        """The producer ends: nothing more comes from it."""
        if self._stamp is not None and self.is_empty():
            self.partition.forget_producer(self._stamp.producer_id)

    def after_fork(self, producer_id: int | None) -> None:
        """In a forked child: the records are the parent's, who writes them."""
        self._lock = Mutex()
        self._stamp = None if producer_id is None else ProducerStamp(producer_id, 0, 0)
        self._unsettled = self._in_flight = None
        self._told.after_fork()
        self.records.clear()
        self.full_sent = self._full_settled = 0
