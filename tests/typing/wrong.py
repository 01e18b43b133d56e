"""Uses that a type checker refuses: each line that ends in a mark, and no other."""

from __future__ import annotations

import eventlog
from eventlog import ProducerSettings


def settings(log: eventlog.EventLog) -> None:
    log.producer(lingr_ms=3)  # wrong
    log.producer(acks="bogus")  # wrong
    log.producer(linger_ms="5")  # wrong
    log.producer(durability="memory")  # wrong
    log.producer(compression_type="brotli")  # wrong
    log.producer(partitioner="murmur2")  # wrong
    log.producer(value_serializer=len)  # wrong
    log.consumer(auto_offset_reset="smallest")  # wrong
    log.consumer("orders", group_id="billing")  # wrong
    log.consumer(isolation_level="serializable")  # wrong
    log.consumer(partition_assignment_strategy="fair")  # wrong
    log.consumer(max_poll_records="500")  # wrong
    log.create_topic("orders", segmnt_bytes=3)  # wrong
    log.create_topic("orders", segment_bytes="1 GiB")  # wrong
    log.create_topic("orders", message_timestamp_type="createtime")  # wrong


def kept_settings() -> ProducerSettings:
    return {"batchsize": 1}  # wrong


async def asynchronous(log: eventlog.EventLog) -> None:
    log.async_producer(linger=3)  # wrong
    log.async_consumer("orders", auto_offset_reset="smallest")  # wrong


def opened() -> None:
    eventlog.open("log", read_only=True)  # wrong
    eventlog.open("log", max_open_partitions="16")  # wrong


def records(log: eventlog.EventLog) -> None:
    for record in log.consumer("orders", value_deserializer="str").poll():
        print(record.value.upper())  # wrong
        print(record.key["id"])  # wrong
    for number in log.consumer("orders", value_deserializer=int).poll():
        text: str = number.value  # wrong
        print(text)
    for plain in log.consumer("orders"):
        print(plain.value.total)  # wrong
