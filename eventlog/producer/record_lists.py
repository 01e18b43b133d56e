"""Write a whole list of records: each partition gets its part as one append."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventlog.producer.arguments import chosen
from eventlog.producer.buffer_pool import BufferPool
from eventlog.producer.delivery import ManyDelivery, Part
from eventlog.topics.topic import Topic


def write_list(
    pool: BufferPool,
    topic: Topic,
    split: Mapping[int, Sequence[int]],
    values: Sequence[Any],
    keys: Any,
    stamps: Any,
    headers: Any,
    codec: int,
) -> tuple[ManyDelivery, list[int]]:
    """Write the records behind what waits in their partitions; return their delivery, and the size of each part.

    ``split`` has their places in the list by partition. All is encoded before anything is written.
    """
    count = len(values)
    encoded = []
    for number, places in split.items():
        buffer, times = pool.get(topic, number), chosen(stamps, places, count)
        batches = buffer.partition.encode(
            chosen(values, places, count), chosen(keys, places, count), times, chosen(headers, places, count),
            codec, buffer.guess_stamp(),
        )  # fmt: skip
        encoded.append((buffer, batches, places, times))
    parts = [Part(buffer.write_behind(batches), places, times) for buffer, batches, places, times in encoded]
    last = next(part for part in parts if part.indices[-1] == count - 1)
    return ManyDelivery(parts, last), [sum(batch.size for batch in batches) for _, batches, _, _ in encoded]
