"""Write a whole list of records: each partition gets its part as one append."""

from __future__ import annotations

from eventlog.producer.buffer_pool import BufferPool
from eventlog.producer.delivery import ManyDelivery, Part
from eventlog.producer.list_columns import ListColumns, Split
from eventlog.topics.topic import Topic


def write_list(
    pool: BufferPool, topic: Topic, split: Split, columns: ListColumns, codec: int
) -> tuple[ManyDelivery, list[int]]:
    """Write the records behind what waits in their partitions; return their delivery, and the size of each part.

    ``columns`` are in the order of the split. All is encoded before anything is written.
    """
    encoded = []
    for number, low, high in split.parts:
        buffer, part = pool.get(topic, number), columns.part(low, high)
        stamp = buffer.guess_stamp()
        batches = part.encode(buffer.partition, codec, stamp)
        encoded.append((buffer, batches, stamp, split.places(low, high), part.timestamps_ms))
    parts = [
        Part(buffer.write_behind(batches, stamp), places, times) for buffer, batches, stamp, places, times in encoded
    ]
    last = next(part for part in parts if part.indices[-1] == len(columns) - 1)
    return ManyDelivery(parts, last), [sum(batch.size for batch in batches) for _, batches, *_ in encoded]
