"""Damages the tail of partitions while no process has the log open: bytes that no writer finished."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

from crc32c import crc32c

from eventlog.format import layouts as L
from eventlog.format.batch_home import home_of
from eventlog.format.columns import BatchDamage
from eventlog.format.record_batch import RecordBatch

_LEAST, _MOST = 20, 300  # bytes; the first few of a batch are zeros, which would be no damage


def damage_tails(log_path: Path, rng: random.Random) -> list[str]:
    """Put a torn write behind the last batch of some partitions; return their segments, below the topics."""
    segments = [_last_segment(path.parent) for path in sorted(log_path.glob("topics/*/*/head"))]
    chosen = rng.sample(segments, rng.randrange(1, len(segments) + 1)) if segments else []
    for segment in chosen:
        _damage(segment, rng)
    return [str(segment.relative_to(log_path / "topics")) for segment in chosen]


def _last_segment(directory: Path) -> Path:
    return max(directory.glob("*.log"))


def _damage(segment: Path, rng: random.Random) -> None:
    """Write half a batch that looks as if it came next, or bytes without any sense."""
    content = segment.read_bytes()
    home = home_of(segment.parents[1].name, int(segment.parent.name))
    last, end = _last_batch(content, home)
    torn = rng.randbytes(rng.randrange(_LEAST, _MOST))
    if last and rng.random() < 0.5:
        base, length, *rest = L.START.unpack_from(last)
        start = L.START.pack(base + L.HEADER.unpack_from(last)[-3], length, *rest)
        torn = start + L.CRC.pack(crc32c(start, crc32c(last[L.CRC_START :]) ^ home)) + last[L.CRC_START :]
        torn = torn[
            : rng.randrange(_LEAST, len(torn) // 2)
        ]  # without its end, which may be zeros: then it would be whole
    fd = os.open(segment, os.O_WRONLY)
    try:
        os.pwrite(fd, torn, end)
        os.fsync(fd)
    finally:
        os.close(fd)


def _last_batch(content: bytes, home: int) -> tuple[bytes, int]:
    """Return the last whole batch, if any, and the position behind it; what lies there is zeros or nothing."""
    last, position = b"", 0
    with contextlib.suppress(BatchDamage):
        while True:
            batch = RecordBatch(memoryview(content), position, len(content), "", 0, home)
            position += batch.size
            last = content[batch.position : position]
    return last, position
