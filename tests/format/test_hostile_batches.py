"""Whatever a batch with a right CRC claims, readers get records or CorruptSegmentError, and ask for little memory."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crc32c
import pytest

import eventlog
from eventlog.format.batch_encoder import encode
from eventlog.format.columns import BatchDamage
from eventlog.format.record_batch import RecordBatch
from tests.conftest import RunPython
from tests.format.hostile import HOME, IMPOSSIBLE, batch, offsets, padded, put

pytest.importorskip("cramjam")

TP = eventlog.TopicPartition("t", 0)
GOOD = batch(offsets(0, 4) + padded(b"good"))


def read_with(name: str) -> Callable[[RecordBatch], Any]:
    """What asks a batch for its columns, by each way there is."""
    return {
        "values": lambda found: found.values(),
        "keys": lambda found: found.keys(),
        "headers": lambda found: found.headers(),
        "records": lambda found: found.records(),
        "iteration": lambda found: next(iter(found)),
        "value_offsets": lambda found: found.value_offsets,
        "key_data": lambda found: found.key_data,
        "offsets and values": lambda found: (found.offsets, found.values()),
        "part": lambda found: found.part(0, 1),
        "to_arrow": lambda found: found.to_arrow(),
    }[name]


WAYS = [
    "values", "keys", "headers", "records", "iteration", "value_offsets", "key_data", "offsets and values", "part",
    "to_arrow",
]  # fmt: skip


@pytest.fixture
def directory(log_path: Path) -> Path:
    """An empty partition's directory in a log that is closed."""
    with eventlog.open(log_path) as log:
        assert log.create_topic("t").partitions[0].log_end_offset == 0
    return log_path / "topics" / "t" / "0"


@pytest.mark.parametrize("version", [0, 2])
@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_every_reader_says_so(directory: Path, log_path: Path, name: str, version: int) -> None:
    """All ways to read raise CorruptSegmentError with the next offset, `verify` says the same, and the log goes on."""
    raw = bytearray(IMPOSSIBLE[name])
    raw[62] = version
    crc = crc32c.crc32c(bytes(raw[21:]))
    struct.pack_into(">I", raw, 17, crc32c.crc32c(bytes(raw[:17]), crc ^ HOME) if version else crc)
    put(directory, bytes(raw))
    with eventlog.open(log_path) as log:
        partition = log.topic("t").partitions[0]
        end = partition.log_end_offset
        assert [(found.base_offset, found.next_offset) for found in partition.verify().damaged] == [(0, end)]
        for way in WAYS:
            if way == "to_arrow":
                pytest.importorskip("pyarrow")
            with pytest.raises(eventlog.CorruptSegmentError) as caught:
                read_with(way)(partition.read(0)[0])
            assert (caught.value.topic, caught.value.partition, caught.value.position) == ("t", 0, 0)
            assert (caught.value.base_offset, caught.value.next_offset) == (0, end)
        assert partition.append([b"next"]).base_offset == end
        with log.consumer(auto_offset_reset="earliest") as consumer:
            consumer.assign([TP])
            with pytest.raises(eventlog.CorruptSegmentError) as caught:
                consumer.poll()
            assert caught.value.next_offset == end
            consumer.seek(TP, end)
            assert [record.value for record in consumer.poll()] == [b"next"]
        with pytest.raises(eventlog.CorruptSegmentError):
            partition.offset_for_time(0)


def test_the_same_batch_without_the_lie_is_read(directory: Path, log_path: Path) -> None:
    """What these tests write is refused for its contents alone: an honest one is read."""
    put(directory, GOOD)
    with eventlog.open(log_path) as log:
        assert log.topic("t").partitions[0].read(0)[0].values() == [b"good"]
        assert log.topic("t").partitions[0].verify().ok


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited by the system there only")
def test_a_claim_asks_for_no_memory(directory: Path, run_python: RunPython) -> None:
    """A process that may not have more than a little memory gets the same errors: nothing is allocated by a claim."""
    script = f"""
import resource, eventlog
with eventlog.open({str(directory.parents[2])!r}, readonly=True) as log:
    batch = log.topic("t").partitions[0].read(0)[0]
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (96 << 20), resource.RLIM_INFINITY))
    outcomes = []
    for ask in (lambda: batch.offsets, batch.values, batch.records):
        try: outcomes.append(len(ask()))
        except eventlog.CorruptSegmentError: outcomes.append(-1)
answer(outcomes)
"""
    for name, claimed in (
        ("zstd claims 4 GiB", 1),
        ("billions of empty records", -1),
        ("more values than the body", -1),
    ):
        put(directory, IMPOSSIBLE[name])
        assert run_python(script) == [claimed, -1, -1]


def test_limits_are_settings(directory: Path, log_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may believe more or less than the defaults; impossible limits are refused."""
    for content in (batch(b"", 2 << 20, columns=0), packed(1 << 20)):
        put(directory, content)
        with eventlog.open(log_path, readonly=True) as log:
            found = log.topic("t").partitions[0].read(0, 1 << 30)[0]
            monkeypatch.setattr(eventlog.limits, "max_empty_records", 1 << 20)
            monkeypatch.setattr(eventlog.limits, "max_decompressed_bytes", 1 << 20)
            with pytest.raises(eventlog.CorruptSegmentError, match=r"limits\.max_"):
                found.values()
            monkeypatch.setattr(eventlog.limits, "max_empty_records", 1 << 22)
            monkeypatch.setattr(eventlog.limits, "max_decompressed_bytes", 1 << 22)
            assert len(found.values()) == len(found)
            monkeypatch.undo()
    for value in (0, -1, 2**31, "much", True):
        with pytest.raises(eventlog.InvalidConfigError):
            eventlog.limits.max_empty_records = value  # type: ignore[assignment]


def packed(size: int) -> bytes:
    encoded = encode([bytes(size)], 1, codec=4)
    return b"".join(encoded.stamp(0, home=HOME))


def test_what_is_written_is_within_the_limits(log_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many empty records become several batches, and what no reader would decompress is stored as it is."""
    for module in ("batch_encoder", "batch_splitter"):
        for name in ("MAX_DECOMPRESSED_BYTES", "MAX_EMPTY_RECORDS"):
            monkeypatch.setattr(f"eventlog.format.{module}.{name}", 5_000, raising=False)
    monkeypatch.setattr(eventlog.limits, "max_empty_records", 5_000)
    monkeypatch.setattr(eventlog.limits, "max_decompressed_bytes", 5_000)
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t", compression_type="gzip").partitions[0]
        partition.append([None] * 23_000)
        partition.append([bytes(9_000)])
        partition.append([b"x" * 100] * 30)
        batches = partition.read(0, 1 << 30)
        assert sum(len(found.values()) for found in batches) == 23_031
        assert batches[-2].size > 9_000 and batches[-1].size < 1_000
        assert partition.verify().ok


@pytest.mark.parametrize("codec", range(5))
def test_any_change_under_a_right_checksum_is_harmless(codec: int) -> None:
    """Whatever changes in a batch whose CRC is made right again: it is refused, or all of it can be read."""
    rng = random.Random(codec)
    columns = (
        [b"a", None, b"c" * 20] * 7,
        [1, 2, 3] * 7,
        [b"k", None, b""] * 7,
        [[("hß", b"1"), ("", None)], [], None] * 7,
    )
    encoded = encode(*columns, codec)
    whole = b"".join(bytes(part) for part in encoded.stamp(0))
    refused = 0
    for seed in range(3_000):
        raw = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.choice((rng.randrange(21, 64), rng.randrange(21, len(raw))))
            size = rng.choice((1, 1, 4))
            raw[at : at + size] = rng.choice((rng.randbytes(size), b"\xff" * size, bytes(size)))[: len(raw) - at]
        struct.pack_into(">I", raw, 17, crc32c.crc32c(bytes(raw[21:] + raw[:17])))
        try:
            found = RecordBatch(memoryview(bytes(raw)), 0, len(raw), "t", 0)
            found.check()
        except BatchDamage:
            refused += 1
            continue
        records = found.records()
        assert len(records) == len(found) == len(found.offsets) == len(found.timestamps_ms), seed
        assert found.offsets[-1] <= found.last_offset and (found.offsets[1:] > found.offsets[:-1]).all(), seed
        assert all(isinstance(name, str) for record in records for name, _ in record.headers)
        assert found.part(0, 1).values() == found.values()[:1]
    assert refused > 300
