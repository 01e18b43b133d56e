"""A producer's transactions, as callers see them (KIP-98)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from eventlog.errors import IllegalStateError
from eventlog.model import GroupMetadata, OffsetAndMetadata, TopicPartition
from eventlog.producer.transaction_manager import TransactionManager


class Transactional:
    """What a producer with a ``transactional_id`` can do besides: see `transaction` for the short way."""

    __slots__ = ("_transactions",)

    _transactions: TransactionManager | None

    def transaction(self) -> AbstractContextManager[None]:
        """Run a ``with`` block as one transaction: committed at its end, aborted when an error leaves it.

        Calls `init_transactions` if that was not done yet. Raises what the methods below do. When the commit fails, the
        transaction is aborted, unless it was committed all the same: then its records exist, and the error tells of
        something else, such as a device that failed to sync. If neither can be done, as on a disk that is full, the
        next block begins by aborting it.

        >>> import eventlog, tempfile
        >>> log = eventlog.open(tempfile.mkdtemp())
        >>> _ = log.create_topic("debits"), log.create_topic("credits")
        >>> with log.producer(transactional_id="transfers") as producer:
        ...     with producer.transaction():
        ...         _ = producer.send("debits", b"5")
        ...         sent = producer.send("credits", b"5")
        >>> sent.result().offset
        0
        """
        return self._in_transactions().transaction()

    def init_transactions(self) -> None:
        """Take over the transactional id; to be called once, before anything else.

        A producer that had it before, in whichever process, is fenced: its next call raises ProducerFencedError, and
        what it had not committed is gone. What it had committed is there for all to read when this returns. Raises
        IllegalStateError when done already, and LockTimeoutError when another process holds the id's lock, stopped
        in the middle of a commit, for longer than ``max_block_ms``.
        """
        self._in_transactions().init()

    def begin_transaction(self) -> None:
        """Open a transaction: what is sent from here on waits in memory, up to ``buffer_memory``, for its end.

        Raises IllegalStateError when one is open, or before `init_transactions`, and ProducerFencedError.
        """
        self._in_transactions().begin()

    def send_offsets_to_transaction(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata | int], group: GroupMetadata
    ) -> None:
        """Commit a group's offsets with the open transaction; ``group`` is ``consumer.group_metadata()`` (KIP-447).

        An offset is that of the record to read next. Give the consumer ``enable_auto_commit=False``. Raises
        IllegalStateError without an open transaction, UnknownTopicError, UnknownPartitionError, OffsetOutOfRangeError,
        InvalidRecordError. Whether the partitions are still the member's, and its ``group_instance_id`` is, is told by
        `commit_transaction`.
        """
        self._in_transactions().send_offsets(offsets, group)

    def commit_transaction(self) -> None:
        """Write everything that was sent since `begin_transaction`, in all partitions and with all offsets, or nothing.

        It is visible to everyone when this returns, and with ``durability="disk"`` (the producer's, or that of a topic
        that takes part) it is on the device. Raises ProducerFencedError; CommitFailedError (or one below it) when a
        group has gone on since ``group_metadata()``, RetriableCommitFailedError when a stopped process holds the
        group's lock; TransactionTimeoutError when it was open for longer than ``transaction_timeout_ms``;
        TransactionAbortableError when a record has failed: one that was too large for its topic, or whose timestamp it
        does not take, or that of a future that has an error; UnknownTopicError for a topic that was deleted;
        LogFullError, StorageError. Nothing was written then, and the transaction is still open: commit it again, or
        abort it. A StorageError of the journal's own sync is the
        exception: the transaction is committed and over, but may not survive a power cut.
        """
        self._in_transactions().commit()

    def abort_transaction(self) -> None:
        """Forget everything that was sent since `begin_transaction`: nobody has ever seen it.

        Its deliveries fail with TransactionAbortedError. Raises IllegalStateError without an open transaction, and when
        a commit that ended with an error has committed it after all; ProducerFencedError.
        """
        self._in_transactions().abort()

    def _in_transactions(self) -> TransactionManager:
        if self._transactions is None:
            raise IllegalStateError(
                "the producer has no transactional_id", hint='give it one: log.producer(transactional_id="transfers")'
            )
        return self._transactions
