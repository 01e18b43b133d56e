"""A batch comes back exactly as it was given, from the very bytes that lie in the segment."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventlog
from eventlog.errors import InvalidRecordError, RecordTooLargeError, SerializationError
from eventlog.format import layouts
from eventlog.format.batch_encoder import EncodedBatch, encode, encode_one
from eventlog.format.batch_splitter import encode_batches
from eventlog.format.columns import BatchDamage
from eventlog.format.compression import GZIP, LZ4, NONE, SNAPPY, ZSTD
from eventlog.format.record_batch import RecordBatch

pytest.importorskip("cramjam")

CODECS = [NONE, GZIP, SNAPPY, LZ4, ZSTD]
# Kafka's record batch v2 (KIP-98), spelled out here once more: name, position, format (all big-endian).
KAFKA_FIELDS = [
    ("base offset", 0, ">q"), ("batch length", 8, ">i"), ("leader epoch", 12, ">i"), ("magic", 16, ">b"),
    ("crc", 17, ">I"), ("attributes", 21, ">h"), ("last offset delta", 23, ">i"), ("base timestamp", 27, ">q"),
    ("max timestamp", 35, ">q"), ("producer id", 43, ">q"), ("producer epoch", 51, ">h"),
    ("base sequence", 53, ">i"), ("record count", 57, ">i"),
]  # fmt: skip


class Rows(NamedTuple):
    """The columns of a batch as a caller gives them."""

    values: list[bytes | None]
    timestamps: list[int]
    keys: list[bytes | None] | None
    headers: list[Any] | None


blobs = st.one_of(
    st.none(),
    st.just(b""),
    st.binary(max_size=40),
    st.integers(100, 5000).map(lambda size: bytes(range(256)) * (size // 256) + b"x" * (size % 256)),
)
header_lists = st.one_of(
    st.none(), st.lists(st.tuples(st.text(max_size=5), st.one_of(st.none(), st.binary(max_size=9))), max_size=3)
)


@st.composite
def some_rows(draw: st.DrawFn) -> Rows:
    count = draw(st.integers(1, 20))

    def column(item: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(item, min_size=count, max_size=count))

    times = st.integers(0, 2**62)
    return Rows(
        column(blobs),
        draw(st.one_of(times.map(lambda one: [one] * count), st.lists(times, min_size=count, max_size=count))),
        column(blobs) if draw(st.booleans()) else None,
        column(header_lists) if draw(st.booleans()) else None,
    )


def whole(batch: EncodedBatch, base_offset: int = 0) -> bytes:
    return b"".join(bytes(part) for part in batch.stamp(base_offset))


def parsed(raw: bytes, *, check: bool = True) -> RecordBatch:
    return RecordBatch(memoryview(raw), 0, len(raw), "t", 3, check=check)


def checksum(raw: bytes) -> int:
    """What belongs at byte 17: everything behind it, then, from version 2 on, everything before it."""
    return crc32c.crc32c(raw[21:] + (raw[:17] if raw[62] else b""))


def expected_headers(headers: list[Any] | None, count: int) -> list[Any]:
    return [()] * count if headers is None else [tuple(map(tuple, pairs or ())) for pairs in headers]


def is_mapped(segment_path: Path, array: np.ndarray) -> bool:
    """Tell whether the array's memory is a mapping of the file, according to the kernel."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        if low <= address < high:
            return line.endswith(segment_path.name)
    return False


@given(rows=some_rows(), codec=st.sampled_from(CODECS), base=st.integers(0, 2**62))
def test_whatever_is_encoded_comes_back(rows: Rows, codec: int, base: int) -> None:
    """Values, keys, headers, timestamps and offsets come back as given, with every codec."""
    count = len(rows.values)
    raw = whole(encode(rows.values, rows.timestamps, rows.keys, rows.headers, codec), base)
    batch = parsed(raw)
    batch.check()
    assert batch.values() == rows.values
    assert batch.keys() == (rows.keys or [None] * count)
    assert batch.headers() == expected_headers(rows.headers, count)
    assert batch.timestamps_ms.tolist() == rows.timestamps
    assert batch.offsets.tolist() == list(range(base, base + count))
    assert (len(batch), batch.size, batch.max_timestamp) == (count, len(raw), max(rows.timestamps))


@given(rows=some_rows(), codec=st.sampled_from(CODECS), data=st.data())
def test_records_of_a_slice_are_the_tail_of_all_records(rows: Rows, codec: int, data: st.DataObject) -> None:
    """``from_offset`` gives exactly the records at that offset and later; a slice of a slice does too."""
    batch = parsed(whole(encode(rows.values, rows.timestamps, rows.keys, rows.headers, codec), 1000))
    everything = batch.records()
    first = data.draw(st.integers(0, len(batch) - 1))
    second = data.draw(st.integers(first, len(batch) - 1))
    part = batch.from_offset(1000 + first).from_offset(1000 + second)
    assert part.records() == everything[second:]
    assert (part.base_offset, part.last_offset, len(part)) == (1000 + second, batch.last_offset, len(batch) - second)
    assert part.values() == rows.values[second:]
    offsets = part.value_offsets
    assert [bytes(part.value_data[a:b]) for a, b in pairwise(offsets.tolist())] == [v or b"" for v in part.values()]


@given(rows=some_rows(), codec=st.sampled_from(CODECS))
def test_the_first_61_bytes_are_a_kafka_header(rows: Rows, codec: int) -> None:
    """Every field of Kafka's record batch v2 lies where Kafka puts it, big-endian; our version follows."""
    raw = whole(encode(rows.values, rows.timestamps, rows.keys, rows.headers, codec), 77)
    field = {name: struct.unpack_from(form, raw, position)[0] for name, position, form in KAFKA_FIELDS}
    assert field["base offset"] == 77
    assert field["batch length"] == len(raw) - 12
    assert field["leader epoch"] == 0
    assert field["magic"] == 0x63
    assert field["crc"] == checksum(raw)
    assert field["attributes"] == codec
    assert field["last offset delta"] == len(rows.values) - 1
    assert field["base timestamp"] == rows.timestamps[0]
    assert field["max timestamp"] == max(rows.timestamps)
    assert (field["producer id"], field["producer epoch"], field["base sequence"]) == (-1, -1, -1)
    assert field["record count"] == len(rows.values)
    assert raw[62:64] == b"\2\0"
    assert len(raw) % 8 == 0


def test_the_header_table_covers_61_bytes_without_a_gap() -> None:
    """Kafka's fields follow each other without a hole from byte 0 to byte 61, and ours agree with the table."""
    end = 0
    for _, position, form in KAFKA_FIELDS:
        assert position == end
        end += struct.calcsize(form)
    assert end == 61
    assert (layouts.CRC_START, layouts.MAGIC_POSITION, layouts.HEADER_BYTES) == (21, 16, 64)


def test_a_column_that_says_nothing_takes_no_bytes() -> None:
    """Equal timestamps, missing keys and headers, and all-null values cost only the header."""
    assert len(whole(encode([None, None, None], [5]))) == 64
    assert parsed(whole(encode([None] * 3, [5]))).values() == [None] * 3
    same = whole(encode([b"aaaaaaaa"], [5], [None], [None]))
    assert same == whole(encode([b"aaaaaaaa"], [5]))
    assert len(whole(encode([b"a", b"b"], [5, 5]))) < len(whole(encode([b"a", b"b"], [5, 6])))


def test_columns_are_little_endian_and_aligned() -> None:
    """Timestamps, key offsets, keys, value bitmap, offsets and values follow in this order, each on 8 bytes."""
    raw = whole(encode([b"abc", None, b"de"], [7, 9, 8], [b"k", b"", b"kk"]))
    assert raw[61] == 0x01 | 0x04 | 0x10 | 0x20
    assert raw[64:] == (
        struct.pack("<3q", 7, 9, 8)
        + struct.pack("<4i", 0, 1, 1, 3) + b"kkk".ljust(8, b"\0")
        + bytes([0b101]).ljust(8, b"\0")
        + struct.pack("<4i", 0, 3, 3, 5) + b"abcde".ljust(8, b"\0")
    )  # fmt: skip


@given(value=st.binary(max_size=300), stamp=st.integers(0, 2**62))
def test_the_shortest_way_writes_the_same_bytes(value: bytes, stamp: int) -> None:
    """A single value encoded by ``encode_one`` is byte for byte what ``encode`` makes of it."""
    assert whole(EncodedBatch(*encode_one(value, stamp)), 9) == whole(encode([value], [stamp]), 9)


@given(rows=some_rows(), offset=st.integers(0, 2**62), epoch=st.integers(0, 2**31 - 1))
def test_a_batch_may_be_stamped_any_number_of_times(rows: Rows, offset: int, epoch: int) -> None:
    """Base offset and leader epoch change the CRC, and nothing else behind them."""
    encoded = encode(rows.values, rows.timestamps, rows.keys, rows.headers)
    first = whole(encoded)
    again = b"".join(bytes(part) for part in encoded.stamp(offset, epoch))
    assert (first[16:17], first[21:]) == (again[16:17], again[21:])
    batch = parsed(again)
    assert (batch.base_offset, batch.leader_epoch, batch.values()) == (offset, epoch, rows.values)


@given(rows=some_rows(), codec=st.sampled_from(CODECS), now=st.integers(0, 2**62))
def test_append_time_replaces_every_timestamp(rows: Rows, codec: int, now: int) -> None:
    """With LogAppendTime all records carry the log's time and say so; everything else stays."""
    raw = whole(encode(rows.values, rows.timestamps, rows.keys, rows.headers, codec).with_append_time(now))
    batch = parsed(raw)
    assert batch.timestamps_ms.tolist() == [now] * len(batch)
    assert batch.timestamp_type is eventlog.TimestampType.LOG_APPEND_TIME
    assert (batch.values(), batch.keys()) == (rows.values, rows.keys or [None] * len(batch))
    assert struct.unpack_from(">I", raw, 17)[0] == checksum(raw)


@given(rows=some_rows(), codec=st.sampled_from(CODECS), data=st.data())
def test_a_flipped_bit_is_noticed(rows: Rows, codec: int, data: st.DataObject) -> None:
    """No batch with a changed bit is ever accepted, wherever it is."""
    raw = bytearray(whole(encode(rows.values, rows.timestamps, rows.keys, rows.headers, codec)))
    bit = data.draw(st.one_of(st.integers(0, 64 * 8 - 1), st.integers(0, len(raw) * 8 - 1)))
    raw[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(BatchDamage):
        parsed(bytes(raw))


@given(rows=some_rows(), data=st.data())
def test_a_part_of_a_batch_is_never_taken_for_one(rows: Rows, data: st.DataObject) -> None:
    """Whatever is cut off at the end, the rest is refused."""
    raw = whole(encode(rows.values, rows.timestamps, rows.keys, rows.headers))
    with pytest.raises(BatchDamage):
        parsed(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(rows=some_rows(), codec=st.sampled_from(CODECS), limit=st.integers(300, 8000))
def test_a_call_is_split_into_batches_that_fit(rows: Rows, codec: int, limit: int) -> None:
    """Split batches hold all records in order, none larger than the limit; one that cannot fit is refused."""
    try:
        batches = encode_batches(rows.values, rows.timestamps, rows.keys, rows.headers, codec=codec, max_bytes=limit)
    except RecordTooLargeError as error:
        alone = int(str(error).split("record ")[1].split(" ")[0])
        with pytest.raises(RecordTooLargeError):
            encode_batches(
                rows.values[alone : alone + 1], rows.timestamps[alone : alone + 1],
                rows.keys and rows.keys[alone : alone + 1], rows.headers and rows.headers[alone : alone + 1],
                codec=codec, max_bytes=limit,
            )  # fmt: skip
        return
    assert all(batch.size <= limit for batch in batches)
    found = [parsed(whole(batch)) for batch in batches]
    assert [value for batch in found for value in batch.values()] == rows.values
    assert [stamp for batch in found for stamp in batch.timestamps_ms.tolist()] == rows.timestamps


@pytest.mark.parametrize(
    ("call", "error"),
    [
        pytest.param(lambda: encode(["text"], [0]), SerializationError, id="value is str"),
        pytest.param(lambda: encode([b""], [0], [7]), SerializationError, id="key is int"),
        pytest.param(lambda: encode([b""], [0], headers=[[("a", "b")]]), InvalidRecordError, id="header value is str"),
        pytest.param(lambda: encode([b""], [0], headers=[[(b"a", b"b")]]), InvalidRecordError, id="header name"),
        pytest.param(lambda: encode([b""], [0], headers=[["ab"]]), InvalidRecordError, id="header is no pair"),
        pytest.param(lambda: encode([b""], [0], headers=[[("a", b"", "b", b"")]]), InvalidRecordError, id="two in one"),
        pytest.param(lambda: encode_batches([bytes(999)], 0, max_bytes=999), RecordTooLargeError, id="too large"),
    ],
)  # fmt: skip
def test_what_no_record_can_hold_is_refused(call: Any, error: type[Exception]) -> None:
    """Wrong types, columns that do not fit together and impossible timestamps raise an error that says so."""
    with pytest.raises(error):
        call()


def test_bytes_like_objects_are_taken_as_their_bytes() -> None:
    """bytearray and memoryview are accepted, whatever the width of a memoryview's items."""
    wide = memoryview(struct.pack("<2i", 1, 2)).cast("i")
    batch = parsed(whole(encode([bytearray(b"ab"), memoryview(b"cd"), wide, None], [0])))  # type: ignore[list-item]
    assert batch.values() == [b"ab", b"cd", struct.pack("<2i", 1, 2), None]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks the kernel what is mapped where")
def test_columns_are_the_mapped_segment_itself(log: eventlog.EventLog, log_path: Path) -> None:
    """Values, keys, offsets and varying timestamps of a read batch lie in the mapping of the segment file."""
    partition = log.create_topic("t").partitions[0]
    partition.append([b"a" * 100, None, b"c"], [b"k", b"", None], [1, 2, 3])
    batch = partition.read(0)[0]
    path = log_path / "topics" / "t" / "0" / f"{0:020d}.log"
    for array in (batch.value_data, batch.value_offsets, batch.key_data, batch.key_offsets, batch.timestamps_ms):
        assert is_mapped(path, array)
    part = batch.from_offset(2)
    assert np.shares_memory(part.value_data, batch.value_data)
    assert np.shares_memory(part.value_offsets, batch.value_offsets)
    assert part.values() == [b"c"]


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_no_column_can_be_written_to(log: eventlog.EventLog, compression: str) -> None:
    """Every array of a batch is read-only, also that of a compressed one and of a column that is not there."""
    partition = log.create_topic("t", compression_type=compression).partitions[0]
    partition.append([b"a", b"b"], [b"k", None], [1, 2])
    partition.append([None])
    for batch in partition.read(0):
        for name in ("offsets", "timestamps_ms", "value_offsets", "value_data", "key_offsets", "key_data"):
            array = getattr(batch, name)
            assert not array.flags.writeable, name
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 0


def test_a_batch_outlives_the_log_and_the_file(tmp_path: Path) -> None:
    """A batch stays readable after the log was closed and its topic deleted."""
    with eventlog.open(tmp_path / "log") as log:
        log.create_topic("t").partitions[0].append([b"kept" * 1000, b"too"])
        batch = log.topic("t").partitions[0].read(0)[0]
        log.delete_topic("t")
    assert batch.values() == [b"kept" * 1000, b"too"]


@given(rows=some_rows(), codec=st.sampled_from(CODECS), data=st.data())
def test_arrow_says_the_same(rows: Rows, codec: int, data: st.DataObject) -> None:
    """``to_arrow`` holds the same records, whole and sliced; without compression its values share the memory."""
    pa = pytest.importorskip("pyarrow")
    rows = rows._replace(timestamps=[stamp % 2**53 for stamp in rows.timestamps])
    raw = whole(encode(rows.values, rows.timestamps, rows.keys, rows.headers, codec), 5)
    batch = parsed(raw).from_offset(5 + data.draw(st.integers(0, len(rows.values) - 1)))
    table = batch.to_arrow()
    table.validate(full=True)
    assert table.column("value").to_pylist() == batch.values()
    assert table.column("key").to_pylist() == batch.keys()
    assert table.column("offset").to_pylist() == batch.offsets.tolist()
    assert table.column("timestamp").cast(pa.int64()).to_pylist() == batch.timestamps_ms.tolist()
    pairs = [tuple((pair["key"], pair["value"]) for pair in row) for row in table.column("headers").to_pylist()]
    assert pairs == batch.headers()
    data_buffer = table.column("value").buffers()[2]
    if not codec and any(rows.values):
        assert data_buffer.address == batch.value_data.__array_interface__["data"][0]


def test_arrow_shares_the_mapped_segment(log: eventlog.EventLog, log_path: Path) -> None:
    """The Arrow array's bytes are those of the mapped file: the same address as ``value_data``."""
    pytest.importorskip("pyarrow")
    partition = log.create_topic("t").partitions[0]
    partition.append([b"abc", None, b"defg"], [b"k", b"", None], [1, 2, 3])
    batch = partition.read(0)[0]
    table = batch.to_arrow()
    assert table.column("value").buffers()[2].address == batch.value_data.__array_interface__["data"][0]
    assert table.column("key").buffers()[2].address == batch.key_data.__array_interface__["data"][0]
    assert table.column("value").buffers()[1].address == batch.value_offsets.__array_interface__["data"][0]
    assert table.column("value").to_pylist() == batch.values()


@pytest.mark.parametrize(
    ("position", "form", "value", "reason"),
    [
        pytest.param(57, ">i", 0, "record count", id="no records"),
        pytest.param(57, ">i", 9, "record count", id="more records than offsets"),
        pytest.param(23, ">i", -1, "record count", id="negative last offset"),
        pytest.param(8, ">i", 7, "length", id="shorter than a header"),
        pytest.param(16, ">b", 2, "magic", id="another magic"),
    ],
)
def test_a_header_that_cannot_be_is_refused_under_a_valid_checksum(
    position: int, form: str, value: int, reason: str
) -> None:
    """A batch that some other program wrote wrongly is refused, with the reason, although its CRC fits."""
    raw = bytearray(whole(encode([b"a", b"b"], [1])))
    struct.pack_into(form, raw, position, value)
    struct.pack_into(">I", raw, 17, checksum(bytes(raw)))
    with pytest.raises(BatchDamage, match=reason):
        parsed(bytes(raw))


@given(position=st.integers(61, 200), value=st.integers(0, 255), codec=st.sampled_from(CODECS))
def test_columns_that_cannot_be_are_refused_under_a_valid_checksum(position: int, value: int, codec: int) -> None:
    """A body that some other program wrote wrongly either is refused by ``check`` or can be read in full."""
    raw = bytearray(
        whole(encode([b"a", None, b"c" * 20], [1, 2, 3], [b"k", None, b""], [[("h", b"1")], [], None], codec))
    )
    raw[min(position, len(raw) - 1)] = value
    struct.pack_into(">I", raw, 17, checksum(bytes(raw)))
    try:
        batch = parsed(bytes(raw))
        batch.check()
    except BatchDamage:
        return
    assert len(batch.values()) == len(batch.keys()) == len(batch.headers()) == len(batch.timestamps_ms) == 3
