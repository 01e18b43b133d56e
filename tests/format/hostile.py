"""Batches with a right CRC around impossible contents, as a program writes them that wants to do harm."""

from __future__ import annotations

import struct
from pathlib import Path

import crc32c

HOME = crc32c.crc32c(b"t-0")  # what a partition's batches have mixed into their CRCs
BILLIONS = 2_000_000_000


def batch(body: bytes, count: int = 1, columns: int = 0x10, attributes: int = 0, *, version: int = 2) -> bytes:
    """Return a whole batch at offset 0 of partition 0 of topic ``t`` around this body."""
    last = struct.pack(">hiqqqhiiBBx", attributes, count - 1, 1, 1, -1, -1, -1, count, columns, version) + body
    last += bytes(-(21 + len(last)) % 8)
    first = struct.pack(">qiib", 0, 21 + len(last) - 12, 0, 0x63)
    crc = crc32c.crc32c(last)
    return first + struct.pack(">I", crc32c.crc32c(first, crc ^ HOME) if version else crc) + last


def padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % 8)


def offsets(*numbers: int) -> bytes:
    return padded(struct.pack(f"<{len(numbers)}i", *numbers))


def headers(pairs: bytes, name_offsets: bytes, names: bytes) -> bytes:
    return pairs + name_offsets + padded(names) + padded(b"\1") + offsets(0, 1) + padded(b"x")


IMPOSSIBLE: dict[str, bytes] = {
    "a codec, and no body": batch(b"", attributes=1),
    "a codec that is not known": batch(struct.pack("<II", 8, 8) + bytes(8), attributes=7),
    "zstd claims 4 GiB": batch(struct.pack("<II", 2**32 - 1, 20) + bytes(20), attributes=4),
    "zstd claims what it cannot hold": batch(struct.pack("<II", 2**27, 20) + bytes(20), attributes=4),
    "gzip claims what it cannot hold": batch(struct.pack("<II", 2**27, 20) + bytes(20), attributes=1),
    "snappy claims what it cannot hold": batch(struct.pack("<II", 2**27, 20) + bytes(20), attributes=2),
    "lz4 claims what it cannot hold": batch(struct.pack("<II", 2**27, 20) + bytes(20), attributes=3),
    "a compressed body longer than the batch": batch(struct.pack("<II", 8, 2**31) + bytes(20), attributes=4),
    "minus one headers": batch(offsets(0, -1) + bytes(64), columns=0x40),
    "minus two headers": batch(offsets(0, -2) + bytes(64), columns=0x40),
    "too many headers": batch(offsets(0, BILLIONS) + bytes(64), columns=0x40),
    "a header's name that is not UTF-8": batch(headers(offsets(0, 1), offsets(0, 2), b"\xff\xfe"), columns=0x40),
    "names that are UTF-8 together only": batch(
        offsets(0, 2) + offsets(0, 1, 2) + padded("ß".encode()) + padded(b"\3") + offsets(0, 0, 0), columns=0x40
    ),
    "header offsets that fall": batch(offsets(0, 2, 1) + bytes(80), 2, columns=0x40),
    "offsets that fall": batch(offsets(5, 2) + padded(b"abcde")),
    "offsets that fall below zero": batch(offsets(0, -(2**31), 3) + padded(b"abc"), 2),
    "offsets that fall among many": batch(offsets(0, *range(20, 40), 3, *range(41, 60), 64) + bytes(64), 41),
    "offsets that do not begin with 0": batch(offsets(1, 3) + padded(b"abc")),
    "a value longer than the body": batch(offsets(0, 2**30) + bytes(64)),
    "more values than the body": batch(offsets(0, 1), BILLIONS),
    "billions of empty records": batch(b"", BILLIONS, columns=0),
    "billions of timestamps": batch(bytes(64), BILLIONS, columns=0x01),
    "offset deltas that fall": batch(offsets(1, 0), 2, columns=0x02),
    "an offset delta behind the batch": batch(offsets(0, 9), 2, columns=0x02),
    "a column that is not known": batch(bytes(64), columns=0x80),
}


def put(directory: Path, content: bytes) -> None:
    """Make these bytes all that a partition holds."""
    for file in directory.iterdir():
        file.unlink()
    (directory / f"{0:020d}.log").write_bytes(content)
