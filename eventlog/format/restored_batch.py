"""A batch of which only the first bytes are damaged, known again by the offset that belongs there.

The CRC of a version 2 batch covers its first 17 bytes last (``layouts.py``). Where a batch ends and which offset it
begins with is known from its neighbours: with the right bytes in place the CRC fits, and no record is lost.
"""

from __future__ import annotations

from crc32c import crc32c

from eventlog.format import layouts as L
from eventlog.format.columns import BatchDamage
from eventlog.format.record_batch import RecordBatch


class PossibleBatch:
    """Bytes of a segment that may be a batch whose first 17 bytes are damaged.

    ``record_span`` is how many offsets it would hold, ``claimed_size`` its size if its own length is right.
    """

    def __init__(self, data: memoryview, position: int, limit: int, topic: str, partition: int, home: int) -> None:
        """Look at ``position`` of ``data``, of which the first ``limit`` bytes may be touched. Raises BatchDamage."""
        if position + L.HEADER_BYTES > limit:
            raise BatchDamage("the file ends within a batch header")
        _, length, _, _, self.checksum, _, last_delta, *_, version = L.HEADER.unpack_from(data, position)
        if version != L.VERSION_2 or last_delta < 0:
            raise BatchDamage("no batch of version 2")
        self.record_span = last_delta + 1
        self.claimed_size = length + L.LENGTH_START
        self.position = position
        self._data, self._limit = data, limit
        self._labels = topic, partition, home
        self._home = home
        self._summed = 0, 0  # the CRC of its body, when it has that size

    def at(self, base_offset: int, size: int) -> RecordBatch | None:
        """Return the batch if it is one of ``size`` bytes that begins with ``base_offset``; None if it is not."""
        end = self.position + size
        if size < L.HEADER_BYTES or size & 7 or end > self._limit or base_offset < 0:
            return None
        if self._summed[0] != size:
            self._summed = size, crc32c(self._data[self.position + L.CRC_START : end])
        start = L.START.pack(base_offset, size - L.LENGTH_START, 0, L.MAGIC)
        if crc32c(start, self._summed[1] ^ self._home) != self.checksum:
            return None
        raw = start + bytes(self._data[self.position + L.CRC_POSITION : end])
        try:
            batch = RecordBatch(memoryview(raw), 0, size, *self._labels)
        except BatchDamage:
            return None
        batch.position = self.position
        return batch
