"""What is being written to a partition for a producer, and what becomes of it.

An `Attempt` that has failed and may succeed later stays in flight, and is tried again before anything else is written.
Its result is noted in one step, and then given to each record: an interrupt before the note leaves the records to be
written, one after it leaves them to be settled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eventlog.config import ProducerConfig
from eventlog.errors import EventLogError, ReentrantCallError
from eventlog.files.signal_handlers import is_from_handler, pass_on_handlers
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.model import AppendResult
from eventlog.producer.attempt import Attempt, RetryPolicy, may_succeed_later
from eventlog.producer.delivery import Delivery, Outcome
from eventlog.producer.delivery_errors import expired, not_appended
from eventlog.producer.notifications import Notifications
from eventlog.topics.partition import Partition

_RETRY_PAUSE = 0.0005  # at least, between two tries


class InFlight:
    """The records of one partition, and of these what is being written. Its caller holds the buffer's lock."""

    # fmt: off
    __slots__ = (  # a dictionary this large would slow the hot path
        "_durability", "_in_flight", "_policy", "_stamp", "_stamps_appends", "_told", "_unsettled", "on_drained",
        "partition", "records",
    )
    # fmt: on

    def __init__(
        self, partition: Partition, config: ProducerConfig, policy: RetryPolicy, stamp: ProducerStamp | None
    ) -> None:
        """``stamp`` is that of the first batch; None for a producer that is not idempotent."""
        self.partition = partition
        self.records: list[Delivery] = []
        self._durability = config.durability
        self._policy = policy
        self._stamps_appends = partition.config.message_timestamp_type == "LogAppendTime"
        self._stamp = stamp  # of what is written next, behind what is in flight
        self._in_flight: Attempt | None = None  # of the first records, or of a list that somebody sends as a whole
        self._unsettled: tuple[Attempt, AppendResult | EventLogError] | None = None
        self._told = Notifications()
        self.on_drained: Callable[[Any, int], None] = lambda buffer, size: None

    def _is_busy(self) -> bool:
        try:
            return self.partition.is_busy
        except (EventLogError, OSError) as error:
            pass_on_handlers(error)
            return False  # the append will tell what is wrong, to those whom it concerns

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
                self.partition.log.writer.append(
                    attempt.batches,
                    self._durability,
                    attempt.stamp,
                    is_own=True,
                    patience=attempt.patience(self._policy),
                ),
            )
        except EventLogError as error:
            if isinstance(error, ReentrantCallError) or is_from_handler(error):
                self._keep_in_flight(attempt, error)
                raise
            return self._has_failed(attempt, error)
        except Exception as error:
            self._keep_in_flight(attempt, error)
            pass_on_handlers(error)
            if self._unsettled is None:
                return self._has_failed(attempt, not_appended(self.partition, error))
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

    def _has_failed(self, attempt: Attempt, error: EventLogError) -> bool:
        """Fail for good, and return True; or False when the attempt is to be made again."""
        if self._is_postponed(attempt, error):
            return False
        self._fail(attempt, error)
        return True

    def _expire(self) -> None:
        """While another process holds the partition: give up what has waited for ``delivery_timeout_ms``, as Kafka."""
        if self._unsettled is not None:
            self._settle()
        attempt, policy = self._in_flight, self._policy
        if attempt is not None:
            if not policy.is_over(attempt.sent):
                return
            self._fail(attempt, attempt.error or expired(self.partition, attempt.count, policy.delivery_timeout))
        over = policy.overdue(self.records[:])
        if over:
            attempt = Attempt(over, [], None, over[0].stamp)
            self._fail(attempt, expired(self.partition, len(over), policy.delivery_timeout))

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
        count = len(records)
        self._stamp = following  # from here on without a call, so that no interrupt comes in between
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
