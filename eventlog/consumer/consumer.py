"""The consumer: reads partitions from any offset, in order, as often as anyone likes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from eventlog.clock import Clock
from eventlog.config import ConsumerConfig
from eventlog.consumer.fetcher import Fetcher
from eventlog.consumer.partition_reader import PartitionReader
from eventlog.consumer.subscription import Subscription, checked_partition, checked_partitions, partitions_text
from eventlog.errors import (
    ClosedError,
    ConcurrentAccessError,
    IllegalStateError,
    InvalidConfigError,
    InvalidRecordError,
    OffsetOutOfRangeError,
    UnknownPartitionError,
    WakeupError,
)
from eventlog.format.record_batch import RecordBatch
from eventlog.model import OffsetAndTimestamp, Record, TopicPartition
from eventlog.quantities import checked_timeout, whole
from eventlog.serializers import deserializer
from eventlog.storage.session import Session
from eventlog.topics.partition import Partition
from eventlog.topics.registry import TopicRegistry


class Consumer:
    """Reads records. For one thread at a time: only `wakeup` may be called from another one.

    Made by `EventLog.consumer`. A context manager, and an iterator that waits for records for ever.

    >>> import eventlog, tempfile
    >>> log = eventlog.open(tempfile.mkdtemp())
    >>> _ = log.create_topic("orders").partitions[0].append([b"a", b"b"])
    >>> with log.consumer("orders", auto_offset_reset="earliest") as consumer:
    ...     [record.value for record in consumer.poll()]
    [b'a', b'b']
    """

    def __init__(self, registry: TopicRegistry, session: Session, config: ConsumerConfig, clock: Clock) -> None:
        self.config = config
        self._registry = registry
        self._session = session
        self._subscription = Subscription(registry, exclude_internal=config.exclude_internal_topics)
        self._fetcher = Fetcher()
        self._deserialize_key = deserializer(config.key_deserializer, "key")
        self._deserialize_value = deserializer(config.value_deserializer, "value")
        self._seen_version = -1  # of the metadata, when the partitions were last looked up
        self._in_use = threading.Lock()
        self._wakeup = False
        self._closed = False

    # --- what to read ---

    def subscribe(self, topics: Sequence[str] | None = None, pattern: str | re.Pattern[str] | None = None) -> None:
        """Read all partitions of these topics, or of all topics whose whole name matches the pattern.

        New partitions, and new topics that match, are noticed by `poll` within half a second, and read from their
        beginning. Raises UnknownTopicError, and IllegalStateError after `assign`.
        """
        with self._single_thread():
            self._subscription.subscribe(topics, pattern)
            self._fetcher.set_partitions((), self._make_reader)
            self._update(initial=True)

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read exactly these partitions. Raises UnknownTopicError and UnknownPartitionError."""
        with self._single_thread():
            found = checked_partitions(partitions)
            for tp in found:
                self._partition(tp)
            self._subscription.assign(found)
            self._update(initial=True)

    def unsubscribe(self) -> None:
        """Read nothing any more."""
        with self._single_thread():
            self._subscription.unsubscribe()
            self._fetcher.set_partitions((), self._make_reader)

    def assignment(self) -> list[TopicPartition]:
        """Return the partitions that are read now."""
        with self._single_thread():
            self._update()
            return list(self._fetcher.readers)

    def _update(self, *, initial: bool = False) -> None:
        version = self._session.metadata_version
        if version == self._seen_version and not initial:
            return
        make = self._make_reader if initial else self._make_late_reader
        self._fetcher.set_partitions(self._subscription.partitions(), make)
        self._seen_version = version

    def _make_reader(self, tp: TopicPartition) -> PartitionReader:
        return PartitionReader(
            self._partition(tp), self.config.auto_offset_reset, self.config.check_crcs,
            self._deserialize_key, self._deserialize_value,
        )  # fmt: skip

    def _make_late_reader(self, tp: TopicPartition) -> PartitionReader:
        """A partition that appeared while the consumer was running: nothing in it was seen before."""
        reader = self._make_reader(tp)
        reader.seek_to_beginning()
        return reader

    def _partition(self, tp: TopicPartition) -> Partition:
        return self._registry.get(tp.topic).partitions[tp.partition]

    # --- reading ---

    def poll(self, timeout: float | None = 0.0, max_records: int | None = None) -> list[Record]:
        """Return up to ``max_records`` records (by default ``max_poll_records``) as soon as there are any.

        ``timeout`` is in seconds: 0 does not wait, None waits for ever; when it is over, the list is empty.
        Partitions have their turn one after the other. Raises WakeupError after `wakeup`, CorruptSegmentError,
        OffsetOutOfRangeError and NoOffsetForPartitionError (``auto_offset_reset="none"``), SerializationError from a
        deserializer, UnknownTopicError when a topic was deleted, ConcurrentAccessError, ClosedError, and
        InvalidConfigError for a timeout or a count that is none.
        """
        seconds = checked_timeout(timeout)
        count = self.config.max_poll_records if max_records is None else _checked_count(max_records)
        with self._single_thread():
            self._prepare_poll()
            found = self._fetcher.records(count)
            if found or seconds == 0:
                return found
            deadline = _deadline(seconds)
            while not found and self._wait(deadline):
                found = self._fetcher.records(count)
            return found

    def poll_batches(self, timeout: float | None = 0.0) -> list[RecordBatch]:
        """Return whole batches, up to ``fetch_max_bytes``: columns on the mapped segment, without a copy.

        Waits and raises as `poll` does; deserializers are not applied.
        """
        seconds = checked_timeout(timeout)
        with self._single_thread():
            self._prepare_poll()
            found = self._fetcher.batches(self.config.fetch_max_bytes)
            if found or seconds == 0:
                return found
            deadline = _deadline(seconds)
            while not found and self._wait(deadline):
                found = self._fetcher.batches(self.config.fetch_max_bytes)
            return found

    def __iter__(self) -> Iterator[Record]:
        while not self._closed:  # one by one: who leaves the loop has seen every record before the position
            yield from self.poll(timeout=None, max_records=1)

    def wakeup(self) -> None:
        """Make the present or the next `poll` raise WakeupError. May be called from any thread."""
        self._wakeup = True
        self._fetcher.signal()

    def _prepare_poll(self) -> None:
        self._fetcher.look()  # before the flags that a signal announces
        if self._closed:  # by another thread, as the log was closed
            raise self._closed_error()
        if not self._subscription.is_active():
            raise IllegalStateError("nothing to poll", hint="call subscribe() or assign() first")
        if self._wakeup:
            self._raise_wakeup()
        if self._seen_version != self._session.metadata_version:
            self._update()

    def _wait(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        self._fetcher.wait(left)
        self._prepare_poll()
        return True

    def _raise_wakeup(self) -> None:
        self._wakeup = False
        raise WakeupError("another thread called wakeup()")

    # --- places ---

    def position(self, partition: TopicPartition) -> int:
        """Return the offset of the record that is returned next."""
        with self._single_thread():
            return self._reader(partition).position

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go to ``offset``. Raises OffsetOutOfRangeError when it is negative or beyond the log end offset."""
        with self._single_thread():
            reader = self._reader(partition)
            end = reader.partition.log_end_offset
            place = whole(offset)
            if place is None or not 0 <= place <= end:
                raise OffsetOutOfRangeError(
                    f"cannot seek to offset {offset!r}", topic=partition[0], partition=partition[1], offset=offset,
                    hint=f"give a whole number from {reader.partition.log_start_offset} to {end}, the log end offset",
                )  # fmt: skip
            reader.seek(place)

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Go to the log start offset of these partitions, or of all."""
        with self._single_thread():
            for reader in self._readers(partitions):
                reader.seek_to_beginning()

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Go to the log end offset of these partitions, or of all."""
        with self._single_thread():
            for reader in self._readers(partitions):
                reader.seek_to_end()

    def pause(self, *partitions: TopicPartition) -> None:
        """Return nothing from these partitions until `resume`; the position stays."""
        with self._single_thread():
            for reader in self._readers(partitions):
                reader.paused = True

    def resume(self, *partitions: TopicPartition) -> None:
        """Go on with these partitions, or with all."""
        with self._single_thread():
            for reader in self._readers(partitions):
                reader.paused = False

    def paused(self) -> list[TopicPartition]:
        """Return the partitions that pause."""
        with self._single_thread():
            return [tp for tp, reader in self._fetcher.readers.items() if reader.paused]

    def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the log start offset of each partition, assigned here or not."""
        with self._single_thread():
            return {tp: self._partition(tp).log_start_offset for tp in checked_partitions(partitions)}

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset that the next record gets, for each partition."""
        with self._single_thread():
            return {tp: self._partition(tp).high_watermark for tp in checked_partitions(partitions)}

    def offsets_for_times(
        self, times_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Return, for each partition, the first record at or after its time (ms since the epoch), or None. KIP-79.

        Raises InvalidRecordError for a time that is not a whole number.
        """
        with self._single_thread():
            if not isinstance(times_ms, Mapping):
                raise InvalidRecordError(
                    f"times_ms is a {type(times_ms).__name__}", hint="give a dict: {TopicPartition(topic, 0): time_ms}"
                )
            times = zip(checked_partitions(times_ms), times_ms.values(), strict=True)
            return {tp: self._partition(tp).first_at_or_after(time_ms) for tp, time_ms in times}

    def _reader(self, partition: TopicPartition) -> PartitionReader:
        self._update()
        reader = self._fetcher.readers.get(checked_partition(partition))
        if reader is None:
            raise UnknownPartitionError(
                "the partition is not assigned to this consumer", topic=partition[0], partition=partition[1],
                hint="assign or subscribe to it first",
            )  # fmt: skip
        return reader

    def _readers(self, partitions: Sequence[TopicPartition]) -> list[PartitionReader]:
        self._update()
        return [self._reader(tp) for tp in partitions or tuple(self._fetcher.readers)]

    # --- closing ---

    def close(self) -> None:
        """End. Harmless when closed already; records and batches that were returned stay valid."""
        self._closed = True
        self._fetcher.signal()

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Consumer of {partitions_text(self._fetcher.readers)}{' (closed)' if self._closed else ''}>"

    def _single_thread(self) -> threading.Lock:
        """Return the lock to hold for one call; a second thread gets an error instead of waiting.

        The lock itself, since no interrupt comes between taking it and entering a ``with`` on it; two threads that
        come at the very same moment have their turn one after the other.
        """
        if self._closed:
            raise self._closed_error()
        if self._in_use.locked():
            raise ConcurrentAccessError(
                "the consumer is in use by another thread",
                hint="one consumer a thread; only wakeup() may cross threads",
            )
        return self._in_use

    def _closed_error(self) -> ClosedError:
        return ClosedError("the consumer is closed", hint="make a new one with log.consumer()")


def _checked_count(max_records: object) -> int:
    count = whole(max_records)
    if count is not None and count > 0:
        return count
    raise InvalidConfigError(f"max_records={max_records!r} is not possible", hint="give a whole number from 1 on")


def _deadline(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout
