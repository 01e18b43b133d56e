"""Snapshots, committed offsets and outcomes of transactions whose checksum is right and whose contents are not."""

from __future__ import annotations

import random
from collections.abc import Callable

import crc32c
import pytest

from eventlog.coordination.offset_records import (
    decode_key,
    decode_value,
    encode_key,
    encode_value,
    fingerprint,
    group_of,
    prefix_of,
)
from eventlog.coordination.offset_snapshot import Snapshot, write_snapshot
from eventlog.coordination.offset_table import OffsetTable
from eventlog.coordination.transaction_records import TransactionOutcome, TransactionPart, decode
from eventlog.coordination.transaction_records import encode_value as encode_outcome
from eventlog.errors import UnsupportedFormatError
from eventlog.files.filesystem import FileSystem
from eventlog.format.columns import BatchDamage
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.model import OffsetAndMetadata
from eventlog.storage.producer_snapshot import LastBatch, parse_snapshot, snapshot_bytes
from eventlog.storage.producer_state import ProducerTable

ROUNDS = 4_000
TOPIC_ID = "0f" * 16


def changed(raw: bytes, rng: random.Random, start: int = 0) -> bytes:
    """Some fields set to anything, now and then a piece cut off or put in."""
    new = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, size = rng.randrange(start, len(raw)), rng.choice((1, 2, 4, 8))
        new[at : at + size] = rng.choice((rng.randbytes(size), b"\xff" * size, b"\x80" + bytes(size - 1), bytes(size)))
    if rng.random() < 0.2:
        at = rng.randrange(start, len(new))
        del new[at : at + rng.randrange(1, 40)]
    return bytes(new)


def with_checksum(raw: bytes) -> bytes:
    """Make the checksum at byte 8 of a snapshot right again."""
    return raw[:8] + crc32c.crc32c(raw[12:]).to_bytes(4, "little") + raw[12:]


def refused(attempts: Callable[[random.Random], object], *errors: type[Exception]) -> int:
    """Try many times; return how often one of these errors was the answer. Any other one fails the test."""
    count = 0
    for seed in range(ROUNDS):
        try:
            attempts(random.Random(seed))
        except errors:
            count += 1
    return count


def test_a_snapshot_of_producers() -> None:
    """A producers' snapshot is refused, or read to its end."""
    table = ProducerTable("t", 0)
    for producer in range(3):
        table.add(ProducerStamp(producer, 0, 0), 3, 10 * producer, 1000)
    whole = snapshot_bytes(table, 7, LastBatch(1, 2))

    def attempt(rng: random.Random) -> None:
        parse_snapshot(with_checksum(changed(whole, rng, 12)), ProducerTable("t", 0))

    assert refused(attempt, BatchDamage) > 100


def test_a_snapshot_of_committed_offsets(tmp_path: object) -> None:
    """A snapshot of committed offsets is refused, or gives a table that can be asked for all it holds."""
    table = OffsetTable("__consumer_offsets", 0)
    keys = [encode_key(group, "orders", number) for group in ("a", "größe") for number in range(3)]
    values = [encode_value(OffsetAndMetadata(n, "ß"), 1_000) for n in range(len(keys))]
    table.apply(keys, values, 1_000, len(keys))
    path = f"{tmp_path}/snapshot"
    write_snapshot(FileSystem(), path, table, TOPIC_ID)
    whole = FileSystem().read_file(path)

    def attempt(rng: random.Random) -> None:
        found = Snapshot(with_checksum(changed(whole, rng, 12)), TOPIC_ID).table("__consumer_offsets", 0)
        for group in found.groups():
            found.partitions(group)
            try:
                found.all_committed(group)
            except ValueError as error:
                assert type(error).__name__ in ("CorruptSegmentError", "UnsupportedFormatError")

    assert refused(attempt, BatchDamage) > 100


def test_records_of_committed_offsets() -> None:
    """A key is one that can be taken apart, or is passed over; a value is one, or of a form that is not known."""
    key = encode_key("größe", "orders", 3)
    value = encode_value(OffsetAndMetadata(7, "ß" * 20), 1_000)

    def attempt(rng: random.Random) -> None:
        found = changed(key, rng)
        prefix = prefix_of(found)
        if prefix is not None:
            group_of(prefix)
            assert decode_key(found, prefix).topic is not None
        fingerprint(1, found, decode_value(changed(value, rng)).position.metadata.encode(), 1)

    assert refused(attempt, UnsupportedFormatError) > 100


def test_outcomes_of_transactions() -> None:
    """An outcome is refused, or holds no more parts than its bytes do: it takes no time to find that out."""
    parts = tuple(TransactionPart("tüpfel", "00" * 16, n, 7, 9, 0) for n in range(3))
    value = encode_outcome(TransactionOutcome(1, True, "id", 5, 0, 1, 2, parts))

    def attempt(rng: random.Random) -> None:
        assert len(decode(b"\0\0\0\2id", changed(value, rng)).parts) * 42 <= len(value)

    assert refused(attempt, UnsupportedFormatError) > 100
    endless = value[:38] + (2**31 - 1).to_bytes(4, "big") + value[42:]
    with pytest.raises(UnsupportedFormatError):
        decode(None, endless)
    backwards = bytearray(value)
    backwards[42 + 40 : 42 + 42] = (-42).to_bytes(2, "big", signed=True)
    with pytest.raises(UnsupportedFormatError):
        decode(None, bytes(backwards))
