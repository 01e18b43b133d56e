"""Settings: Kafka's names and defaults, every value checked, every mistake answered with what to give."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

import eventlog
from eventlog.config import configure
from eventlog.quantities import duration_ms

GOOD: list[tuple[Any, str, Any]] = [
    (eventlog.TopicConfig, "segment_bytes", 1024),
    (eventlog.TopicConfig, "segment_bytes", 2**31 - 1),
    (eventlog.TopicConfig, "flush_ms", 0),
    (eventlog.TopicConfig, "compression_type", "zstd"),
    (eventlog.TopicConfig, "compression_type", "uncompressed"),
    (eventlog.TopicConfig, "compression_type", "producer"),
    (eventlog.TopicConfig, "message_timestamp_type", "LogAppendTime"),
    (eventlog.ProducerConfig, "linger_ms", 0),
    (eventlog.ProducerConfig, "linger_ms", 0.5),
    (eventlog.ProducerConfig, "batch_size", 0),
    (eventlog.ProducerConfig, "acks", -1),
    (eventlog.ProducerConfig, "partitioner", hash),
    (eventlog.ProducerConfig, "value_serializer", str.encode),
    (eventlog.ConsumerConfig, "auto_offset_reset", "none"),
    (eventlog.ConsumerConfig, "auto_offset_reset", "by_duration:PT1H"),
    (eventlog.ConsumerConfig, "auto_offset_reset", "by_duration:p1dt-2h3m4.5s"),
    (eventlog.ConsumerConfig, "max_poll_records", 1),
]

BAD: list[tuple[Any, str, Any]] = [
    (eventlog.TopicConfig, "segment_bytes", 1023),
    (eventlog.TopicConfig, "segment_bytes", 2**31),
    (eventlog.TopicConfig, "segment_bytes", "1 GiB"),
    (eventlog.TopicConfig, "segment_bytes", 1e9),
    (eventlog.TopicConfig, "segment_bytes", True),
    (eventlog.TopicConfig, "segment_ms", 0),
    (eventlog.TopicConfig, "max_message_bytes", 255),
    (eventlog.TopicConfig, "compression_type", "brotli"),
    (eventlog.TopicConfig, "message_timestamp_type", "createtime"),
    (eventlog.TopicConfig, "durability", "disc"),
    (eventlog.TopicConfig, "durability", None),
    (eventlog.TopicConfig, "flush_messages", 0),
    (eventlog.ProducerConfig, "linger_ms", -1),
    (eventlog.ProducerConfig, "linger_ms", float("nan")),
    (eventlog.ProducerConfig, "linger_ms", float("inf")),
    (eventlog.ProducerConfig, "linger_ms", True),
    (eventlog.ProducerConfig, "linger_ms", "5"),
    (eventlog.ProducerConfig, "batch_size", -1),
    (eventlog.ProducerConfig, "buffer_memory", 0),
    (eventlog.ProducerConfig, "max_block_ms", -1),
    (eventlog.ProducerConfig, "acks", 2),
    (eventlog.ProducerConfig, "acks", "0"),
    (eventlog.ProducerConfig, "durability", "memory"),
    (eventlog.ProducerConfig, "compression_type", "producer"),
    (eventlog.ProducerConfig, "compression_type", "uncompressed"),
    (eventlog.ProducerConfig, "transactional_id", " \t"),
    (eventlog.ProducerConfig, "partitioner", "murmur2"),
    (eventlog.ProducerConfig, "partitioner", None),
    (eventlog.ProducerConfig, "key_serializer", 5),
    (eventlog.ConsumerConfig, "auto_offset_reset", "smallest"),
    (eventlog.ConsumerConfig, "auto_offset_reset", "Earliest"),
    (eventlog.ConsumerConfig, "auto_offset_reset", None),
    (eventlog.ConsumerConfig, "auto_offset_reset", "by_duration"),
    (eventlog.ConsumerConfig, "auto_offset_reset", "by_duration:"),
    (eventlog.ConsumerConfig, "auto_offset_reset", "BY_DURATION:PT1H"),
    (eventlog.ConsumerConfig, "auto_offset_reset", "by_duration: PT1H"),
    (eventlog.ConsumerConfig, "auto_offset_reset", "by_duration:3600000"),
    (eventlog.ConsumerConfig, "max_poll_records", 0),
    (eventlog.ConsumerConfig, "check_crcs", 1),
    (eventlog.ConsumerConfig, "value_deserializer", 5),
]


@pytest.mark.parametrize(("cls", "name", "value"), GOOD)
def test_values_that_are_possible(cls: Any, name: str, value: Any) -> None:
    """A possible value is kept as it is."""
    assert getattr(configure(cls, {name: value}), name) == value


@pytest.mark.parametrize(("cls", "name", "value"), BAD)
def test_values_that_are_not(cls: Any, name: str, value: Any) -> None:
    """An impossible value is a ValueError that names the setting, shows the value, and says what to give."""
    with pytest.raises(eventlog.InvalidConfigError) as caught:
        configure(cls, {name: value})
    assert isinstance(caught.value, ValueError)
    assert name in str(caught.value) and repr(value) in str(caught.value)
    assert caught.value.hint.startswith("give ")


@pytest.mark.parametrize("ms", [0, 1, 999, 3_600_000, 100 * 365 * 86_400_000])
def test_a_duration_as_a_timedelta(ms: int) -> None:
    """``auto_offset_reset`` takes a timedelta for the same span of time in text, to the millisecond."""
    config = eventlog.ConsumerConfig(auto_offset_reset=datetime.timedelta(milliseconds=ms))
    assert duration_ms(config.auto_offset_reset.removeprefix("by_duration:")) == ms


def test_a_negative_timedelta() -> None:
    """A span of time that is negative is refused."""
    with pytest.raises(eventlog.InvalidConfigError, match="auto_offset_reset"):
        eventlog.ConsumerConfig(auto_offset_reset=datetime.timedelta(seconds=-1))


def test_a_misspelt_setting(log: eventlog.EventLog) -> None:
    """An unknown setting is an error with the nearest known one, in every call that takes settings."""
    for call, wrong, right in (
        (lambda **options: log.create_topic("t", **options), "segment_byte", "segment_bytes"),
        (log.producer, "linger", "linger_ms"),
        (log.consumer, "auto_offset_rest", "auto_offset_reset"),
    ):
        with pytest.raises(eventlog.InvalidConfigError, match=right):
            call(**{wrong: 1})
    with pytest.raises(eventlog.InvalidConfigError, match=r"known: .*linger_ms"):
        log.producer(bootstrap_servers="localhost")
    assert log.topics() == []


@pytest.mark.parametrize("name", ["retention_ms", "retention_bytes", "cleanup_policy", "replication_factor"])
def test_settings_of_kafka_that_are_not_here(log: eventlog.EventLog, name: str) -> None:
    """A setting that only Kafka has is not taken for another one misspelt; the error lists those that there are."""
    with pytest.raises(
        eventlog.InvalidConfigError, match=r"not a setting of this version; known: .*segment_ms"
    ) as caught:
        log.create_topic("t", **{name: 1000})
    assert "did you mean" not in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "8", None])
def test_an_impossible_number_of_open_partitions(log_path: Path, count: Any) -> None:
    """A log with room for no open partition is refused before anything is made."""
    with pytest.raises(eventlog.InvalidConfigError, match="max_open_partitions"):
        eventlog.open(log_path, max_open_partitions=count)
    assert not log_path.exists()


def test_defaults_are_kafkas() -> None:
    """Defaults that Kafka's documentation states are the same here."""
    topic, producer, consumer = eventlog.TopicConfig(), eventlog.ProducerConfig(), eventlog.ConsumerConfig()
    assert (topic.segment_bytes, topic.segment_ms) == (1073741824, 604800000)
    assert (topic.index_interval_bytes, topic.flush_messages) == (4096, 9223372036854775807)
    assert (topic.message_timestamp_type, topic.compression_type) == ("CreateTime", "producer")
    assert (producer.acks, producer.buffer_memory, producer.max_block_ms) == ("all", 33554432, 60000)
    assert (producer.linger_ms, producer.compression_type) == (5, "none")
    assert (consumer.auto_offset_reset, consumer.max_poll_records) == ("latest", 500)
    assert (consumer.fetch_max_bytes, consumer.check_crcs) == (52428800, True)


def test_a_configuration_cannot_be_changed() -> None:
    """Configurations are values: a change is a new one."""
    config = eventlog.ProducerConfig()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.linger_ms = 1  # type: ignore[misc]
    with pytest.raises(eventlog.InvalidConfigError):
        attrs.evolve(config, linger_ms=-1)


# What Java's Duration.parse makes of each, which reads the setting in Kafka; None for what is refused there.
DURATIONS = {
    "PT1H": 3_600_000, "P1D": 86_400_000, "P1DT2H3M4.5S": 93_784_500, "PT36H": 129_600_000, "pt1h": 3_600_000,
    "PT0S": 0, "P0D": 0, "PT1.123456789S": 1123, "PT1,5S": 1500, "PT1.S": 1000, "PT0.0001S": 0, "+PT1H": 3_600_000,
    "PT+1H": 3_600_000, "PT1H-30M": 1_800_000, "PT-1H90M": 1_800_000, "-PT-1H": 3_600_000, "PT2M-0.5S": 119_500,
    "PT-1H": None, "-PT1H": None, "PT-0.001S": None, "1h": None, "": None, "P": None, "PT": None, "P1DT": None,
    "P1Y": None, "P1M": None, "P1W": None, "PT1H1H": None, "PT1M1H": None, "PT.5S": None, "PT1.5H": None,
    "P1.5D": None, " PT1H": None, "PT1H ": None, "PT1H\n": None, "PT\u0661H": None, "P999999999999D": None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), DURATIONS.items())
def test_durations_are_those_of_kafka(text: str, expected: int | None) -> None:
    """An ISO 8601 duration is read as Java reads it, to the millisecond, and nothing else is one."""
    if expected is None:
        with pytest.raises(ValueError, match=r"no duration|negative"):
            duration_ms(text)
    else:
        assert duration_ms(text) == expected


def test_what_earlier_versions_called_a_topic_without_compression() -> None:
    """A topic's "none" of before is Kafka's "uncompressed", also in a topic.json that is there."""
    assert eventlog.TopicConfig(compression_type="none") == eventlog.TopicConfig(compression_type="uncompressed")
