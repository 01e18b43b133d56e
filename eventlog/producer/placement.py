"""Which partition a record goes to, as Kafka's producer decides it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventlog.config import ProducerConfig
from eventlog.errors import UnknownPartitionError
from eventlog.partitioners import (
    RoundRobinPartitioner,
    StickyPartitioner,
    partition_for_key,
    partitions_for_keys,
)
from eventlog.quantities import shown, whole
from eventlog.topics.topic import Topic

_MOST_UINT16 = 2**16 - 1

Partitioner = Callable[[str, bytes | None, bytes | None, int], int]


class Placement:
    """Explicit partition, else the custom partitioner, else the key's hash, else sticky (or round robin)."""

    def __init__(self, config: ProducerConfig) -> None:
        self.is_sticky = config.partitioner == "default"
        self.hashes_keys = not callable(config.partitioner)
        self._custom: Partitioner | None = config.partitioner if callable(config.partitioner) else None
        self._batch_size = config.batch_size
        self._keyless: dict[str, StickyPartitioner | RoundRobinPartitioner] = {}

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

    def sent(self, topic: str, size: int) -> None:
        """Note that ``size`` bytes went to the topic's sticky partition."""
        partitioner = self._keyless.get(topic)
        if isinstance(partitioner, StickyPartitioner):
            partitioner.sent(size)

    def split(
        self,
        topic: Topic,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None,
        explicit: int | None,
    ) -> dict[int, Sequence[int]]:
        """Return, for each partition that gets any of the records, their places in the list, in order."""
        count, n = len(topic.partitions), len(values)
        if explicit is not None:
            return {_checked(explicit, topic.name, count): range(n)}
        if self._custom is None and (count == 1 or (keys is None and self.is_sticky)):
            return {self.keyless(topic.name, count): range(n)}
        return places_by_number(self._numbers(topic, values, keys, count))

    def _numbers(self, topic: Topic, values: Sequence[Any], keys: Sequence[Any] | None, count: int) -> NDArray[Any]:
        if keys is not None and self._custom is None:
            with contextlib.suppress(TypeError):  # some have no key
                return partitions_for_keys(keys, count)
        columns = keys if keys is not None else [None] * len(values)
        if self._custom is not None:
            numbers = [self.choose(topic, key, value) for key, value in zip(columns, values, strict=True)]
            return np.array(numbers, dtype=np.int32)
        present = [key for key in columns if key is not None]
        hashed = iter(partitions_for_keys(present, count).tolist() if present else ())
        numbers = [self.keyless(topic.name, count) if key is None else next(hashed) for key in columns]
        return np.array(numbers, dtype=np.int32)


def places_by_number(numbers: NDArray[Any]) -> dict[int, Sequence[int]]:
    """Return, for each partition in ``numbers``, where it stands there, in order."""
    narrow = numbers.astype(np.uint16) if numbers.max() <= _MOST_UINT16 else numbers  # is sorted by its digits
    order = np.argsort(narrow, kind="stable").tolist()
    counts = np.bincount(numbers).tolist()
    places: dict[int, Sequence[int]] = {}
    start = 0
    for number, count in enumerate(counts):
        if count:
            places[number] = order[start : start + count]
            start += count
    return places


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
