"""Makes the readers of a consumer's partitions, as its settings say."""

from __future__ import annotations

from eventlog.clock import Clock
from eventlog.config import ConsumerConfig
from eventlog.consumer.offset_reset import OffsetReset
from eventlog.consumer.partition_reader import PartitionReader
from eventlog.model import TopicPartition
from eventlog.serializers import deserializer
from eventlog.topics.partition import Partition
from eventlog.topics.registry import TopicRegistry


class ReaderFactory:
    """What all readers of one consumer share. Raises InvalidConfigError, or MissingExtraError, for a deserializer."""

    def __init__(self, registry: TopicRegistry, config: ConsumerConfig, clock: Clock) -> None:
        self._registry = registry
        self._check_crcs = config.check_crcs
        self._reset = OffsetReset(config.auto_offset_reset, clock)
        self._deserialize_key = deserializer(config.key_deserializer, "key")
        self._deserialize_value = deserializer(config.value_deserializer, "value")

    def partition(self, tp: TopicPartition) -> Partition:
        """Return the partition. Raises UnknownTopicError and UnknownPartitionError."""
        return self._registry.get(tp.topic).partitions[tp.partition]

    def make(self, tp: TopicPartition) -> PartitionReader:
        """Return a reader that has no position yet."""
        return PartitionReader(
            self.partition(tp), self._reset, self._check_crcs, self._deserialize_key, self._deserialize_value
        )

    def make_late(self, tp: TopicPartition) -> PartitionReader:
        """Return one of a partition that appeared while the consumer was running: nothing in it was seen before."""
        reader = self.make(tp)
        reader.seek_to_beginning()
        return reader
