"""What callers give as partitions, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventlog.errors import InvalidRecordError, UnknownPartitionError
from eventlog.model import TopicPartition
from eventlog.quantities import whole


def checked_partition(partition: object) -> TopicPartition:
    """Return a (topic, number) pair as a TopicPartition. Raises UnknownPartitionError for anything else."""
    if type(partition) is TopicPartition and type(partition[1]) is int and partition[1] >= 0:  # nearly always
        return partition
    match partition:
        case (str(topic), number) if (place := whole(number)) is not None and place >= 0:
            return TopicPartition(topic, place)
    raise UnknownPartitionError(f"{partition!r} is no partition", hint="give TopicPartition(topic, number)")


def checked_partitions(partitions: object) -> list[TopicPartition]:
    """Return (topic, number) pairs as TopicPartitions. Raises UnknownPartitionError for anything else."""
    if isinstance(partitions, Iterable) and not isinstance(partitions, str | bytes):
        return [checked_partition(partition) for partition in partitions]
    raise UnknownPartitionError(
        f"{partitions!r} is no list of partitions", hint="give a list: [TopicPartition(topic, number)]"
    )


def checked_times(times_ms: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Return times by partition. Raises InvalidRecordError for no dict; what is no time is for the partition to say."""
    if not isinstance(times_ms, Mapping):
        raise InvalidRecordError(
            f"times_ms is a {type(times_ms).__name__}", hint="give a dict: {TopicPartition(topic, 0): time_ms}"
        )
    return dict(zip(checked_partitions(times_ms), times_ms.values(), strict=True))
