"""What a damaged partition must still give: a simple model that knows the undamaged file, and which bytes were touched.

It reads batches by the table in ``docs/formats/segment.md``, and shares no code with the package.
"""

from __future__ import annotations

import struct

import attrs
import crc32c

import eventlog
from tests.damage.mutations import Mutated

FIRST_BYTES = 17  # of a batch; damage to them alone is made good in format version 2


@attrs.frozen
class PlacedBatch:
    """Where a batch lies, and which offsets it has."""

    position: int
    size: int
    base_offset: int
    count: int


def batches_of(content: bytes) -> list[PlacedBatch]:
    """Return the batches of a whole segment."""
    found, position = [], 0
    while position + 64 <= len(content):
        base_offset, length = struct.unpack_from(">qi", content, position)
        (count,) = struct.unpack_from(">i", content, position + 57)
        if content[position + 16] != 0x63:
            break
        found.append(PlacedBatch(position, length + 12, base_offset, count))
        position += length + 12
    return found


def as_version_1(content: bytes) -> bytes:
    """Return the segment as format version 1 wrote it."""
    new = bytearray(content)
    for batch in batches_of(content):
        start, stop = batch.position, batch.position + batch.size
        new[start + 62] = 0
        struct.pack_into(">I", new, start + 17, crc32c.crc32c(bytes(new[start + 21 : stop])))
    return bytes(new)


def undamaged(content: bytes, mutated: Mutated, first_bytes: int = 0) -> set[int]:
    """Return the offsets of all batches whose bytes are whole, but for their first ones."""
    return {
        batch.base_offset + number
        for batch in batches_of(content)
        if mutated.spares(batch.position + first_bytes, batch.position + batch.size)
        for number in range(batch.count)
    }


@attrs.frozen
class Found:
    """What reading to the end gave: values by offset, and the offsets that errors named as lost."""

    values: dict[int, bytes | None]
    lost: set[int]
    end: int


def read_all(partition: eventlog.Partition, start: int = 0) -> Found:
    """Read with ``partition.read``, seeking behind each damage."""
    values: dict[int, bytes | None] = {}
    lost: set[int] = set()
    offset, end = max(start, partition.log_start_offset), partition.log_end_offset
    while offset < end:
        try:
            batches = partition.read(offset, max_bytes=1 << 16)
        except eventlog.CorruptSegmentError as error:
            offset = _behind(error, offset, lost)
            continue
        for record in (record for batch in batches for record in batch.records()):
            assert record.offset == offset, "offsets run without a gap outside of damage"
            values[offset] = record.value
            offset += 1
    return Found(values, lost, end)


def poll_all(log: eventlog.EventLog, tp: eventlog.TopicPartition, method: str) -> Found:
    """Read with a consumer's ``poll`` or ``poll_batches``, seeking behind each damage."""
    values: dict[int, bytes | None] = {}
    lost: set[int] = set()
    with log.consumer(auto_offset_reset="earliest") as consumer:
        consumer.assign([tp])
        end = consumer.end_offsets([tp])[tp]
        while (offset := consumer.position(tp)) < end:
            try:
                found = getattr(consumer, method)()
            except eventlog.CorruptSegmentError as error:
                consumer.seek(tp, _behind(error, offset, lost))
                continue
            for item in found:
                for record in item.records() if method == "poll_batches" else [item]:
                    values[record.offset] = record.value
    return Found(values, lost, end)


def _behind(error: eventlog.CorruptSegmentError, offset: int, lost: set[int]) -> int:
    assert error.base_offset == offset and error.next_offset is not None and error.next_offset > offset
    assert error.next_offset - offset < 100_000, "no damage here is that large"
    lost.update(range(offset, error.next_offset))
    return error.next_offset


def lost_by_verify(partition: eventlog.Partition) -> set[int]:
    """Return the offsets that ``verify`` says are lost."""
    lost: set[int] = set()
    for damaged in partition.verify().damaged:
        assert damaged.next_offset is not None
        lost.update(range(damaged.base_offset, damaged.next_offset))
    return lost
