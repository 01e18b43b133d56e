"""The keyword arguments that `EventLog.create_topic`, `producer` and `consumer` take, for editors and type checkers.

`TopicConfig`, `ProducerConfig` and `ConsumerConfig` hold the same settings at run time, with their checks and defaults.
Each is Kafka's setting of the same name with dots for underscores, unless its text says otherwise.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from eventlog.coordination.assignors.assignor import Assignor

Durability: TypeAlias = Literal["os", "disk"]
CompressionType: TypeAlias = Literal["none", "gzip", "snappy", "lz4", "zstd"]
TopicCompressionType: TypeAlias = Literal["producer", "uncompressed", "none", "gzip", "snappy", "lz4", "zstd"]
Format: TypeAlias = Literal["bytes", "str", "json"] | None
SerializerSetting: TypeAlias = Format | type[str] | Callable[[Any], bytes | None]
DeserializerSetting: TypeAlias = Format | Callable[[bytes], Any]
Partitioner: TypeAlias = Callable[[str, bytes | None, bytes | None, int], int]
Strategy: TypeAlias = Literal["cooperative-sticky", "sticky", "range", "roundrobin"] | Assignor


class TopicSettings(TypedDict, total=False):
    """Settings of a topic, stored with it. Sizes are in bytes, times in milliseconds."""

    segment_bytes: int
    """The size at which a segment file is full and the next one begins. Default 1073741824 (1 GiB)."""
    segment_ms: int
    """The span of time that a segment's records may cover. Default 604800000 (7 days)."""
    index_interval_bytes: int
    """One index entry is written per so many bytes of a segment. Default 4096."""
    max_message_bytes: int
    """The largest batch, and so the largest record. Default 1048576 (1 MiB)."""
    message_timestamp_type: Literal["CreateTime", "LogAppendTime"]
    """Who stamps records: the producer or the log. Default "CreateTime"."""
    message_timestamp_before_max_ms: int
    """How old a record's own timestamp may be when it is sent. Default 9223372036854775807 (no limit)."""
    message_timestamp_after_max_ms: int
    """How far ahead of the clock a record's own timestamp may be. Default 3600000 (1 hour)."""
    compression_type: TopicCompressionType
    """One codec for all records, or "producer": what each producer chose. Default "producer"."""
    durability: Durability
    """What an acknowledgement promises: "os" survives a crash of the process, "disk" a power cut. Default "os". Not in
    Kafka."""
    flush_messages: int
    """Sync after so many records. Kafka: flush.messages. Default 9223372036854775807 (never)."""
    flush_ms: int
    """Sync when the last sync is so long ago; checked by appends. Default 9223372036854775807 (never)."""


class ProducerSettings(TypedDict, total=False):
    """Settings of a producer. Sizes are in bytes, times in milliseconds."""

    batch_size: int
    """The size at which a batch is full. Default 65536 (Kafka: 16384)."""
    linger_ms: float
    """How long a record waits for its batch to fill; with 0 each `send` writes at once. Default 5."""
    buffer_memory: int
    """The most that may wait in this producer, or in its open transaction. Default 33554432 (32 MiB)."""
    max_block_ms: int
    """How long `send` waits for room before it raises BufferExhaustedError. Default 60000."""
    acks: Literal["all", -1, 0, 1]
    """With 0 no outcome is reported; the other values mean the same here. Default "all"."""
    durability: Durability | None
    """What an acknowledgement promises; None leaves it to the topic. Default None. Not in Kafka."""
    retries: int
    """How often an append that failed is tried again. Default 2147483647."""
    retry_backoff_ms: int
    """The pause before an append is tried again. Default 100."""
    delivery_timeout_ms: int
    """The time after `send` in which an append is tried again; then the delivery has failed. Default 120000."""
    enable_idempotence: bool
    """What is tried again is stored once, in order. Default True; False with acks 0 or 1, or retries=0."""
    compression_type: CompressionType
    """The codec of batches; all but "gzip" need the extra `compression`. Default "none"."""
    transactional_id: str | None
    """The name under which this producer writes in transactions; a later producer of the same name fences this one.
    Default None."""
    transaction_timeout_ms: int
    """A transaction that is open for longer can only be aborted. Default 60000, at most 900000."""
    partitioner: Literal["default", "round_robin"] | Partitioner
    """"default" (hash of the key, else sticky), "round_robin", or a function of topic, key, value and number of
    partitions that returns a partition. Default "default". Kafka: partitioner.class."""
    key_serializer: SerializerSetting
    """What turns a key into bytes: "bytes", "str", "json", or a function. Default None (bytes stay as they are)."""
    value_serializer: SerializerSetting
    """What turns a value into bytes: "bytes", "str", "json", or a function. Default None (bytes stay as they are)."""


class ReadSettings(TypedDict, total=False):
    """Settings of a consumer but for its deserializers, which say what its records hold."""

    auto_offset_reset: Literal["earliest", "latest", "none"] | datetime.timedelta
    """Where to begin without a position, or when the position is not in the log. A timedelta begins at the records of
    that last span of time, as "by_duration:PT1H" does (KIP-1106). Default "latest"."""
    max_poll_records: int
    """The most records that `poll` returns. Default 500."""
    fetch_max_bytes: int
    """The most bytes that `poll_batches` returns; it always returns one batch. Default 52428800 (50 MiB)."""
    isolation_level: Literal["read_uncommitted", "read_committed"]
    """Both read the same here: uncommitted records are never visible. Default "read_uncommitted"."""
    check_crcs: bool
    """Check the CRC-32C of each batch. Default True."""
    exclude_internal_topics: bool
    """A pattern does not match topics whose names begin with two underscores. Default True."""
    group: str | None
    """The group to share the work with. Default None. Kafka: group.id."""
    group_instance_id: str | None
    """Makes a static member, whose partitions wait for it while it restarts (KIP-345). Default None."""
    client_id: str
    """The beginning of the member's id. Default ""."""
    session_timeout_ms: int
    """How long the partitions of a static member wait for it. Default 45000."""
    max_poll_interval_ms: int
    """A member that does not poll for so long is removed from its group. Default 300000."""
    partition_assignment_strategy: Strategy | Sequence[Strategy]
    """How the group shares its partitions; several strategies in order of preference. Default "cooperative-sticky"."""
    enable_auto_commit: bool
    """`poll` and `close` commit what earlier polls returned. Default True."""
    auto_commit_interval_ms: int
    """How often they commit. Default 5000."""


class ConsumerSettings(ReadSettings, total=False):
    """Settings of a consumer. Sizes are in bytes, times in milliseconds."""

    key_deserializer: DeserializerSetting
    """What turns bytes into a key: "bytes", "str", "json", or a function. Default None (bytes stay as they are)."""
    value_deserializer: DeserializerSetting
    """What turns bytes into a value: "bytes", "str", "json", or a function. Default None (bytes stay as they are)."""
