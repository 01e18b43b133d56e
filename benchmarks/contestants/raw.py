"""What the machine itself can do: the floor under a figure, with no library in between."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import crc32c

from benchmarks.workloads import PER_CALL, VALUE_BYTES, Work, timed, values

# One record as eventlog stores it: a 64-byte header, two value offsets of 4 bytes, 100 bytes, padded to 8.
ONE_RECORD_BYTES = 64 + 8 + 104
# A batch of 1,000 values: header, 1,001 value offsets (padded), values.
BATCH_BYTES = 64 + 4008 + PER_CALL * VALUE_BYTES


@timed
def write_durable(directory: Path, amount: int) -> Iterator[Work]:
    """``pwrite`` at the end of a growing file, ``fdatasync`` after each."""
    record = values(1)[0].ljust(ONE_RECORD_BYTES, b"\0")
    descriptor = os.open(directory / "file", os.O_CREAT | os.O_RDWR)

    def work() -> int:
        for number in range(amount):
            os.pwrite(descriptor, record, number * ONE_RECORD_BYTES)
            os.fdatasync(descriptor)
        return amount

    yield work
    os.close(descriptor)


@timed
def write_many(directory: Path, amount: int) -> Iterator[Work]:
    """``pwrite`` of a batch at the end of a growing file."""
    batch = _batches(PER_CALL)
    descriptor = os.open(directory / "file", os.O_CREAT | os.O_RDWR)

    def work() -> int:
        for number in range(amount // PER_CALL):
            os.pwrite(descriptor, batch, number * len(batch))
        return amount

    yield work
    os.close(descriptor)


def _batches(amount: int) -> bytes:
    """As many bytes as eventlog stores for so many values sent 1,000 a call."""
    batch = b"".join(values(PER_CALL)).ljust(BATCH_BYTES, b"\0")
    return batch * (amount // PER_CALL) + batch[: (amount % PER_CALL) * BATCH_BYTES // PER_CALL]


def _checksum(view: memoryview, amount: int) -> Callable[[], int]:
    def work() -> int:
        for start in range(0, len(view), BATCH_BYTES):
            crc32c.crc32c(view[start : start + BATCH_BYTES])
        return amount * VALUE_BYTES

    return work


@timed
def checksum(directory: Path, amount: int) -> Iterator[Work]:
    """``crc32c`` over the same bytes, a batch at a time, in memory."""
    yield _checksum(memoryview(_batches(amount)), amount)


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping,
        memoryview(mapping) as view,
    ):
        yield view


@timed
def checksum_of_file(directory: Path, amount: int) -> Iterator[Work]:
    """``crc32c`` over the same bytes, a batch at a time, in a freshly mapped file."""
    path = directory / "file"
    path.write_bytes(_batches(amount))
    with _mapped(path) as view:
        yield _checksum(view, amount)
