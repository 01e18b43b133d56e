"""The buffers of a producer, one a partition, and the memory they may take together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from eventlog.config import ProducerConfig
from eventlog.errors import BufferExhaustedError
from eventlog.files.mutex import Mutex
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.producer.attempt import RetryPolicy
from eventlog.producer.delivery import Delivery
from eventlog.producer.delivery_errors import not_in_time
from eventlog.producer.producer_id import new_producer_id
from eventlog.producer.record_buffer import SMALL, RecordBuffer, most_small_bytes
from eventlog.producer.unplaced_records import UnplacedRecords
from eventlog.topics.partition import Partition
from eventlog.topics.topic import Topic

_SHORTEST_PAUSE = 0.001  # seconds, where another process holds a partition
logger = logging.getLogger("eventlog")
_CONGESTED = 8  # batches that may wait in one buffer before its records are counted one by one


def may_wait_uncounted(config: ProducerConfig) -> bool:
    """Tell whether small records may wait without being counted one by one, and without anything else to be done."""
    return (
        config.acks != 0
        and config.linger_ms > 0
        and config.batch_size > 0
        and config.transactional_id is None
        and config.buffer_memory >= 2 * _CONGESTED * config.batch_size
    )


class BufferPool:
    """Makes buffers, finds them, and waits for room in them.

    ``most_uncounted`` is how many plain values of up to `SMALL` bytes may wait in one buffer without being counted.
    """

    def __init__(
        self,
        config: ProducerConfig,
        codec: int,
        now: Callable[[], float],
        on_drained: Callable[[RecordBuffer, int], None],
    ) -> None:
        self.most_uncounted = config.buffer_memory // (2 * SMALL)
        self._policy = RetryPolicy(
            config.retries, config.retry_backoff_ms / 1000, config.delivery_timeout_ms / 1000, now
        )
        self._producer_id = new_producer_id() if config.enable_idempotence else None
        self._config = config
        self._codec = codec
        self._on_drained = on_drained
        self._lock = Mutex()
        self._buffers: dict[tuple[str, int], RecordBuffer] = {}
        self._is_serialized = (config.key_serializer, config.value_serializer) != (None, None)
        self._unplaced: dict[str, UnplacedRecords] = {}
        self._retired_unplaced: list[UnplacedRecords] = []
        self._retired: list[RecordBuffer] = []  # of topics that were deleted and made anew
        self._waiting_bytes = 0  # never too low: what was counted last, and every slow send since

    def get(self, topic: Topic, number: int) -> RecordBuffer:
        """Return the buffer of a partition."""
        buffer = self._buffers.get((topic.name, number))
        partition = topic.partitions[number]
        if buffer is None or buffer.partition is not partition:  # the topic was deleted and made anew
            buffer = self._replace(topic, number, partition)
        return buffer

    def _replace(self, topic: Topic, number: int, partition: Partition) -> RecordBuffer:
        with self._lock:
            buffer = self._buffers.get((topic.name, number))
            if buffer is not None and buffer.partition is partition:
                return buffer  # another thread was here first
            if buffer is not None:
                self._retired = [*(retired for retired in self._retired if not retired.is_empty()), buffer]
            config, most = self._config, max(1, self.most_uncounted)
            stamp = None if self._producer_id is None else ProducerStamp(self._producer_id, 0, 0)
            buffer = RecordBuffer(partition, config, self._codec, most, self._policy, stamp)
            buffer.on_drained = self._on_drained
            unplaced = self._unplaced.get(topic.name)
            if unplaced is not None and unplaced.topic is topic:
                buffer.before = unplaced.records
            self._buffers[topic.name, number] = buffer
            return buffer

    def unplaced(self, topic: Topic) -> UnplacedRecords:
        """Return what collects the topic's records until their partitions are known."""
        found = self._unplaced.get(topic.name)
        if found is not None and found.topic is topic:
            return found
        most = most_small_bytes(topic.config)
        with self._lock:
            found = self._unplaced.get(topic.name)
            if found is None or found.topic is not topic:
                if found is not None:  # the topic was deleted and made anew
                    self._retired_unplaced = [*(one for one in self._retired_unplaced if one.records), found]
                found = UnplacedRecords(topic, self.get, most=most, is_serialized=self._is_serialized)
                self._come_before(found.records, topic.name)
                self._unplaced[topic.name] = found  # last: an interrupt may come before
        return found

    def _come_before(self, unplaced: Sequence[Delivery], topic: str) -> None:
        for buffer in list(self._buffers.values()):
            if buffer.partition.topic == topic:
                buffer.before = unplaced

    def place(self, topic: Topic) -> None:
        """Move the topic's records to the buffers of their partitions, ahead of what is sent there in another way."""
        found = self._unplaced.get(topic.name)
        if found is not None and found.records:
            found.place()

    def place_all(self) -> None:
        """Do the same for every topic."""
        for unplaced in self._all_unplaced():
            unplaced.place()

    def _all_unplaced(self) -> list[UnplacedRecords]:
        return self._retired_unplaced + list(self._unplaced.values())

    def most(self, buffer: RecordBuffer) -> int:
        """Return how many records may wait in a buffer before they are counted one by one."""
        return min(_CONGESTED * buffer.full, self.most_uncounted)

    def all(self) -> list[RecordBuffer]:
        """Return every buffer that may hold records, with all of them."""
        self.place_all()
        return self._retired + list(self._buffers.values())

    def reserve(self, size: int, topic: str) -> None:
        """Count ``size`` bytes against ``buffer_memory``; wait for room up to ``max_block_ms``."""
        self._waiting_bytes += size
        if self._waiting_bytes <= self._config.buffer_memory:
            return
        deadline = time.monotonic() + self._config.max_block_ms / 1000
        while (waiting := self._count_waiting()) > 0 and waiting + size > self._config.buffer_memory:
            if not self._drain_largest(deadline):
                raise BufferExhaustedError(
                    f"{waiting} bytes wait to be written, and buffer_memory is {self._config.buffer_memory}",
                    topic=topic, hint="another process holds the partition, or the device is slow; nothing was taken",
                )  # fmt: skip
        self._waiting_bytes = self._count_waiting() + size

    def _count_waiting(self) -> int:
        return sum(buffer.pending_bytes() for buffer in self.all())

    def _drain_largest(self, deadline: float) -> bool:
        largest = max(self.all(), key=lambda buffer: len(buffer.records))
        return largest.drain(deadline)

    def drain_lingering(self, seconds: float, now: Callable[[], float]) -> float | None:
        """Write what has lingered or is full; return the seconds until the next is due, None when nothing waits."""
        due: float | None = None
        for buffer in self.all():
            oldest = buffer.records[:1]
            if not oldest:
                buffer.tell()
                continue
            left = oldest[0].stamp + seconds - now()
            is_full = buffer.is_slow and len(buffer.records) >= buffer.full
            if left <= 0 or left > seconds or is_full or buffer.error is not None:
                if _try_drain(buffer):
                    continue
                left = buffer.seconds_until_retry(max(seconds, _SHORTEST_PAUSE))
            due = left if due is None else min(due, left)
        return due

    def drain(self, timeout: float | None, *, last: bool) -> None:
        """Write everything that waits. Raises DeliveryTimeoutError when ``timeout`` seconds were not enough."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if last:
            for unplaced in self._all_unplaced():
                unplaced.begin_last()
        left = [
            buffer for buffer in self.all()
            if (last or not buffer.is_empty()) and not buffer.drain(deadline, last=last, patient=False)
        ]  # fmt: skip
        for buffer in left:  # what has to be tried again keeps nobody else waiting
            if not buffer.drain(deadline):
                raise not_in_time(buffer.partition, "records were not written", timeout, buffer.error)

    def forget(self) -> None:
        """The producer ends: partitions need not remember it."""
        for buffer in self.all():
            buffer.forget()

    def after_fork(self) -> None:
        """In a forked child: the records are the parent's."""
        self._lock = Mutex()
        self._waiting_bytes = 0
        if self._producer_id is not None:
            self._producer_id = new_producer_id()
        for unplaced in self._all_unplaced():
            unplaced.after_fork()
        for buffer in self.all():
            buffer.after_fork(self._producer_id)


def _try_drain(buffer: RecordBuffer) -> bool:
    try:
        return buffer.try_drain()  # waits for a device, and for no one else
    except Exception as error:  # what one partition is in for keeps no other waiting
        pass_on_handlers(error)
        logger.exception("writing records for %s-%d failed", buffer.partition.topic, buffer.partition.number)
        return False
