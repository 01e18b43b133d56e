"""The values that callers hold: records, coordinates and acknowledgements. All immutable."""

from __future__ import annotations

import datetime
import enum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # with defaults (PEP 696), which type checkers know without the package

    Key = TypeVar("Key", default=bytes | None)
    Value = TypeVar("Value", default=bytes | None)
else:
    from typing import TypeVar

    Key, Value = TypeVar("Key"), TypeVar("Value")

Headers = tuple[tuple[str, bytes | None], ...]
Time: TypeAlias = int | datetime.datetime  # milliseconds since the epoch, or a datetime with a time zone

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def _moment(timestamp_ms: int) -> datetime.datetime:
    return EPOCH + datetime.timedelta(milliseconds=timestamp_ms)


class TimestampType(enum.IntEnum):
    """Who stamped a record: its producer (CreateTime) or the log (LogAppendTime). KIP-32."""

    CREATE_TIME = 0
    LOG_APPEND_TIME = 1


class TopicPartition(NamedTuple):
    """A topic's name and a partition's number."""

    topic: str
    partition: int


class Record(NamedTuple, Generic[Key, Value]):
    """One event. A plain tuple underneath: a poll builds hundreds of thousands of these a second.

    ``key`` and ``value`` are bytes, or whatever the consumer's deserializers made of them; a ``value`` of None is a
    tombstone. The type of one whose key is a string and whose value an order is ``Record[str, Order]``.
    ``timestamp_ms`` is in milliseconds since the Unix epoch. ``headers`` are ``(name, bytes)`` pairs in the order in
    which they were sent.

    >>> Record("orders", 0, 7, 1700000000000, TimestampType.CREATE_TIME, b"k", b"v").offset
    7
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    timestamp_type: TimestampType
    key: Key
    value: Value
    headers: Headers = ()

    @property
    def timestamp(self) -> datetime.datetime:
        """The timestamp as a datetime in UTC. Raises OverflowError after the year 9999.

        >>> Record("orders", 0, 7, 1700000000000, TimestampType.CREATE_TIME, b"k", b"v").timestamp.isoformat()
        '2023-11-14T22:13:20+00:00'
        """
        return _moment(self.timestamp_ms)


class RecordMetadata(NamedTuple):
    """The acknowledgement of one record.

    ``durable`` tells what the acknowledgement promises: True when the record was on the device before it was
    acknowledged (``durability="disk"``), False when it survives a crash of the process but not yet a power cut.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    durable: bool


class AppendResult(NamedTuple):
    """Where an append landed: offsets ``base_offset`` to ``last_offset``, both included.

    ``timestamp_ms`` is the largest timestamp written, ``durable`` as in `RecordMetadata`.
    """

    base_offset: int
    last_offset: int
    timestamp_ms: int
    durable: bool


class OffsetAndMetadata(NamedTuple):
    """A committed position: the offset of the record to read next, and a text of the caller's own.

    ``leader_epoch`` is that of the record before, or None when it is not known.
    """

    offset: int
    metadata: str = ""
    leader_epoch: int | None = None


class GroupMetadata(NamedTuple):
    """Who commits: a group, its generation, and the member. For `send_offsets_to_transaction`, as in Kafka.

    ``generation`` is -1 and ``member_id`` empty for a consumer that is no member.
    """

    group: str
    generation: int = -1
    member_id: str = ""
    group_instance_id: str | None = None


class OffsetAndTimestamp(NamedTuple):
    """The first offset whose timestamp is at or after the one that was looked up, and its timestamp."""

    offset: int
    timestamp_ms: int

    @property
    def timestamp(self) -> datetime.datetime:
        """The timestamp as a datetime in UTC. Raises OverflowError after the year 9999."""
        return _moment(self.timestamp_ms)
