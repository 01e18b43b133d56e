"""Records that wait for their batch to fill, one buffer a partition.

Appending to ``records`` takes no lock: ``list.append`` is one atomic step, and the list is never exchanged for
another one. Whoever drains it, under the buffer's lock, reads a prefix, writes it, notes the result, gives each record
its outcome, and only then deletes that prefix: an interrupt before the note leaves the records to be written, one after
it leaves them to be settled, and a record that was appended meanwhile stays behind them.

What has failed and may succeed later (`InFlight`) is tried again by the background thread, and by whoever waits.

The lock is taken by ``with`` alone: an interrupt can come between ``acquire()`` and the ``try`` that would release it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from eventlog.config import ProducerConfig, TopicConfig
from eventlog.errors import ClosedError, EventLogError, ReentrantCallError
from eventlog.files.mutex import Mutex
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.batch_encoder import EncodedBatch
from eventlog.format.producer_stamp import NO_STAMP, ProducerStamp
from eventlog.producer.attempt import Attempt, RetryPolicy
from eventlog.producer.delivery import Callback, Delivery, Outcome
from eventlog.producer.delivery_errors import not_in_time
from eventlog.producer.in_flight import InFlight
from eventlog.producer.record_columns import encode_or_refuse, record_bytes
from eventlog.topics.partition import Partition

_RETRY_PAUSE = 0.0005  # between looks at a partition whose lock another process holds
SMALL = 4096  # bytes: larger records are counted one by one against buffer_memory
BATCH_OVERHEAD = 256  # bytes, rounded up: what a batch of one record needs beside key and value
_FIRST_LIMIT = 64  # records, until the first batch has told their size


def most_small_bytes(config: TopicConfig) -> int:
    """Return how many bytes of key, value and headers a record may have that is not counted, and fits into a batch."""
    return min(SMALL, config.max_message_bytes - BATCH_OVERHEAD)


class RecordBuffer(InFlight):
    """The unsent records of one partition."""

    __slots__ = (
        "__weakref__",
        "_batch_size",
        "_codec",
        "_lock",
        "_most",
        "before",
        "full",
        "is_slow",
        "last",
        "limit",
        "small",
    )

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
        super().__init__(partition, config, policy, stamp)
        self.before: Sequence[Delivery] = ()  # records some of which are to come here: not to be overtaken
        self.full = min(_FIRST_LIMIT, most) if config.batch_size else 1  # records that make a batch
        self.limit = self.full  # when to try to write: later, where it could not be done at once
        self.last = False  # the producer was closed: whatever still slips in is written at once
        self.is_slow = (config.durability or partition.config.durability) == "disk"  # an append waits for the device
        self.small = most_small_bytes(partition.config)
        self._batch_size = config.batch_size
        self._most = most  # records that `limit` may reach: that values are small now says nothing about the next
        self._codec = codec
        self._lock = Mutex()

    @property
    def name(self) -> str:
        """What is told of the deliveries that wait here: the topic and the partition."""
        return f"{self.partition.topic}-{self.partition.number}"

    # --- draining ---

    def try_drain(self) -> bool:
        """Write what waits unless someone else is writing, here or in another process; tell if it was written."""
        if self._lock.locked():
            return False
        try:
            with self._lock:
                if self._is_busy():
                    self._expire()
                    return not self.records
                self._drain()
                return self._in_flight is None
        finally:
            self._told.run()

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
        # What is sent from here on need not be waited for.
        wanted_now = wanted or next(iter(self.records[-1:]), None)
        while True:
            if deadline is not None and not self._wait_for_turn(deadline, wanted_now):
                return wanted_now is not None and wanted_now.home is not self
            try:
                with self._lock:
                    if last:
                        last = self._begin_last()
                    if wanted is None or wanted.home is self:
                        self._drain()
                    pause = self._seconds_until_retry()
            finally:
                self._told.run()
            if pause is None or wanted_now is None or wanted_now.home is not self:
                return True
            if not patient:
                return False
            if deadline is not None and time.monotonic() + pause >= deadline:
                time.sleep(max(0.0, deadline - time.monotonic()))
                return False
            time.sleep(pause)

    def write_now(self, *, patient: bool) -> bool:
        """Do the same for a record that was just sent; False also in the middle of an append of this thread."""
        try:
            return self.drain(patient=patient)
        except ReentrantCallError as error:
            pass_on_handlers(error)
            return False

    def _wait_for_turn(self, deadline: float, wanted: Delivery | None) -> bool:
        """Wait while someone else writes, here or elsewhere; False when the time is over, or ``wanted`` is known."""
        self._lock.refuse_reentry()
        self.partition.refuse_reentry()
        while self._lock.locked() or self._is_busy():
            if time.monotonic() >= deadline or (wanted is not None and wanted.home is not self):
                return False
            time.sleep(_RETRY_PAUSE)
        return True

    def _begin_last(self) -> bool:
        """The producer ends: what failed is tried once more at once, since there may be no later. Returns False."""
        if self._in_flight is not None:
            self._in_flight.retry_at = 0.0
        self.last, self.full, self.limit = True, 0, 0
        return False

    def guess_stamp(self) -> ProducerStamp:
        """Return the stamp that batches will probably get which are written behind what waits."""
        return NO_STAMP if self._stamp is None else self._stamp.after(len(self.records))

    def write_behind(self, batches: list[EncodedBatch], stamp: ProducerStamp) -> Outcome:
        """Write what waits, then these batches, so that order is kept; returns when their outcome is known.

        ``stamp`` is the one that they have, by `guess_stamp`.
        """
        attempt = Attempt([], batches, stamp, self._policy.now())
        try:
            return self._write_until_known(attempt)
        except BaseException as interrupt:
            self._withdraw(attempt, interrupt)
            raise

    def _write_until_known(self, attempt: Attempt) -> Outcome:
        while attempt.outcome is None:
            try:
                with self._lock:
                    self._drain()
                    if self._in_flight is None and attempt.outcome is None:
                        self._begin(attempt)
                    pause = self._seconds_until_retry()
            finally:
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
        if records:
            self._write_waiting(records)

    def _write_waiting(self, records: list[Delivery]) -> bool:
        """Write these records; False when that is to be tried again.

        One that cannot be encoded, whatever the reason, fails alone and in its turn: the others are found by halves.
        """
        try:
            batches = encode_or_refuse(self.partition, records, self._codec, stamp=self._stamp or NO_STAMP)
        except EventLogError as error:
            pass_on_handlers(error)
            if len(records) == 1:
                self._fail(Attempt(records, [], None, records[0].stamp), error)
                return True
            middle = len(records) // 2
            halves = records[:middle], records[middle:]
            return all(self._write_waiting(half) for half in halves)
        return self._write(records, batches)

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
        if self._stamp is not None and self._stamp != attempt.stamp:
            stamp, stamped = self._stamp, []
            for batch in attempt.batches:
                stamped.append(batch.stamped(stamp))
                stamp = stamp.after(batch.records)
            attempt.batches = stamped
        attempt.stamp = self._stamp
        self._try(attempt)

    # --- what a delivery asks of its home ---

    def settle(self, delivery: Delivery, timeout: float | None) -> None:
        """Write until the delivery's outcome is known. Raises DeliveryTimeoutError, and ClosedError after a fork."""
        if not self.drain(None if timeout is None else time.monotonic() + timeout, wanted=delivery):
            raise not_in_time(self.partition, "the record was not written", timeout, self.error)
        if delivery.home is self:
            raise ClosedError("the record belongs to the parent of this process, which writes it")

    def add_callback(self, delivery: Delivery, callback: Callback) -> bool:
        """Keep the callback for later; False when the outcome is known already."""
        return self._told.add_callback(delivery, callback)

    def tell(self) -> None:
        """Tell what an interrupt has kept from being told."""
        if not self._told.is_done:
            self._told.run()

    # --- care ---

    def is_empty(self) -> bool:
        """Tell whether nothing waits: to be written, to be settled, or to be told."""
        return not self.records and self._unsettled is None and self._in_flight is None and self._told.is_done

    def pending_bytes(self) -> int:
        """Return the size of the keys and values that wait."""
        return sum(record_bytes(record) for record in self.records[:])

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
