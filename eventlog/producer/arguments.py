"""What a send makes of its arguments before anything is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventlog.errors import RecordTooLargeError
from eventlog.format.batch_encoder import RecordHeaders
from eventlog.format.record_input import checked_bytes
from eventlog.producer.delivery import FullDelivery
from eventlog.producer.record_columns import record_bytes
from eventlog.serializers import Serializer, Side
from eventlog.topics.topic import Topic

_OVERHEAD = 160  # bytes, rounded up: what a batch of one record needs beside key, value and headers


def serialized(column: Sequence[Any], serialize: Serializer | None, side: Side) -> Sequence[bytes | None]:
    """Return the column as its serializer makes it, as bytes and None. Raises SerializationError."""
    return checked_bytes(column, side) if serialize is None else [serialize(item) for item in column]


def check_size(topic: Topic, delivery: FullDelivery, codec: int) -> None:
    """Raise RecordTooLargeError unless the record fits into a batch of its topic. Most are far smaller."""
    size = record_bytes(delivery)
    limit = topic.config.max_message_bytes
    if size + _OVERHEAD + header_bytes(delivery.headers) <= limit:
        return
    try:
        topic.partitions[0].encode([delivery.value], [delivery.key], delivery.timestamp_ms, [delivery.headers], codec)
    except RecordTooLargeError as error:
        raise RecordTooLargeError(
            f"the record has {size} bytes of key and value, and max_message_bytes is {limit}", topic=topic.name,
            hint="raise the topic's max_message_bytes, compress, or split the record",
        ) from error  # fmt: skip


def header_bytes(headers: RecordHeaders | None) -> int:
    """Return what the headers take in a batch at most, in bytes."""
    if headers is None:
        return 0
    size = 32 + 8 * len(headers)
    for name, value in headers:
        size += 4 * len(name)
        if value is not None:
            size += len(value)
    return size
