"""Which partition a record goes to, as Kafka's producer decides it."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventlog.config import ProducerConfig
from eventlog.errors import UnknownPartitionError
from eventlog.files.mutex import calls_out
from eventlog.partitioners import (
    RoundRobinPartitioner,
    StickyPartitioner,
    partition_for_key,
    partitions_for_joined,
)
from eventlog.producer.list_columns import ListColumns, Split
from eventlog.quantities import whole
from eventlog.texts import shown
from eventlog.topics.topic import Topic

_MOST_UINT8, _MOST_UINT16 = 2**8 - 1, 2**16 - 1

Partitioner = Callable[[str, bytes | None, bytes | None, int], int]


class Placement:
    """Explicit partition, else the custom partitioner, else the key's hash, else sticky (or round robin)."""

    def __init__(self, config: ProducerConfig) -> None:
        self.is_sticky = config.partitioner == "default"
        self.hashes_keys = not callable(config.partitioner)
        self._custom: Partitioner | None = config.partitioner if callable(config.partitioner) else None
        self._batch_size = config.batch_size
        self._keyless: dict[str, StickyPartitioner | RoundRobinPartitioner] = {}

    @calls_out
    def choose(self, topic: Topic, key: bytes | None, value: bytes | None, explicit: int | None = None) -> int:
        """Return the partition of one record. Raises UnknownPartitionError for a number the topic does not have."""
        count = len(topic.partitions)
        if explicit is not None:
            return _checked(explicit, topic.name, count)
        if self._custom is not None:
            return _checked(self._custom(topic.name, key, value, count), topic.name, count)
        if key is None:
            return self.keyless(topic.name, count)
        return partition_for_key(key, count)

    def keyless(self, topic: str, count: int) -> int:
        """Return the partition for a record, or a whole batch, without a key."""
        if count == 1:
            return 0
        partitioner = self._keyless.get(topic)
        if partitioner is None:
            fresh = StickyPartitioner(self._batch_size) if self.is_sticky else RoundRobinPartitioner()
            partitioner = self._keyless.setdefault(topic, fresh)
        return partitioner.partition(count)

    def keyless_all(self, topic: str, count: int, sizes: Sequence[int]) -> list[int]:
        """Return the partition of each of these records, of so many bytes, as if they were sent one by one."""
        numbers: list[int] = []
        ends = list(itertools.accumulate(sizes, initial=0))
        while len(numbers) < len(sizes):
            number, partitioner, first = self.keyless(topic, count), self._keyless.get(topic), len(numbers)
            if isinstance(partitioner, StickyPartitioner):
                last = min(bisect.bisect_left(ends, ends[first] + partitioner.bytes_left, first + 1), len(sizes))
                partitioner.sent(ends[last] - ends[first])
            else:  # each one goes to the next partition, or there is but one
                last = len(sizes) if partitioner is None else first + 1
            numbers += [number] * (last - first)
        return numbers

    def sent(self, topic: str, size: int) -> None:
        """Note that ``size`` bytes went to the topic's sticky partition."""
        partitioner = self._keyless.get(topic)
        if isinstance(partitioner, StickyPartitioner):
            partitioner.sent(size)

    def split(self, topic: Topic, columns: ListColumns, explicit: int | None) -> Split:
        """Return which records go to which partition, each one's in the order of the list."""
        count, n = len(topic.partitions), len(columns)
        if explicit is not None:
            return Split(None, [(_checked(explicit, topic.name, count), 0, n)])
        if self._custom is None and (count == 1 or (columns.keys is None and self.is_sticky)):
            return Split(None, [(self.keyless(topic.name, count), 0, n)])
        return split_by_number(self._numbers(topic, columns, count))

    def _numbers(self, topic: Topic, columns: ListColumns, count: int) -> NDArray[Any]:
        joined = columns.joined_keys() if self._custom is None else None
        if joined is not None:
            return partitions_for_joined(joined.data, joined.sizes, count)
        values = columns.values
        keys = [None] * len(values) if columns.keys is None else columns.keys
        numbers = [self.choose(topic, key, value) for key, value in zip(keys, values, strict=True)]
        return np.array(numbers, dtype=np.int32)


def split_by_number(numbers: NDArray[Any]) -> Split:
    """Return the places of each partition in ``numbers``, in order."""
    most = numbers.max()
    narrow = numbers.astype(np.uint8 if most <= _MOST_UINT8 else np.uint16) if most <= _MOST_UINT16 else numbers
    order = narrow.argsort(kind="stable")  # what is narrow is sorted by its digits
    parts, low = [], 0
    for number, count in enumerate(np.bincount(numbers).tolist()):
        if count:
            parts.append((number, low, low + count))
            low += count
    return Split(None if len(parts) == 1 else order, parts)


def _checked(number: object, topic: str, count: int) -> int:
    place = whole(number)
    if place is not None and 0 <= place < count:
        return place
    raise UnknownPartitionError(
        f"{topic} has no partition {shown(number)}",
        topic=topic,
        partition=number if place is None else place,
        hint=f"it has {count}, numbered from 0",
    )
