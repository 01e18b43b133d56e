"""The partition that a batch was written to, as its CRC knows it."""

from __future__ import annotations

from crc32c import crc32c

NOWHERE = 0  # of a batch that lies in no partition, such as that of a snapshot


def home_of(topic: str, partition: int) -> int:
    """Return the number that a partition's batches have mixed into their CRCs, from version 2 on.

    So a batch that came into a file of another partition, by a misdirected write or a copy, is not taken for one of
    that partition, though it is whole and has the right offset. It is made of the topic's name, not of its id: who lost
    ``topic.json`` has lost no record.
    """
    return crc32c(f"{topic}-{partition}".encode())
