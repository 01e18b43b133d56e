"""One append of a producer, which is tried until it succeeds, or until nobody would wait for it any longer.

However often it is tried, it is the same batches with the same sequence numbers: a partition that has them already
says where, and writes nothing. Nothing newer is written before it.
"""

from __future__ import annotations

import errno
import itertools
import time
from collections.abc import Callable, Sequence

import attrs

from eventlog.errors import EventLogError, LockTimeoutError, LogFullError, StorageError
from eventlog.format.batch_encoder import EncodedBatch
from eventlog.format.producer_stamp import LAST_EPOCH, ProducerStamp
from eventlog.producer.delivery import Delivery, Outcome
from eventlog.producer.producer_id import new_producer_id

# What a device, or a process that has too much open, gets over; a file that is not there stays away.
_PASSING = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.ENOBUFS}


@attrs.frozen
class RetryPolicy:
    """How often, and for how long; Kafka's settings. ``now`` is the clock that records are stamped by."""

    retries: int
    backoff: float  # seconds
    delivery_timeout: float  # seconds, from the send
    now: Callable[[], float]

    def is_over(self, sent: float) -> bool:
        """Tell whether a record that was sent then is not to be waited for any longer."""
        return self.now() - sent > self.delivery_timeout

    def overdue(self, records: list[Delivery]) -> list[Delivery]:
        """Return the first of these records, as far as they are not to be waited for any longer."""
        return list(itertools.takewhile(lambda record: self.is_over(record.stamp), records))


class Attempt:
    """Batches that are being written: in the order of ``records``, or of a list that was sent as a whole."""

    __slots__ = ("_deadline", "_tries", "batches", "error", "outcome", "records", "retry_at", "sent", "stamp")

    def __init__(
        self,
        records: list[Delivery],
        batches: Sequence[EncodedBatch],
        stamp: ProducerStamp | None,
        sent: float,
    ) -> None:
        self.records = records
        self.batches = batches
        self.stamp = stamp
        self.sent = sent  # when the oldest record was, in seconds since the epoch
        self.outcome: Outcome | None = None
        self.error: EventLogError | None = None  # why it was not written yet
        self.retry_at = 0.0  # monotonic
        self._deadline = 0.0  # monotonic; known once it has failed
        self._tries = 0

    @property
    def count(self) -> int:
        """How many records it is about."""
        return len(self.records) or sum(batch.records for batch in self.batches)

    def postpone(self, error: EventLogError, policy: RetryPolicy) -> bool:
        """Note that it failed; False when it is not to be tried again."""
        now = time.monotonic()
        if not self._tries:  # the wall clock may have been set meanwhile: it never lengthens the time
            age = max(0.0, policy.now() - self.sent)
            self._deadline = now + max(0.0, policy.delivery_timeout - age)  # exactly `now` when the time is over
        self._tries += 1
        self.error = error
        self.retry_at = min(now + policy.backoff, self._deadline)
        return self._tries <= policy.retries and now < self._deadline

    def patience(self, policy: RetryPolicy) -> float:
        """Return for how many seconds to wait for another process's lock: for as long as the records have time."""
        if self._tries:
            return self.seconds_left()
        return max(0.0, policy.delivery_timeout - max(0.0, policy.now() - self.sent))

    @property
    def is_first_failure(self) -> bool:
        """True when it has failed once."""
        return self._tries == 1

    def seconds_left(self) -> float:
        """Return how long it will still be tried."""
        return max(0.0, self._deadline - time.monotonic())

    def following(self, outcome: Outcome) -> ProducerStamp | None:
        """Return the stamp of what is written next. After a failure it is one of a new epoch, which begins at 0.

        Then it does not matter whether the partition has the batches or not (KIP-360).
        """
        stamp = self.stamp
        if stamp is None:
            return None
        if outcome.error is None:
            return stamp.after(self.count)
        if stamp.epoch < LAST_EPOCH:
            return ProducerStamp(stamp.producer_id, stamp.epoch + 1, 0)
        return ProducerStamp(new_producer_id(), 0, 0)


def may_succeed_later(error: EventLogError) -> bool:
    """Tell whether the same append may succeed if it is tried again: space may be freed, a device may recover.

    After a failed sync it will not, before the partition is opened anew: see `Partition.is_poisoned`.
    """
    if isinstance(error, LogFullError | LockTimeoutError):
        return True
    cause = error.__cause__
    return isinstance(error, StorageError) and (
        isinstance(cause, MemoryError) or getattr(cause, "errno", None) in _PASSING
    )
