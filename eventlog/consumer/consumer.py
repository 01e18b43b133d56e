"""The consumer: reads partitions from any offset, in order, as often as anyone likes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Generic, Never, Self

from eventlog.clock import Clock
from eventlog.config import ConsumerConfig
from eventlog.consumer.committer import CommitCallback
from eventlog.consumer.consumer_metrics import ConsumerMetrics
from eventlog.consumer.fetcher import Fetcher, until_found
from eventlog.consumer.group_reader import GroupReader, group_reader
from eventlog.consumer.partition_reader import PartitionReader
from eventlog.consumer.positions import Positions
from eventlog.consumer.reader_factory import ReaderFactory
from eventlog.consumer.rebalance_listener import RebalanceListener, check_listener
from eventlog.consumer.single_thread import Held, SingleThread
from eventlog.consumer.subscription import Subscription, is_empty, partitions_text
from eventlog.coordination.group_directory import GroupDirectory
from eventlog.coordination.offset_store import OffsetStore
from eventlog.errors import (
    ClosedError,
    ConcurrentAccessError,
    IllegalStateError,
    ReentrantCallError,
    WakeupError,
)
from eventlog.format.record_batch import RecordBatch
from eventlog.model import GroupMetadata, Key, OffsetAndMetadata, Record, TopicPartition, Value
from eventlog.pickling import OfOneProcess
from eventlog.quantities import checked_count, deadline_of, poll_timeout
from eventlog.storage.session import Session
from eventlog.topics.checked_partitions import checked_partition, checked_partitions
from eventlog.topics.registry import TopicRegistry

_CLOSED, _CLOSED_HINT = "the consumer is closed", "make a new one with log.consumer()"


class Consumer(Positions, OfOneProcess, Generic[Key, Value]):
    """Reads records. For one thread at a time: only `wakeup` may be called from another one.

    Made by `EventLog.consumer`. A context manager, and an iterator that waits for records for ever.

    >>> import eventlog, tempfile
    >>> log = eventlog.open(tempfile.mkdtemp())
    >>> _ = log.create_topic("orders").partitions[0].append([b"a", b"b"])
    >>> with log.consumer("orders", auto_offset_reset="earliest") as consumer:
    ...     [record.value for record in consumer.poll()]
    [b'a', b'b']
    """

    def __init__(
        self,
        registry: TopicRegistry,
        session: Session,
        config: ConsumerConfig,
        clock: Clock,
        offsets: OffsetStore,
        directory: GroupDirectory | None,
    ) -> None:
        """``directory`` is that of ``config.group``, None without a group."""
        self.config = config
        self._registry = registry
        self._session = session
        self._subscription = Subscription(registry, exclude_internal=config.exclude_internal_topics)
        self._fetcher = Fetcher()
        self._factory = ReaderFactory(registry, config, clock)
        self._thread = SingleThread()
        self._seen_version = -1  # of the metadata, when the partitions were last looked up
        self._wakeup = False
        self._closed = False
        self._group: GroupReader | None = None
        if directory is not None:
            self._group = group_reader(
                config, directory, offsets, registry, clock, subscription=self._subscription, fetcher=self._fetcher,
                make_reader=self._make_reader, thread=self._thread,
            )  # fmt: skip
        self._metrics = ConsumerMetrics(clock, self._fetcher, self._group)

    # --- what to read ---

    def subscribe(
        self,
        topics: Sequence[str] | None = None,
        pattern: str | re.Pattern[str] | None = None,
        listener: RebalanceListener | None = None,
    ) -> None:
        """Read all partitions of these topics, or of all topics whose whole name matches the pattern.

        With a group, read this member's share: the next `poll` joins, every `poll` keeps up with the others, and
        ``listener`` is told what comes and goes. New partitions, and new topics that match, are noticed within half a
        second; without a group they are read from their beginning. A topic that does not exist is waited for likewise,
        with a warning in the log. No topics at all are as `unsubscribe`. Raises InvalidTopicError, InvalidConfigError,
        and IllegalStateError after `assign`, and for a pattern after topics or topics after a pattern.
        """
        with self._single_thread():
            self._thread.refuse_in_callback()
            check_listener(listener, has_group=self._group is not None)
            if pattern is None and is_empty(topics):
                self._unsubscribe()
                return
            self._subscription.subscribe(topics, pattern)
            if self._group is not None:
                self._group.subscribed(listener)
                return
            self._fetcher.set_partitions((), self._factory.make)
            self._update(initial=True)

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read exactly these partitions; none are as `unsubscribe`. Raises UnknownTopicError, UnknownPartitionError."""
        with self._single_thread():
            found = checked_partitions(partitions)
            if not found:
                self._unsubscribe()
                return
            for tp in found:
                self._factory.partition(tp)
            self._subscription.assign(found)
            self._update(initial=True)
            if self._group is not None:
                self._group.assign()

    def unsubscribe(self) -> None:
        """Read nothing any more, and leave the group. Nothing is committed, as in Kafka: call `commit` before."""
        with self._single_thread():
            self._unsubscribe()

    def _unsubscribe(self) -> None:
        self._thread.refuse_in_callback()
        try:
            if self._group is not None:
                self._group.leave(commit=False)
        finally:
            self._subscription.unsubscribe()
            self._fetcher.set_partitions((), self._factory.make)

    def subscription(self) -> list[str]:
        """Return the topics subscribed to, sorted: those named, or those that match the pattern now."""
        with self._single_thread():
            return self._subscription.names()

    def topics(self) -> list[str]:
        """Return the names of all topics that there are, sorted, whether they are read or not; no internal ones."""
        with self._single_thread():
            return self._registry.visible_names()

    def partitions_for_topic(self, topic: str) -> list[TopicPartition]:
        """Return the partitions of a topic. Raises UnknownTopicError and InvalidTopicError."""
        with self._single_thread():
            return self._registry.partitions_of(topic)

    def assignment(self) -> list[TopicPartition]:
        """Return the partitions that are read now."""
        with self._single_thread():
            self._update()
            return list(self._fetcher.readers)

    def _update(self, *, initial: bool = False) -> None:
        version = self._session.metadata_version
        if version == self._seen_version and not initial:
            return
        if self._group is not None and not self._subscription.is_by_hand():
            self._seen_version = version  # the group says what to read
            return
        make = self._factory.make if initial else self._factory.make_late
        self._fetcher.set_partitions(self._subscription.partitions(), make)
        self._seen_version = version

    def _make_reader(self, tp: TopicPartition) -> PartitionReader:
        """Make one for the group. A method: who drops a member without closing it ends it when the collector runs."""
        return self._factory.make(tp)

    # --- reading ---

    def poll(
        self, timeout: float | None = 0.0, max_records: int | None = None, **unknown: Never
    ) -> list[Record[Key, Value]]:
        """Return up to ``max_records`` records (by default ``max_poll_records``) as soon as there are any.

        ``timeout`` is in seconds: 0 does not wait, None waits for ever; when it is over, the list is empty.
        Partitions have their turn one after the other. Raises WakeupError after `wakeup`, CorruptSegmentError,
        OffsetOutOfRangeError and NoOffsetForPartitionError (``auto_offset_reset="none"``), SerializationError from a
        deserializer, UnknownTopicError when a topic was deleted, ConcurrentAccessError, ClosedError, and
        InvalidConfigError for a timeout or a count that is none.
        """
        seconds = poll_timeout(timeout, unknown)
        count = self.config.max_poll_records if max_records is None else checked_count(max_records)
        with self._single_thread():
            self._metrics.polled()
            self._prepare_poll()
            found = self._fetcher.records(count)
            if found or seconds == 0:
                return found
            return until_found(partial(self._fetcher.records, count), partial(self._wait, deadline_of(seconds)))

    def poll_batches(self, timeout: float | None = 0.0, **unknown: Never) -> list[RecordBatch]:
        """Return whole batches, up to ``fetch_max_bytes``: columns on the mapped segment, without a copy.

        Waits and raises as `poll` does; deserializers are not applied.
        """
        seconds = poll_timeout(timeout, unknown)
        with self._single_thread():
            self._metrics.polled()
            self._prepare_poll()
            found = self._fetcher.batches(self.config.fetch_max_bytes)
            if found or seconds == 0:
                return found
            read = partial(self._fetcher.batches, self.config.fetch_max_bytes)
            return until_found(read, partial(self._wait, deadline_of(seconds)))

    def __iter__(self) -> Iterator[Record[Key, Value]]:
        while not self._closed:  # one by one: who leaves the loop has seen every record before the position
            yield from self.poll(timeout=None, max_records=1)

    def wakeup(self) -> None:
        """Make the present or the next `poll` raise WakeupError. May be called from any thread."""
        self._wakeup = True
        self._fetcher.signal()

    def _prepare_poll(self) -> None:
        self._thread.refuse_in_callback()
        self._fetcher.look()  # before the flags that a signal announces
        if self._closed:  # by another thread, as the log was closed
            raise ClosedError(_CLOSED, hint=_CLOSED_HINT)
        if not self._subscription.is_active():
            raise IllegalStateError("nothing to poll", hint="call subscribe() or assign() first")
        if self._wakeup:
            self._wakeup = False
            raise WakeupError("another thread called wakeup()")
        self._registry.root.look()
        if self._group is not None:
            self._group.before_poll(self._session.metadata_version)
        if self._seen_version != self._session.metadata_version:
            self._update()

    def _wait(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        group = self._group
        if group is None:
            self._fetcher.wait(left)
        else:
            self._fetcher.wait(min(left, group.longest_sleep()), group.words())
        self._prepare_poll()
        return True

    # --- the group ---

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata | int] | None = None) -> None:
        """Commit these offsets, all or none; or else the positions, where reading goes on after the last `poll`.

        An offset is that of the record to read next. Raises FencedMemberError when the group goes on without this
        member, CommitFailedError when a partition is not its own, RetriableCommitFailedError when a stopped process is
        in the way, UnknownTopicError, UnknownPartitionError, OffsetOutOfRangeError for a negative offset,
        InvalidRecordError, RecordTooLargeError for metadata over 4096 characters, IllegalStateError without a group.

        An offset beyond the end is committed too, as in Kafka: who begins there is reset at its next `poll`.
        """
        with self._single_thread():
            group = self._in_group()
            group.committer.commit(group.offsets(offsets))

    def commit_async(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata | int] | None = None,
        callback: CommitCallback | None = None,
    ) -> None:
        """Commit likewise; the next `poll` calls ``callback(offsets, error)``, where error is None if all went well."""
        with self._single_thread():
            group = self._in_group()
            group.committer.commit_async(group.offsets(offsets), callback)

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """Return what the group has committed for a partition, assigned here or not; None for nothing.

        Also for a partition that does not exist, as in Kafka. Raises UnknownPartitionError for what is no partition.
        """
        with self._single_thread():
            tp = checked_partition(partition)
            return self._committed([tp])[tp]

    def group_metadata(self) -> GroupMetadata:
        """Return who commits here. Raises IllegalStateError without a group."""
        with self._single_thread():
            return self._in_group().metadata()

    def metrics(self) -> dict[str, float]:
        """Return what Kafka's consumer measures, by its names with underscores. May be called from any thread."""
        return self._metrics.values(closed=self._closed)

    def _committed(self, partitions: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata | None]:
        return self._in_group().committer.committed(partitions)

    def _in_group(self) -> GroupReader:
        if self._group is None:
            raise IllegalStateError("the consumer has no group", hint='give it one: log.consumer("t", group="g")')
        return self._group

    # --- closing ---

    def close(self, *, autocommit: bool = True) -> None:
        """End: commit, if that is automatic (and ``autocommit`` is left on), and leave the group at once.

        A ``with`` that an error ends commits nothing: what `poll` returned may not have been handled. Harmless when
        closed already; what was returned stays valid. From another thread, a poll under way raises ClosedError first.
        In a signal handler that has interrupted a call, a thread does the rest as soon as that call is over.
        """
        self._thread.refuse_in_callback()
        self._closed = True
        self._fetcher.signal()
        if self._group is not None:
            self._group.close(autocommit=autocommit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close(autocommit=kind is None)

    def __repr__(self) -> str:
        return f"<Consumer of {partitions_text(self._fetcher.readers)}{' (closed)' if self._closed else ''}>"

    def _single_thread(self) -> Held:
        try:
            if not self._closed or self._thread.is_calling_back:
                return self._thread.held()
        except (ConcurrentAccessError, ReentrantCallError):
            if not self._closed:  # or else just now: the other thread is in close()
                raise
        raise ClosedError(_CLOSED, hint=_CLOSED_HINT)
