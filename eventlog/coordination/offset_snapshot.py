"""A partition's table of committed offsets as a file, so that starting up does not replay every commit ever made.

``topics/__consumer_offsets/<n>/snapshot`` lies in the partition's directory, and goes with it. It carries no truth: one
that is missing, damaged, of a newer version, or not of this log is as good as none, and the log is replayed from its
start. Nothing is synced.

1. Write the file under another name. A crash leaves a ``*.tmp``, which the partition's next recovery removes.
2. Rename it. A crash of the process before leaves the old snapshot; after it the new one is whole.

A power cut may leave it empty or in part, which its checksum tells; or whole although the log has lost the records that
it holds. Those offsets then belong to other records: a snapshot counts only if the log still has the very record that
was the last one before it, told by a fingerprint.
"""

from __future__ import annotations

from typing import Any

import crc32c
import numpy as np

from eventlog.coordination.offset_table import Damage, OffsetTable
from eventlog.errors import CorruptMetadataError
from eventlog.files.filesystem import FileSystem
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L
from eventlog.format.batch_encoder import encode
from eventlog.format.columns import BatchDamage
from eventlog.format.record_batch import RecordBatch

_NO_DAMAGE = Damage(0, 0)


def write_snapshot(fs: FileSystem, path: str, table: OffsetTable, topic_id: str) -> None:
    """Replace the snapshot, unless there is no record to know the log again by."""
    last = table.fingerprint
    if last is None:
        return
    damage = table.damage or _NO_DAMAGE
    items = list(table.entries())
    header = L.SNAPSHOT.pack(L.SNAPSHOT_MAGIC, 0, last, table.next_offset, *damage, bytes.fromhex(topic_id), len(items))
    parts = [header[L.SNAPSHOT_CRC_START :], *_body(items)]
    checksum = 0
    for part in parts:
        checksum = crc32c.crc32c(part, checksum)
    parts[0] = L.SNAPSHOT.pack(L.SNAPSHOT_MAGIC, checksum, *L.SNAPSHOT.unpack(header)[2:])
    fs.replace_file(path, b"".join(parts), durable=False)


def _body(items: list[Any]) -> list[bytes]:
    if not items:
        return []
    offsets = np.array([offset for _, (offset, _) in items], dtype=L.SNAPSHOT_OFFSETS)
    batch = encode([value for _, (_, value) in items], 0, [key for key, _ in items])
    return [offsets.tobytes(), *batch.stamp(0)]


class Snapshot:
    """A snapshot that was read. ``offset`` is the one that it is true at."""

    def __init__(self, raw: bytes, topic_id: str) -> None:
        """Take the bytes apart. Raises BatchDamage when they are no whole snapshot of this topic."""
        if len(raw) < L.SNAPSHOT.size:
            raise BatchDamage("too short")
        magic, checksum, self.fingerprint, self.offset, base, following, topic, self._count = L.SNAPSHOT.unpack_from(
            raw
        )
        if magic != L.SNAPSHOT_MAGIC or topic.hex() != topic_id:
            raise BatchDamage("not a snapshot, or of another topic")
        if crc32c.crc32c(raw[L.SNAPSHOT_CRC_START :]) != checksum:
            raise BatchDamage("CRC mismatch")
        if not 0 <= self._count * L.SNAPSHOT_OFFSETS.itemsize <= len(raw) - L.SNAPSHOT.size:
            raise BatchDamage(f"{self._count} entries in {len(raw)} bytes")
        self.damage = None if not following else Damage(base, following)
        self._raw = raw

    def table(self, topic: str, partition: int) -> OffsetTable:
        """Return the table. Raises BatchDamage when the entries are not whole."""
        table = OffsetTable(topic, partition, self.offset)
        table.damage = self.damage
        if self._count:
            raw = memoryview(self._raw)
            offsets = np.frombuffer(raw, L.SNAPSHOT_OFFSETS, self._count, L.SNAPSHOT.size)
            start = L.SNAPSHOT.size + offsets.nbytes
            batch = RecordBatch(raw, start, len(raw), topic, partition, check=False)
            batch.check()
            if len(batch) != self._count:
                raise BatchDamage(f"{len(batch)} records for {self._count} entries")
            for offset, key, value in zip(offsets.tolist(), batch.keys(), batch.values(), strict=True):
                table.put(offset, key, value)
        return table


def read_snapshot(fs: FileSystem, path: str, topic_id: str) -> Snapshot | None:
    """Return the snapshot, or None when there is no whole one of this topic."""
    try:
        return Snapshot(fs.read_file(path), topic_id)
    except (OSError, CorruptMetadataError, BatchDamage) as error:
        pass_on_handlers(error)
        return None
