"""What a topic holds, and where its records belong: for tests of what is placed together."""

from __future__ import annotations

import eventlog
from eventlog.partitioners import murmur2


def home(key: bytes, partitions: int) -> int:
    """Return the partition of a key, as Kafka's formula says."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def stored(topic: eventlog.Topic) -> list[list[eventlog.Record]]:
    """Return the records of each partition, in the order of offsets."""
    return [
        [record for batch in partition.read(0, max_bytes=1 << 30) for record in batch.records()]
        for partition in topic.partitions
    ]
