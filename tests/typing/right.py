"""Uses that a type checker accepts."""

from __future__ import annotations

import datetime

import eventlog
from eventlog import ConsumerSettings, ProducerSettings, TopicSettings


def to_bytes(order: dict[str, int]) -> bytes:
    return b"%d" % order["id"]


def place(topic: str, key: bytes | None, value: bytes | None, partitions: int) -> int:
    return len(key or b"") % partitions


def settings(log: eventlog.EventLog) -> None:
    log.create_topic("orders", 4, exist_ok=True, segment_bytes=1 << 20, compression_type="producer", durability="disk")
    log.create_topic("plain", message_timestamp_type="LogAppendTime", flush_messages=1000, flush_ms=1000)
    log.producer(linger_ms=0.5, acks="all", retries=3, compression_type="zstd", transactional_id=None)
    log.producer(acks=0, key_serializer="str", value_serializer=to_bytes, partitioner=place, durability=None)
    log.producer(value_serializer=bytes, key_serializer=str, partitioner="round_robin")
    log.consumer("orders", group="billing", auto_offset_reset="earliest", enable_auto_commit=False)
    log.consumer(auto_offset_reset=datetime.timedelta(hours=1), isolation_level="read_committed")
    log.consumer(partition_assignment_strategy=["range", "cooperative-sticky"], value_deserializer="json")
    log.consumer(partition_assignment_strategy="sticky", key_deserializer=bytes.decode)


def kept_settings(log: eventlog.EventLog) -> None:
    topic: TopicSettings = {"segment_ms": 1000}
    producer: ProducerSettings = {"batch_size": 1 << 14, "enable_idempotence": True}
    consumer: ConsumerSettings = {"group": "billing", "session_timeout_ms": 10_000}
    log.create_topic("orders", **topic)
    log.producer(**producer)
    log.consumer("orders", **consumer)


async def asynchronous(log: eventlog.EventLog) -> None:
    async with log.async_producer(linger_ms=5, value_serializer="json") as producer:
        await producer.send("orders", {"id": 7}, key=b"7")
    async with log.async_consumer("orders", group="billing", max_poll_records=10) as consumer:
        await consumer.poll(timeout=1.0)


def opened() -> None:
    eventlog.open("log", readonly=True, max_open_partitions=16, lock_timeout_ms=1000)
    eventlog.open("log", clock=eventlog.ManualClock(0.0), offsets_retention_minutes=60)


class Order:
    """What a deserializer of one's own makes of bytes."""

    def __init__(self, data: bytes) -> None:
        self.total = len(data)


def records(log: eventlog.EventLog) -> None:
    plain: eventlog.Consumer[bytes | None, bytes | None] = log.consumer("orders")
    for record in plain.poll():
        data: bytes | None = record.value
        print(data)
    typed = log.consumer("orders", key_deserializer="str", value_deserializer=Order, group="billing")
    for order in typed:
        key: str | None = order.key
        total: int = order.value.total if order.value is not None else 0
        print(key, total, order.timestamp.year)
    for anything in log.consumer("orders", value_deserializer="json").poll(timeout=1.0):
        print(anything.value["total"])


def handle(record: eventlog.Record) -> bytes | None:
    """Without types of its own, a record's key and value are bytes."""
    return record.value


async def asynchronous_records(log: eventlog.EventLog) -> None:
    async with log.async_consumer("orders", value_deserializer=Order) as consumer:
        async for order in consumer:
            total: int = 0 if order.value is None else order.value.total
            print(total)
