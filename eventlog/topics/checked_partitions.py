"""What callers give as a partition, checked."""

from __future__ import annotations

from collections.abc import Iterable

from eventlog.errors import UnknownPartitionError
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
