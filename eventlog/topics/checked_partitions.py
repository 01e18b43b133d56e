"""What callers give as partitions, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventlog.errors import InvalidRecordError, UnknownPartitionError
from eventlog.model import Time, TopicPartition
from eventlog.quantities import whole
from eventlog.texts import plain, shown


def checked_partition(partition: object) -> TopicPartition:
    """Return a (topic, number) pair as a TopicPartition. Raises UnknownPartitionError for anything else."""
    if type(partition) is TopicPartition:  # nearly always
        name, place = partition
        if type(name) is str and type(place) is int and place >= 0:
            return partition
    match partition:
        case (str(topic), number) if (found := whole(number)) is not None and found >= 0:
            return TopicPartition(plain(topic), found)
    raise UnknownPartitionError(f"{shown(partition)} is no partition", hint="give TopicPartition(topic, number)")


def checked_partitions(partitions: object) -> list[TopicPartition]:
    """Return (topic, number) pairs as TopicPartitions. Raises UnknownPartitionError for anything else."""
    if isinstance(partitions, Iterable) and not isinstance(partitions, str | bytes):
        return [checked_partition(partition) for partition in partitions]
    raise UnknownPartitionError(
        f"{shown(partitions)} is no list of partitions", hint="give a list: [TopicPartition(topic, number)]"
    )


def checked_times(times_ms: Mapping[TopicPartition, Time]) -> dict[TopicPartition, Time]:
    """Return times by partition. Raises InvalidRecordError for no dict; what is no time is for the partition to say."""
    if not isinstance(times_ms, Mapping):
        raise InvalidRecordError(
            f"times_ms is a {type(times_ms).__name__}", hint="give a dict: {TopicPartition(topic, 0): time_ms}"
        )
    return dict(zip(checked_partitions(times_ms), times_ms.values(), strict=True))
