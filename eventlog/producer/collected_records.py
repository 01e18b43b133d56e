"""What one open transaction has been sent for a topic, and what has no partition yet.

A send appends to ``records`` without a lock, since ``list.append`` is one atomic step, and then looks whether the
transaction has closed the list. The transaction, under its manager's lock:

1. Closes the list. A send that appends from here on sees that, and waits for the lock.
2. Places what is in the list: finds the partitions of all, and moves the records to their parts, in one step that no
   interrupt and no other thread comes into. Or gives all an outcome, when it ends without a commit.

So a send that finds the list closed, and its record still there once it has the lock, came too late: it takes the
record out again, and sends it in the way that looks at everything. A send with a partition, or of a list, has the
records placed first while the list stays open: a partition keeps the order of sends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from eventlog.errors import BufferExhaustedError
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.producer.delivery import Delivery, Outcome
from eventlog.producer.pending_home import Callbacks, PendingHome
from eventlog.producer.record_buffer import BATCH_OVERHEAD
from eventlog.producer.record_columns import record_bytes
from eventlog.topics.topic import Topic

RECORD_OVERHEAD = 64  # bytes that a waiting record takes besides its key and value, roughly


class TransactionLimits:
    """What one transaction may take, in bytes and in time, and for as long as no other producer has begun."""

    __slots__ = ("_deadline", "_fence", "_monotonic", "_producer", "limit", "size")

    def __init__(
        self, limit: int, monotonic: Callable[[], float], deadline: float, fence: memoryview, producer: memoryview
    ) -> None:
        """``limit`` is in bytes; ``fence`` is `TransactionalId.fence`, which has to tell of this ``producer``."""
        self.limit = limit
        self.size = 0
        self._monotonic = monotonic
        self._deadline = deadline
        self._fence = fence
        self._producer = producer

    def take(self, size: int) -> bool:
        """Count ``size`` bytes if they fit in, and anything can be committed yet: in time, and as the last producer."""
        if self._fence != self._producer or self._monotonic() > self._deadline:
            return False
        size += self.size
        if size > self.limit:
            return False
        self.size = size  # no call since it was read: no other thread comes in between
        return True

    def reserve(self, size: int, topic: str, partition: int | None = None) -> None:
        """Count ``size`` bytes. Raises BufferExhaustedError when they do not fit in; nothing has changed then."""
        if self.size + size > self.limit:
            raise BufferExhaustedError(
                f"the open transaction holds {self.size} bytes, and buffer_memory is {self.limit}",
                topic=topic, partition=partition,
                hint="this record was not taken. Commit more often, or give the producer a larger buffer_memory",
            )  # fmt: skip
        self.size += size


@final
class CollectedRecords(PendingHome):
    """The records of one topic, in the order in which they were sent."""

    __slots__ = ("__weakref__", "_is_thinned", "at_once", "is_closed", "limits", "most", "records", "topic")

    def __init__(self, topic: Topic, limits: TransactionLimits, callbacks: Callbacks, *, is_serialized: bool) -> None:
        """``is_serialized`` says that keys or values have a serializer."""
        super().__init__(topic.name, None, callbacks)
        self.topic = topic
        self.limits = limits
        self.records: list[Delivery] = []
        self.is_closed = False
        self.most = topic.config.max_message_bytes - BATCH_OVERHEAD  # bytes of a record that surely fits into a batch
        self.at_once = -1 if is_serialized else self.most  # the same for records that need no serializer
        self._is_thinned = False
        topic.users.add(self)

    # --- for the transaction, under the lock ---

    def kept(self, records: list[Delivery]) -> list[Delivery]:
        """Return those that were not withdrawn."""
        return [record for record in records if not record.done()] if self._is_thinned else records

    def remove(self, delivery: Delivery) -> bool:
        """Take a record out again; False when it was placed, or has its outcome."""
        if delivery.done():
            return False
        try:
            self.records.remove(delivery)
        except ValueError as error:
            pass_on_handlers(error)
            return False
        self.limits.size -= record_bytes(delivery) + RECORD_OVERHEAD
        return True

    # --- for a send that cannot have the lock ---

    def withdraw(self, delivery: Delivery, error: BaseException) -> None:
        """See that the record is never placed, whoever holds the lock: in a signal handler, it is this very thread."""
        self._is_thinned = True
        if not delivery.done():
            delivery.home = Outcome(self.topic.name, -1, error=error)

    # --- care ---

    def topic_is_gone(self) -> None:
        """Take no more records without the topic being looked up again: it was deleted."""
        self.most = self.at_once = -1
