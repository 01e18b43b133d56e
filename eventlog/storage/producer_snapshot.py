"""The table of a partition's producers as a file, so that it is not made again from every batch ever written.

``<offset, 20 digits>.snapshot`` in the partition's directory: true at that offset, before the records from there on.
Whoever knows the table writes one when a segment is sealed, and after it had to read many batches; the newest two stay.

It carries no truth: without one, or with a damaged one, the batches' headers tell the same. Nothing is synced, so that
a power cut may leave an empty file, which its checksum tells; or a whole one of records that the log has lost. A
snapshot counts only if the log still has the very batch that was the last one before it.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

import crc32c

from eventlog.errors import CorruptMetadataError
from eventlog.files.filesystem import FileSystem
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format import layouts as L
from eventlog.format.columns import BatchDamage
from eventlog.format.filenames import PRODUCER_SNAPSHOT, producer_snapshot_offset, segment_name
from eventlog.storage.producer_state import ProducerState, ProducerTable, Run

_KEPT = 2  # as Kafka: the newest may be damaged, or of records that were lost


class LastBatch(NamedTuple):
    """CRC-32C and base offset of the last batch before a snapshot's offset; both 0 when there is none."""

    checksum: int = 0
    base_offset: int = 0


def snapshot_bytes(table: ProducerTable, offset: int, last: LastBatch) -> bytes:
    """Return the file for a table that is true at ``offset``."""
    items = list(table.items())
    parts = [L.PRODUCER_SNAPSHOT.pack(L.PRODUCER_SNAPSHOT_MAGIC, 0, *last, offset, len(items))]
    for producer_id, state in items:
        parts.append(L.PRODUCER_STATE.pack(producer_id, state.used_ms, state.epoch, len(state.runs)))
        parts += [L.PRODUCER_RUN.pack(*run) for run in state.runs]
    content = b"".join(parts)
    checksum = crc32c.crc32c(content[L.PRODUCER_SNAPSHOT_CRC_START :])
    return L.PRODUCER_SNAPSHOT_MAGIC + checksum.to_bytes(4, "little") + content[L.PRODUCER_SNAPSHOT_CRC_START :]


def parse_snapshot(raw: bytes, table: ProducerTable) -> tuple[int, LastBatch]:
    """Fill the table, and return the offset that it is true at and the batch before. Raises BatchDamage."""
    if len(raw) < L.PRODUCER_SNAPSHOT.size:
        raise BatchDamage("too short")
    magic, checksum, last_checksum, last_base, offset, count = L.PRODUCER_SNAPSHOT.unpack_from(raw)
    if magic != L.PRODUCER_SNAPSHOT_MAGIC or crc32c.crc32c(raw[L.PRODUCER_SNAPSHOT_CRC_START :]) != checksum:
        raise BatchDamage("no snapshot, or a damaged one")
    position = L.PRODUCER_SNAPSHOT.size
    try:
        for _ in range(_checked_count(count, len(raw) - position, L.PRODUCER_STATE.size)):
            producer_id, used_ms, epoch, runs = L.PRODUCER_STATE.unpack_from(raw, position)
            position += L.PRODUCER_STATE.size
            end = position + _checked_count(runs, len(raw) - position, L.PRODUCER_RUN.size) * L.PRODUCER_RUN.size
            found = tuple(Run(*run) for run in L.PRODUCER_RUN.iter_unpack(raw[position:end]))
            table.states[producer_id] = ProducerState(epoch, used_ms, found)
            position = end
    except struct.error as error:
        raise BatchDamage("the snapshot holds less than it says") from error
    return offset, LastBatch(last_checksum, last_base)


def _checked_count(count: int, room: int, size: int) -> int:
    if not 0 <= count * size <= room:
        raise BatchDamage(f"{count} entries in {room} bytes")
    return count


def snapshot_offsets(fs: FileSystem, directory: str) -> list[int]:
    """Return the offsets of the snapshots that are there, newest first."""
    offsets = map(producer_snapshot_offset, fs.listdir(directory))
    return sorted((offset for offset in offsets if offset is not None), reverse=True)


def read_snapshot(fs: FileSystem, directory: str, offset: int, table: ProducerTable) -> LastBatch | None:
    """Fill the table from the snapshot at ``offset``, and return the batch before; None if there is no whole one."""
    try:
        found, last = parse_snapshot(fs.read_file(_path(directory, offset)), table)
    except (OSError, CorruptMetadataError, BatchDamage) as error:
        pass_on_handlers(error)
        return None
    return last if found == offset else None


def write_snapshot(fs: FileSystem, directory: str, table: ProducerTable, offset: int, last: LastBatch) -> None:
    """Write the snapshot, whole or not at all, and remove all but the newest ones.

    Those behind ``offset`` go as well: the log was cut since, and what follows it now are other records.
    """
    fs.replace_file(_path(directory, offset), snapshot_bytes(table, offset, last), durable=False)
    offsets = snapshot_offsets(fs, directory)
    kept = [other for other in offsets if other <= offset][:_KEPT]
    for other in offsets:
        if other not in kept:
            with suppress(FileNotFoundError):
                fs.unlink(_path(directory, other))


def _path(directory: str, offset: int) -> str:
    return os.path.join(directory, segment_name(offset, PRODUCER_SNAPSHOT))
