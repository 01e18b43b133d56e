"""What callers want to commit, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventlog.config import NEVER
from eventlog.errors import InvalidRecordError, OffsetOutOfRangeError, RecordTooLargeError
from eventlog.model import GroupMetadata, OffsetAndMetadata, TopicPartition
from eventlog.quantities import whole
from eventlog.texts import plain, shown
from eventlog.topics.checked_partitions import checked_partition
from eventlog.topics.registry import TopicRegistry

MAX_METADATA = 4096  # as Kafka's offset.metadata.max.bytes, which counts Java's characters: of UTF-16
_MAX_EPOCH = 2**31 - 1


def checked_offsets(registry: TopicRegistry, offsets: object) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return what a caller wants to commit.

    Raises InvalidRecordError for what is no dict of offsets, UnknownPartitionError, UnknownTopicError, and
    OffsetOutOfRangeError for offsets that are negative. One beyond the end is possible, as in Kafka.
    """
    if not isinstance(offsets, Mapping):
        raise InvalidRecordError(
            f"offsets is a {type(offsets).__name__}", hint="give a dict: {TopicPartition(topic, 0): offset}"
        )
    checked = {}
    for partition, value in offsets.items():
        tp = checked_partition(partition)
        checked[tp] = wanted = checked_offset(tp, value)
        registry.get(tp.topic).partitions[tp.partition]  # which raises when there is none
        if not 0 <= wanted.offset <= NEVER:
            raise OffsetOutOfRangeError(
                f"cannot commit offset {shown(wanted.offset)}",
                topic=tp.topic, partition=tp.partition, offset=wanted.offset,
                hint="give that of the record to read next: 0 or more, in 64 bits",
            )  # fmt: skip
    return checked


def checked_offset(tp: TopicPartition, value: object) -> OffsetAndMetadata:
    """Return what a caller wants to commit, given as an offset or with metadata; its range is for the caller to check.

    Raises InvalidRecordError for what is neither, and RecordTooLargeError for metadata over 4096 characters.

    >>> checked_offset(TopicPartition("orders", 0), 7)
    OffsetAndMetadata(offset=7, metadata='', leader_epoch=None)
    """
    if type(value) is int:  # nearly always
        return OffsetAndMetadata(value)
    position = value if isinstance(value, OffsetAndMetadata) else OffsetAndMetadata(value)  # type: ignore[arg-type]
    offset = whole(position.offset)
    if offset is None:
        raise _invalid(tp, f"offset {shown(position.offset)} is not a whole number")
    metadata = _checked_metadata(tp, position.metadata)
    if position.leader_epoch is None:
        return OffsetAndMetadata(offset, metadata)
    epoch = whole(position.leader_epoch)
    if epoch is None or not 0 <= epoch <= _MAX_EPOCH:
        raise _invalid(tp, f"leader epoch {shown(position.leader_epoch)} is not possible")
    return OffsetAndMetadata(offset, metadata, epoch)


def checked_group(metadata: object) -> GroupMetadata:
    """Return who commits, as ``consumer.group_metadata()`` tells it. Raises InvalidRecordError for what is not that.

    >>> checked_group(GroupMetadata("billing"))
    GroupMetadata(group='billing', generation=-1, member_id='', group_instance_id=None)
    """
    if not isinstance(metadata, GroupMetadata):
        raise InvalidRecordError(f"the group is a {type(metadata).__name__}", hint="give consumer.group_metadata()")
    fields: tuple[Any, ...] = metadata
    group, generation, member_id, instance_id = fields
    number, hint = whole(generation), "give consumer.group_metadata() as it is"
    if number is None or not isinstance(member_id, str) or not isinstance(instance_id, str | None):
        raise InvalidRecordError(f"{shown(metadata)} is of no consumer", hint=hint)
    if number > 0 and not plain(member_id):
        raise InvalidRecordError(f"generation {shown(number)} of no member", hint=hint)
    return GroupMetadata(group, number, plain(member_id), None if instance_id is None else plain(instance_id))


def _checked_metadata(tp: TopicPartition, metadata: object) -> str:
    if metadata is None:
        return ""
    if not isinstance(metadata, str):
        raise _invalid(tp, f"metadata is {type(metadata).__name__}, not a text")
    metadata = plain(metadata)
    try:
        size = len(metadata.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        raise _invalid(tp, "metadata cannot be written as UTF-8") from None
    if size > MAX_METADATA:
        raise RecordTooLargeError(
            f"metadata of {size} characters, and {MAX_METADATA} are possible", topic=tp.topic, partition=tp.partition,
            hint="keep it elsewhere, and commit where that is",
        )  # fmt: skip
    return metadata


def _invalid(tp: TopicPartition, reason: str) -> InvalidRecordError:
    return InvalidRecordError(
        reason, topic=tp.topic, partition=tp.partition,
        hint="give the offset of the record to read next, or OffsetAndMetadata(offset, 'text', leader_epoch)",
    )  # fmt: skip
