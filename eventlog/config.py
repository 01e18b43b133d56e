"""Settings of topics, producers and consumers: Kafka's names with underscores, Kafka's units and defaults.

Where a default differs from Kafka's, the reason stands beside it.
"""

from __future__ import annotations

import contextlib
import datetime
import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from eventlog.errors import InvalidConfigError
from eventlog.quantities import duration_ms, is_blank, is_legal_name
from eventlog.texts import plain, shown

COMPRESSION_TYPES = ("none", "gzip", "snappy", "lz4", "zstd")  # of a producer
UNCOMPRESSED = "uncompressed"  # of a topic, where Kafka calls "none" so
DURABILITIES = ("os", "disk")
BY_DURATION = "by_duration:"  # KIP-1106
NEVER = 2**63 - 1
_SIMILAR = 0.75  # of difflib: a misspelt name comes out above it, one that only shares an ending below
MAX_SEGMENT_BYTES = 2**31 - 1  # positions within a segment are 32-bit in the offset index

# Kafka's own names for what this version does not do: whoever gives one has not misspelt another.
_ONLY_IN_KAFKA = {
    "bootstrap_servers", "cleanup_policy", "delete_retention_ms",
    "api_version", "fetch_max_wait_ms", "fetch_min_bytes", "file_delete_delay_ms",
    "heartbeat_interval_ms", "max_compaction_lag_ms", "max_in_flight_requests_per_connection",
    "max_partition_fetch_bytes", "max_request_size", "min_cleanable_dirty_ratio",
    "metadata_max_age_ms", "min_compaction_lag_ms", "min_insync_replicas", "preallocate",
    "replication_factor", "request_timeout_ms", "retention_bytes", "retention_ms", "segment_index_bytes",
    "security_protocol", "segment_jitter_ms", "unclean_leader_election_enable",
}  # fmt: skip

# What other clients of Kafka call a setting, or an argument, that is here: its name, or how it is given.
_ELSEWHERE = {
    "group_id": "it is called 'group' here",
    "num_partitions": "the second argument of create_topic: partitions=3",
    "consumer_timeout_ms": "give poll a timeout, in seconds",
    "timeout_ms": "give poll a timeout, in seconds",
    "read_committed": "it is called isolation_level='read_committed' here",
    "compression": "it is called 'compression_type' here",
    "enable_auto_offset_store": "poll returns what is committed next; with enable_auto_commit=False call commit",
}

Config = TypeVar("Config", "TopicConfig", "ProducerConfig", "ConsumerConfig")


def _fail(attribute: attrs.Attribute[Any], value: object, expected: str) -> InvalidConfigError:
    return InvalidConfigError(f"{attribute.name}={shown(value)} is not possible", hint=f"give {expected}")


def _whole(low: int, high: int = NEVER) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _fail(attribute, value, f"a whole number from {low} to {high}")

    return check


def _one_of(*choices: object) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in choices:
            raise _fail(attribute, value, "one of " + ", ".join(map(repr, choices)))

    return check


def _flag(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not bool:
        raise _fail(attribute, value, "True or False")


def _text_or_none(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, str) or is_blank(value)):
        raise _fail(attribute, value, "a text that is not blank, or None")


def _text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise _fail(attribute, value, "a text")


def _offset_reset(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value in ("earliest", "latest", "none"):
        return
    if isinstance(value, str) and value.startswith(BY_DURATION):
        with contextlib.suppress(ValueError):
            duration_ms(value.removeprefix(BY_DURATION))
            return
    raise _fail(attribute, value, "'earliest', 'latest', 'none', a timedelta, or 'by_duration:PT1H'")


def _as_policy(value: object) -> object:
    if not isinstance(value, datetime.timedelta):
        return value
    return f"{BY_DURATION}PT{value // datetime.timedelta(milliseconds=1) / 1000:.3f}S"


def _codec(kind: str) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None and not isinstance(value, str) and not callable(value):
            raise _fail(attribute, value, f"'bytes', 'str', 'json', a callable {kind} or None")

    return check


def _compression_of_topic(name: Any) -> Any:
    return UNCOMPRESSED if type(name) is str and name == "none" else name  # as logs of earlier versions call it


@attrs.frozen(kw_only=True)
class TopicConfig:
    """What a topic keeps and how; stored in its ``topic.json``.

    >>> TopicConfig(segment_bytes=1 << 20).segment_ms
    604800000
    """

    segment_bytes: int = attrs.field(default=2**30, validator=_whole(1024, MAX_SEGMENT_BYTES))
    segment_ms: int = attrs.field(default=7 * 24 * 3600 * 1000, validator=_whole(1))
    index_interval_bytes: int = attrs.field(default=4096, validator=_whole(0, MAX_SEGMENT_BYTES))
    max_message_bytes: int = attrs.field(default=2**20, validator=_whole(256, 2**30))
    message_timestamp_type: str = attrs.field(default="CreateTime", validator=_one_of("CreateTime", "LogAppendTime"))
    message_timestamp_before_max_ms: int = attrs.field(default=NEVER, validator=_whole(0))
    message_timestamp_after_max_ms: int = attrs.field(default=3600 * 1000, validator=_whole(0))
    compression_type: str = attrs.field(
        default="producer",
        converter=_compression_of_topic,
        validator=_one_of("producer", UNCOMPRESSED, *COMPRESSION_TYPES[1:]),
    )
    durability: str = attrs.field(default="os", validator=_one_of(*DURABILITIES))
    flush_messages: int = attrs.field(default=NEVER, validator=_whole(1))
    flush_ms: int = attrs.field(default=NEVER, validator=_whole(0))


@attrs.frozen(kw_only=True)
class ProducerConfig:
    """How a producer batches, waits and acknowledges.

    ``durability=None`` leaves the choice to the topic. ``partitioner`` is ``"default"`` (key hash, else sticky),
    ``"round_robin"``, or a callable ``(topic, key, value, partitions) -> int`` that gets the serialized bytes.
    """

    # Kafka: 16384. Here no network hides the cost of a batch; above 64 KiB the cycle collector costs more.
    batch_size: int = attrs.field(default=65536, validator=_whole(0, 2**30))
    linger_ms: float = attrs.field(default=5)
    buffer_memory: int = attrs.field(default=32 * 2**20, validator=_whole(1))
    max_block_ms: int = attrs.field(default=60_000, validator=_whole(0))
    acks: object = attrs.field(default="all", validator=_one_of("all", -1, 1, 0))
    durability: str | None = attrs.field(default=None, validator=_one_of(None, *DURABILITIES))
    retries: int = attrs.field(default=2**31 - 1, validator=_whole(0, 2**31 - 1))
    retry_backoff_ms: int = attrs.field(default=100, validator=_whole(0))
    delivery_timeout_ms: int = attrs.field(default=120_000, validator=_whole(0, 2**31 - 1))
    enable_idempotence: bool = attrs.field(
        default=attrs.Factory(lambda self: self.acks in ("all", -1) and self.retries > 0, takes_self=True),
        validator=_flag,
    )
    compression_type: str = attrs.field(default="none", validator=_one_of(*COMPRESSION_TYPES))
    transactional_id: str | None = attrs.field(default=None)
    transaction_timeout_ms: int = attrs.field(default=60_000, validator=_whole(1, 900_000))  # Kafka's brokers' limit
    partitioner: Any = attrs.field(default="default")
    key_serializer: Any = attrs.field(default=None, validator=_codec("serializer"))
    value_serializer: Any = attrs.field(default=None, validator=_codec("serializer"))

    @linger_ms.validator
    def _check_linger(self, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= NEVER:
            raise _fail(attribute, value, "milliseconds, 0 or more")

    @transactional_id.validator
    def _check_transactional(self, attribute: attrs.Attribute[Any], value: object) -> None:
        _text_or_none(self, attribute, value)
        if value is not None and not self.enable_idempotence:
            raise _fail(attribute, value, "acks='all' and retries as well, and enable_idempotence")

    @enable_idempotence.validator
    def _check_idempotence(self, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is True and self.acks not in ("all", -1):
            raise _fail(
                attribute, value, f"acks='all' as well, not {shown(self.acks)}: nobody tries unacknowledged again"
            )
        if value is True and not self.retries:
            raise _fail(attribute, value, "retries as well, 1 or more")

    @partitioner.validator
    def _check_partitioner(self, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in ("default", "round_robin") and not callable(value):
            raise _fail(attribute, value, "'default', 'round_robin' or a callable")


@attrs.frozen(kw_only=True)
class ConsumerConfig:
    """Where a consumer starts, how much a poll returns, what it makes of the bytes; its group, and how it commits.

    ``partition_assignment_strategy`` is a name ("cooperative-sticky", "sticky", "range", "roundrobin"), an object with
    an assignor's methods, or several of them, the preferred one first. Kafka's default is range with cooperative
    rebalancing left out; ours lets members whose partitions stay read on.
    """

    auto_offset_reset: str = attrs.field(default="latest", converter=_as_policy, validator=_offset_reset)
    max_poll_records: int = attrs.field(default=500, validator=_whole(1))
    fetch_max_bytes: int = attrs.field(default=50 * 2**20, validator=_whole(1))
    isolation_level: str = attrs.field(
        default="read_uncommitted", validator=_one_of("read_uncommitted", "read_committed")
    )
    check_crcs: bool = attrs.field(default=True, validator=_flag)
    exclude_internal_topics: bool = attrs.field(default=True, validator=_flag)
    group: str | None = attrs.field(default=None)
    group_instance_id: str | None = attrs.field(default=None)
    client_id: str = attrs.field(default="", validator=_text)
    session_timeout_ms: int = attrs.field(default=45_000, validator=_whole(1))
    max_poll_interval_ms: int = attrs.field(default=300_000, validator=_whole(1))
    partition_assignment_strategy: Any = attrs.field(default="cooperative-sticky")
    enable_auto_commit: bool = attrs.field(default=True, validator=_flag)
    auto_commit_interval_ms: int = attrs.field(default=5000, validator=_whole(0))

    key_deserializer: Any = attrs.field(default=None, validator=_codec("deserializer"))
    value_deserializer: Any = attrs.field(default=None, validator=_codec("deserializer"))

    @group_instance_id.validator
    def _check_instance(self, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None and not is_legal_name(value):
            raise _fail(attribute, value, "1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', neither '.' nor '..'; or None")
        if value is not None and self.group is None:
            raise _fail(attribute, value, "group as well: it is an id within one")


def configure(cls: type[Config], options: Mapping[str, object]) -> Config:
    """Build a configuration from keyword options; an unknown name gets the nearest known one, or all, as a hint.

    >>> configure(ProducerConfig, {"linger_ms": 0}).linger_ms
    0
    """
    known = attrs.fields_dict(cls)
    given: dict[str, Any] = dict(options)
    for name in given:
        if name not in known:
            raise _unknown_setting(cls, name, sorted(known))
    return cls(**{name: _plain_or_as_is(value) for name, value in given.items()})


def _plain_or_as_is(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


def _unknown_setting(cls: type[Any], name: str, known: list[str]) -> InvalidConfigError:
    everything = "known: " + ", ".join(known)
    if name in _ELSEWHERE:
        return InvalidConfigError(f"{cls.__name__} has no setting {name!r}", hint=_ELSEWHERE[name])
    if name in _ONLY_IN_KAFKA:
        return InvalidConfigError(f"{cls.__name__}: {name!r} is not a setting of this version", hint=everything)
    near = difflib.get_close_matches(name, known, n=1, cutoff=_SIMILAR)
    return InvalidConfigError(
        f"{cls.__name__} has no setting {name!r}", hint=f"did you mean {near[0]!r}?" if near else everything
    )
