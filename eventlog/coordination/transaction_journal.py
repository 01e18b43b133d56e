"""The journal of transactions: the internal topic ``__transaction_state``, which has one partition and thus one order.

An outcome is appended once, and is final: whoever finds a transaction without one, whose process died, appends that it
was aborted, brings that to the device, and only then clears away what it wrote. So nobody can come to another answer,
not even after a power cut that brings back half of what was written.

The journal keeps a log of its own, apart from those of the topics' registry: it is asked by who holds a partition's
lock, and waits for no lock that somebody may hold while he waits for a partition.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator

from eventlog.clock import wall_ms
from eventlog.config import TopicConfig
from eventlog.coordination.committed_parts import CommittedParts, runs
from eventlog.coordination.transaction_records import (
    TransactionOutcome,
    aborted,
    decode,
    encode_key,
    encode_value,
    is_outcome_of,
)
from eventlog.errors import CorruptSegmentError, UnknownTopicError, UnsupportedFormatError
from eventlog.format.batch_encoder import encode_one_keyed
from eventlog.format.filenames import TOPICS
from eventlog.format.record_batch import RecordBatch
from eventlog.model import AppendResult
from eventlog.storage.context import LogContext
from eventlog.storage.writer_lives import poisoned_error
from eventlog.topics.internal import TRANSACTIONS_TOPIC
from eventlog.topics.partition import Partition
from eventlog.topics.registry import TopicRegistry
from eventlog.topics.topic_files import TopicFiles

_SEGMENT_BYTES = 100 * 2**20  # as Kafka's transaction.state.log.segment.bytes
_UNKNOWN = b"\0\0\0\0"  # the key of a transaction of which nothing but its id is known

logger = logging.getLogger("eventlog")


class TransactionJournal:
    """Writes and finds outcomes. Safe for any number of threads, processes and forks."""

    topic = TRANSACTIONS_TOPIC

    def __init__(self, context: LogContext, root: str) -> None:
        self._context = context
        self._directory = os.path.join(root, TOPICS, TRANSACTIONS_TOPIC)
        self._made: Partition | None = None

    def create(self, registry: TopicRegistry) -> None:
        """Make the topic, if it is not there."""
        if self.partition() is None:
            registry.create(TRANSACTIONS_TOPIC, 1, TopicConfig(segment_bytes=_SEGMENT_BYTES), exist_ok=True)

    def partition(self) -> Partition | None:
        """Return the journal's partition; None while there is no journal."""
        if self._made is None:
            with contextlib.suppress(UnknownTopicError):
                self._made = Partition(TopicFiles.read(self._context, self._directory, TRANSACTIONS_TOPIC), 0)
        return self._made

    # --- writing ---

    def append(self, outcome: TransactionOutcome, durability: str | None = None) -> AppendResult:
        """Append an outcome, which is final from here on; raises what an append does."""
        partition = self.partition()
        assert partition is not None
        key = encode_key(outcome.transactional_id) if outcome.transactional_id else _UNKNOWN
        batch = encode_one_keyed(key, encode_value(outcome), outcome.ended_ms)
        return partition.log.writer.append_batch(batch, durability)

    def is_committed(self, transaction: int, since: int) -> bool:
        """Tell the outcome, which stands at ``since`` or later. If there is none yet, it is aborted now, for good.

        Only for who holds the lock of one of the transaction's partitions: then nobody else is committing it.
        """
        found = self.outcome(transaction, since)
        if found is None:
            self.append(aborted(transaction, wall_ms(self._context.clock.time())), "disk")
        return bool(found)

    def refuse_poisoned(self) -> None:
        """Raise StorageError after a failed sync: no outcome could be written."""
        partition = self.partition()
        if partition is not None and partition.is_poisoned:
            raise poisoned_error(partition.log)

    def life(self) -> int:
        """Return the journal's life; 0 while there is no journal."""
        partition = self.partition()
        return 0 if partition is None else partition.log.head.life

    def sync(self, life: int) -> None:
        """Bring all outcomes that were written in this life of the journal to the device."""
        partition = self.partition()
        if partition is not None:
            partition.log.flusher.sync_to(partition.log_end_offset, life)

    def write_again(self, topic: str, topic_id: str, partition: int, batches: Iterable[RecordBatch]) -> None:
        """Write once more that the transactions of these batches were committed: the journal may have lost that.

        A crash in between leaves each transaction with its outcome, or without: one record tells of all its batches.
        """
        now_ms = wall_ms(self._context.clock.time())
        for producer, part in runs(batches, topic, topic_id, partition):
            self.append(TransactionOutcome(secrets.randbits(63), True, "", *producer, now_ms, now_ms, (part,)))

    # --- finding ---

    def end_offset(self) -> int:
        """Return where the next outcome will stand; 0 while there is no journal."""
        partition = self.partition()
        return 0 if partition is None else partition.log_end_offset

    def durable_end_offset(self) -> int:
        """Return the offset before which all outcomes are on the device; 0 while there is no journal."""
        partition = self.partition()
        return 0 if partition is None else partition.durable_end_offset

    def outcome(self, transaction: int, since: int) -> bool | None:
        """Tell whether the transaction was committed; None when no outcome stands at ``since`` or later."""
        for batch in self._batches(since):
            for value in batch.values():
                found = None if value is None else is_outcome_of(value, transaction)
                if found is not None:
                    return found
        return None

    def committed_batches(self, topic_id: str, partition: int, since: int) -> Callable[[RecordBatch], bool]:
        """Return what tells, for recovery, which batches are of transactions committed at ``since`` or later.

        All are when the journal is lost, or a part of it: nothing that was acknowledged may go with it.
        """
        try:
            if self.partition() is not None:
                return CommittedParts(self._mentions(topic_id, since), topic_id, partition).holds
        except (CorruptSegmentError, UnsupportedFormatError) as error:
            logger.warning("nobody can tell which transactions were committed: %s", error)
        return lambda _: True

    def _mentions(self, topic_id: str, since: int) -> Iterator[TransactionOutcome]:
        """Yield the outcomes that name the topic; the others, which may be many, are not even decoded."""
        identity = bytes.fromhex(topic_id)
        for batch in self._batches(since):
            for key, value in zip(batch.keys(), batch.values(), strict=True):
                if value is not None and identity in value:
                    yield decode(key, value)

    def outcomes(self, since: int = 0, *, skip_damage: bool = True) -> Iterator[tuple[int, TransactionOutcome]]:
        """Yield each outcome from ``since`` on, with its offset."""
        for batch in self._batches(since, skip_damage=skip_damage):
            for offset, key, value in zip(batch.offsets.tolist(), batch.keys(), batch.values(), strict=True):
                yield offset, decode(key, value)

    def _batches(self, since: int, *, skip_damage: bool = False) -> Iterator[RecordBatch]:
        partition = self.partition()
        if partition is None:
            return
        end = partition.log_end_offset
        cursor = partition.cursor(min(since, end))
        while cursor.next_offset < end:
            try:
                batch = cursor.next_batch()
            except CorruptSegmentError as error:
                if not skip_damage or error.next_offset is None:
                    raise
                cursor.seek(error.next_offset)
                continue
            if batch is None:
                return
            yield batch

    # --- care ---

    def after_fork(self) -> None:
        """Start with a free lock in a forked child."""
        if self._made is not None:
            self._made.after_fork()

    def close(self) -> None:
        """Bring the outcomes to the device, and give back descriptors."""
        partition, self._made = self._made, None
        if partition is not None:
            try:
                if not self._context.readonly:
                    partition.flush_if_written()
            finally:
                partition.close()
