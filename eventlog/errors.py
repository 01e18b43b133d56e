"""Every error that eventlog raises on purpose.

::

    EventLogError
    ├── log and files
    │   ├── NotALogError (ValueError)                  the directory holds something else
    │   ├── UnsupportedFormatError (ValueError)        written by a newer version
    │   ├── UnsupportedFileSystemError (OSError)       a network file system
    │   ├── ReadOnlyLogError (PermissionError)         no permission to write here
    │   ├── LogFullError (OSError)                     the disk, or a quota on it, is full
    │   ├── StorageError (OSError)                     the device failed; the partition refuses writes
    │   ├── LogMovedError (OSError)                    another directory, or none, is at the log's path by now
    │   ├── CorruptSegmentError (ValueError)           bytes of a segment are damaged or missing
    │   └── CorruptMetadataError (ValueError)          a small control file is damaged
    │       └── ForeignFileError (OSError)             a link, a pipe or a directory in the place of a file
    ├── topics
    │   ├── UnknownTopicError (KeyError)
    │   ├── UnknownPartitionError (IndexError)
    │   ├── TopicExistsError (ValueError)
    │   ├── InvalidTopicError (ValueError)             the name breaks Kafka's rules
    │   └── InvalidPartitionsError (ValueError)
    ├── records
    │   ├── RecordTooLargeError (ValueError)
    │   ├── InvalidRecordError (ValueError)
    │   ├── SerializationError (TypeError)
    │   ├── OffsetOutOfRangeError (LookupError)
    │   └── NoOffsetForPartitionError (LookupError)
    ├── groups
    │   ├── InvalidGroupError (ValueError)             the name is not possible
    │   ├── UnknownGroupError (KeyError)
    │   ├── GroupNotEmptyError (RuntimeError)          it has living members, and cannot be deleted
    │   ├── InconsistentGroupProtocolError (ValueError)  no assignor that all members know
    │   └── CommitFailedError (RuntimeError)           the partition is not this member's any more
    │       ├── FencedInstanceIdError                  another member has the same group_instance_id
    │       ├── FencedMemberError                      the group goes on without this member
    │       └── RetriableCommitFailedError             another process is in the way: the same call may succeed later
    ├── exactly once
    │   ├── OutOfOrderSequenceError (RuntimeError)     records of an idempotent producer are missing before these
    │   ├── ProducerFencedError (RuntimeError)         a newer producer has taken this one's place
    │   ├── TransactionAbortableError (RuntimeError)   a record of the transaction failed: it can only be aborted
    │   ├── TransactionAbortedError (RuntimeError)     the record belonged to a transaction that was given up
    │   └── TransactionTimeoutError (TimeoutError)     the transaction was open for too long
    └── use
        ├── InvalidConfigError (ValueError)
        ├── MissingExtraError (ImportError)
        ├── ClosedError (RuntimeError)
        ├── IllegalStateError (RuntimeError)
        │   └── NotAssignedError                       not this consumer's; also an UnknownPartitionError
        ├── ConcurrentAccessError (RuntimeError)       two threads in one consumer
        ├── ReentrantCallError (RuntimeError)          a signal handler has interrupted a call that is in the way
        ├── WakeupError                                another thread called wakeup()
        ├── BufferExhaustedError (TimeoutError)        send() waited max_block_ms for buffer_memory
        └── DeliveryTimeoutError (TimeoutError)        result(timeout=...) ran out
            └── LockTimeoutError                       another process holds a lock for too long

Each error inherits the built-in that a Python programmer would catch, carries its coordinates as attributes
(``path``, ``topic``, ``partition``, ``offset``, ``position``, whichever apply) and says what to do next.
"""

from __future__ import annotations

import errno
from typing import Any

from eventlog.texts import shown_whole

DISTRIBUTION = "eventlog-embedded"  # what pip installs; its import is `eventlog`


class EventLogError(Exception):
    """The root of the tree: a reason, the coordinates it happened at, and a hint.

    >>> error = UnknownTopicError("no such topic", topic="orders", hint="create it first")
    >>> str(error)
    "no such topic [topic='orders']; create it first"
    >>> error.topic
    'orders'
    """

    path: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    position: int | None = None

    def __init__(self, reason: str, *, hint: str = "", **coordinates: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.coordinates = coordinates
        for name, value in coordinates.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        where = ", ".join(f"{name}={shown_whole(value)}" for name, value in self.coordinates.items())
        message = f"{self.reason} [{where}]" if where else self.reason
        return f"{message}; {self.hint}" if self.hint else message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle whole, so that an error crosses a process boundary with its coordinates."""
        return _rebuild, (type(self), self.reason, self.hint, self.coordinates)


def _rebuild(cls: type[EventLogError], reason: str, hint: str, coordinates: dict[str, Any]) -> EventLogError:
    return cls(reason, hint=hint, **coordinates)


class NotALogError(EventLogError, ValueError):
    """The directory exists and holds something that is not an event log."""


class UnsupportedFormatError(EventLogError, ValueError):
    """The file was written by a newer version of eventlog, in a format this one does not know."""


class UnsupportedFileSystemError(EventLogError, OSError):
    """The directory is on a file system whose locks and mappings are not shared between machines."""


class ReadOnlyLogError(EventLogError, PermissionError):
    """The operation writes, and this directory may only be read."""


class LogFullError(EventLogError, OSError):
    """No space is left for the write. Nothing was published; the same call succeeds once space is free."""

    errno = errno.ENOSPC


class StorageError(EventLogError, OSError):
    """The device failed. After a failed sync the partition refuses writes until it is reopened and verified."""

    errno = errno.EIO


class LogMovedError(EventLogError, OSError):
    """The log was removed, moved or replaced while it was open: ``path`` leads to another log by now, or to none.

    Nothing of the call was written. A log that comes back to its path goes on; otherwise close it, and open it where
    it lies now.
    """

    errno = errno.ESTALE


class CorruptSegmentError(EventLogError, ValueError):
    """Bytes of a segment are damaged or missing. Nothing from the damaged range is ever returned.

    ``base_offset`` is the first offset affected and ``next_offset`` the first readable one after the damage, or
    None when nothing readable follows: ``consumer.seek(tp, error.next_offset)`` goes on behind it.
    """

    base_offset: int | None = None
    next_offset: int | None = None


class CorruptMetadataError(EventLogError, ValueError):
    """A small control file (``eventlog.json``, ``topic.json``) cannot be understood."""


class ForeignFileError(CorruptMetadataError, OSError):
    """Something else lies where a file or a directory of the log belongs: a symbolic link, a pipe, a socket, a device.

    It is not followed, opened or removed: nothing outside of the log's directory is ever touched.
    """

    errno = errno.EINVAL


class UnknownTopicError(EventLogError, KeyError):
    """The topic does not exist, or was deleted."""


class UnknownPartitionError(EventLogError, IndexError):
    """The topic has no partition of this number."""


class TopicExistsError(EventLogError, ValueError):
    """A topic of this name exists already."""


class InvalidTopicError(EventLogError, ValueError):
    """The name is not legal: 1 to 249 of ``[a-zA-Z0-9._-]``, and neither ``.`` nor ``..`` (as in Kafka).

    Also one that differs from another topic's in dots and underscores alone, and those of internal topics.
    """


class InvalidPartitionsError(EventLogError, ValueError):
    """The number of partitions is not possible: partitions can be added, never removed."""


class RecordTooLargeError(EventLogError, ValueError):
    """One record is larger than the topic's ``max_message_bytes``. Nothing of the call was written."""


class InvalidRecordError(EventLogError, ValueError):
    """The columns of a call do not fit together, or hold a value that no record can have."""


class SerializationError(EventLogError, TypeError):
    """A key or a value is not bytes, and no serializer turned it into bytes (or the serializer failed)."""


class OffsetOutOfRangeError(EventLogError, LookupError):
    """The offset is before the log start offset or beyond the log end offset."""


class NoOffsetForPartitionError(EventLogError, LookupError):
    """``auto_offset_reset="none"`` and there is no position to start from."""


class InvalidGroupError(EventLogError, ValueError):
    """The name of a group is blank, longer than 32,767 bytes, or no text."""

    group: str | None = None


class UnknownGroupError(EventLogError, KeyError):
    """No member and no committed offset of this group exist."""

    group: str | None = None


class GroupNotEmptyError(EventLogError, RuntimeError):
    """The group has living members, and is not deleted before they have left. KIP-229."""

    group: str | None = None


class InconsistentGroupProtocolError(EventLogError, ValueError):
    """No assignor is known to all members of the group."""

    group: str | None = None


class CommitFailedError(EventLogError, RuntimeError):
    """The commit was refused: the group has given the partition to another member. Nothing was committed."""

    group: str | None = None


class FencedInstanceIdError(CommitFailedError):
    """Another member of the group has the same ``group_instance_id``: it lives, or has come after this one. KIP-345."""


class RetriableCommitFailedError(CommitFailedError):
    """A process that was stopped, or has no processor, holds the group's lock. Nothing was committed, and the same call
    may succeed later, while the partition is still this member's.
    """


class FencedMemberError(CommitFailedError):
    """The group goes on without this member, which did not poll for ``max_poll_interval_ms``; the next poll rejoins."""


class OutOfOrderSequenceError(EventLogError, RuntimeError):
    """The sequence numbers of an idempotent producer do not follow the last ones of the partition. KIP-98.

    Records before these are missing, or these were written so long ago that their offsets are not known any more.
    Nothing was written.
    """


class ProducerFencedError(EventLogError, RuntimeError):
    """A newer producer of the same id has taken this one's place, which can do nothing more. KIP-98."""


class TransactionAbortableError(EventLogError, RuntimeError):
    """A record of the open transaction failed, so it can only be aborted; then the producer goes on. KIP-890."""


class TransactionAbortedError(EventLogError, RuntimeError):
    """The record belonged to a transaction that was aborted. It was not written."""


class TransactionTimeoutError(EventLogError, TimeoutError):
    """The transaction was open for longer than ``transaction_timeout_ms``. It can only be aborted."""


class InvalidConfigError(EventLogError, ValueError):
    """A setting is unknown or its value is not possible."""


class MissingExtraError(EventLogError, ImportError):
    """An optional dependency is not installed; the hint is the command that installs it."""

    @classmethod
    def of(cls, extra: str, reason: str) -> MissingExtraError:
        """Return the error of this extra."""
        return cls(reason, hint=f"pip install '{DISTRIBUTION}[{extra}]'")


class ClosedError(EventLogError, RuntimeError):
    """The object was closed, or belongs to the parent of a forked process."""


class IllegalStateError(EventLogError, RuntimeError):
    """The call does not fit the object's state, such as ``assign`` after ``subscribe``."""


class NotAssignedError(IllegalStateError, UnknownPartitionError):
    """The partition is not assigned to this consumer, which has no place in it to ask for or to change."""


class ConcurrentAccessError(EventLogError, RuntimeError):
    """A consumer was used by two threads at once. Only ``wakeup()`` may be called from another thread."""


class ReentrantCallError(EventLogError, RuntimeError):
    """This thread is inside another call, which a signal handler, a finalizer or a logging handler has interrupted.

    Nothing was done. To wait would be to wait for ever: the other call goes on when this one has ended.
    """


class WakeupError(EventLogError):
    """Raised out of a waiting ``poll`` by another thread's ``wakeup()``."""


class BufferExhaustedError(EventLogError, TimeoutError):
    """``send`` waited ``max_block_ms`` for room within ``buffer_memory``. The record was not accepted."""


class DeliveryTimeoutError(EventLogError, TimeoutError):
    """What was waited for did not happen in time: a record may still be written, another process lets nobody go on."""


class LockTimeoutError(DeliveryTimeoutError):
    """Another process has held the lock of the file ``path`` for too long, stopped or hanging; nothing was written.

    ``process`` is its id, where the system tells. The wait is bounded by ``lock_timeout_ms`` of `eventlog.open`, for a
    producer's records by ``delivery_timeout_ms``, and for ``init_transactions`` by ``max_block_ms``.
    """

    process: int | None = None
