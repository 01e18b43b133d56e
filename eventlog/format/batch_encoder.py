"""Encode columns of records into one batch, ready to be stamped with its base offset and written.

Encoding needs no lock and knows no partition: the CRC covers base offset and leader epoch last, and the thread that
holds the partition's lock stamps them, and goes on with the CRC over these 17 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import crc32c
import numpy as np
from numpy.typing import NDArray

from eventlog.errors import InvalidRecordError
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L
from eventlog.format.batch_home import NOWHERE
from eventlog.format.compression import compress
from eventlog.format.packed_column import EvenColumn, PackedColumn, UnevenColumn
from eventlog.format.producer_stamp import NO_STAMP, ProducerStamp
from eventlog.format.record_input import checked_bytes, checked_header_column
from eventlog.read_limits import MAX_DECOMPRESSED_BYTES
from eventlog.serializers import Side

Column = Sequence[bytes | None] | PackedColumn
RecordHeaders = Sequence[tuple[str, bytes | None]]
HeaderColumn = Sequence[RecordHeaders | None]
TimestampColumn = Sequence[int] | NDArray[np.int64]

_crc = crc32c.crc32c
_pack_start = L.START.pack
_pack_crc = L.CRC.pack
_pack_trailer = L.TRAILER.pack
_pack_pair = struct.Struct("<ii").pack
_PADDING = tuple(bytes(-n % L.ALIGNMENT) for n in range(L.ALIGNMENT))
_CRC_START = L.CRC_START


BatchFields = tuple[bytes | list[bytes], int, int, int, int]  # those of EncodedBatch


class EncodedBatch(NamedTuple):
    """A batch as bytes, but for its first 21, which `stamp` makes.

    ``parts`` are to be written one after the other, and ``checksum`` is their CRC-32C; ``size`` counts the whole batch
    in bytes, the timestamps are in milliseconds since the epoch.
    """

    parts: bytes | list[bytes]
    checksum: int
    size: int
    records: int
    max_timestamp: int

    def stamp(self, base_offset: int, leader_epoch: int = 0, home: int = NOWHERE) -> list[bytes]:
        """Return the batch as parts to be written one after the other, to the partition with this `home_of`."""
        start = _pack_start(base_offset, self.size - L.LENGTH_START, leader_epoch, L.MAGIC)
        prefix = start + _pack_crc(_crc(start, self.checksum ^ home))
        return [prefix, *([self.parts] if isinstance(self.parts, bytes) else self.parts)]

    def with_append_time(self, timestamp_ms: int) -> EncodedBatch:
        """Return the batch with the log's own time as the time of all its records (LogAppendTime, KIP-32)."""
        fields = self._trailer()
        fields[0] |= L.ATTRIBUTE_LOG_APPEND_TIME
        fields[3] = timestamp_ms
        return self._with_trailer(fields)._replace(max_timestamp=timestamp_ms)

    def stamped(self, stamp: ProducerStamp) -> EncodedBatch:
        """Return the batch as this producer's; the batch itself if it is so already, or else with a new CRC."""
        fields = self._trailer()
        attributes = fields[0] & ~L.ATTRIBUTE_TRANSACTIONAL | stamp.attributes
        if fields[4:7] == list(stamp[:3]) and attributes == fields[0]:
            return self
        fields[0] = attributes
        fields[4:7] = stamp[:3]
        return self._with_trailer(fields)

    def _trailer(self) -> list[int]:
        return list(L.TRAILER.unpack_from(self.parts if isinstance(self.parts, bytes) else self.parts[0]))

    def _with_trailer(self, fields: list[int]) -> EncodedBatch:
        first, *rest = [self.parts] if isinstance(self.parts, bytes) else self.parts
        parts = [_pack_trailer(*fields) + first[L.TRAILER.size :], *rest]
        return self._replace(parts=parts, checksum=_checksum(parts))


def _checksum(parts: list[bytes]) -> int:
    checksum = 0
    for part in parts:
        checksum = _crc(part, checksum)
    return checksum


def joined(batches: Sequence[EncodedBatch], base_offset: int, home: int) -> tuple[list[bytes], int, int, int]:
    """Return several batches as parts to write, and their size, their number of records, their largest timestamp."""
    parts: list[bytes] = []
    size = count = 0
    for batch in batches:
        parts += batch.stamp(base_offset + count, home=home)
        size += batch.size
        count += batch.records
    if size > L.MAX_BATCH_BYTES:  # a position within a segment has 32 bits
        raise InvalidRecordError(f"an append of {size} bytes", hint="give fewer records at once: less than 2 GiB")
    return parts, size, count, max([batch.max_timestamp for batch in batches])


@lru_cache(maxsize=4)
def _one_trailer(timestamp_ms: int, columns: int = L.COLUMN_VALUES, stamp: ProducerStamp = NO_STAMP) -> bytes:
    """Return the trailer of a single record's batch: within a millisecond, the same bytes serve all."""
    return _pack_trailer(stamp.attributes, 0, timestamp_ms, timestamp_ms, *stamp[:3], 1, columns, L.VERSION_2)


def encode_one(value: bytes, timestamp_ms: int, stamp: ProducerStamp = NO_STAMP) -> BatchFields:
    """Encode one record that has a value and nothing else: the shortest way, in one piece, into a plain tuple."""
    trailer = _one_trailer(timestamp_ms, L.COLUMN_VALUES, stamp)
    length = len(value)
    tail = trailer + _pack_pair(0, length) + value + _PADDING[length & 7]
    return tail, _crc(tail), len(tail) + _CRC_START, 1, timestamp_ms


def encode_one_keyed(key: bytes, value: bytes, timestamp_ms: int, stamp: ProducerStamp = NO_STAMP) -> BatchFields:
    """Encode one record that has a key and a value, in the same way."""
    trailer = _one_trailer(timestamp_ms, L.COLUMN_KEYS | L.COLUMN_VALUES, stamp)
    width, length = len(key), len(value)
    tail = (
        trailer + _pack_pair(0, width) + key + _PADDING[width & 7]
        + _pack_pair(0, length) + value + _PADDING[length & 7]
    )  # fmt: skip
    return tail, _crc(tail), len(tail) + _CRC_START, 1, timestamp_ms


def encode(
    values: Column,
    timestamps_ms: TimestampColumn | int,
    keys: Column | None = None,
    headers: HeaderColumn | None = None,
    codec: int = 0,
    stamp: ProducerStamp = NO_STAMP,
) -> EncodedBatch:
    """Encode n records, at least one. ``timestamps_ms`` holds n values, or is a single one that is true for all.

    The columns are as `record_input` leaves them. Raises InvalidRecordError for a batch over 2 GiB.
    """
    count = len(values)
    body = _Body()
    if isinstance(timestamps_ms, int):
        base_timestamp = max_timestamp = timestamps_ms
    else:
        base_timestamp, max_timestamp = body.add_timestamps(np.asarray(timestamps_ms, dtype=L.TIMESTAMPS))
    if keys is not None:
        body.add_bytes(keys, "key", L.COLUMN_KEYS, L.COLUMN_KEY_VALIDITY)
    body.add_bytes(values, "value", L.COLUMN_VALUES, L.COLUMN_VALUE_VALIDITY)
    if headers is not None:
        try:
            body.add_headers(headers)
        except (AttributeError, TypeError, ValueError):
            checked_header_column(headers, count)  # who did not check them is told what is wrong
            raise
    if body.size > MAX_DECOMPRESSED_BYTES:
        codec = 0  # no reader would decompress it
    if codec:
        body.compress(codec)
    size = L.HEADER_BYTES + body.size
    if size > L.MAX_BATCH_BYTES:
        raise InvalidRecordError(f"a batch of {size} bytes", hint="a batch holds less than 2 GiB: give fewer records")
    trailer = _pack_trailer(
        codec | stamp.attributes, count - 1, base_timestamp, max_timestamp, *stamp[:3], count, body.columns,
        L.VERSION_2,
    )  # fmt: skip
    parts = [trailer, *body.parts]
    return EncodedBatch(parts, _checksum(parts), size, count, max_timestamp)


class _Body:
    """The columns of one batch, in their order on disk, each padded to 8 bytes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.columns = 0

    def add_timestamps(self, stamps: NDArray[np.int64]) -> tuple[int, int]:
        """Add the timestamps unless all are equal; return the first and the largest."""
        first = int(stamps[0])
        largest = int(stamps.max())
        if largest != first or int(stamps.min()) != first:
            self._add(stamps.tobytes())
            self.columns |= L.COLUMN_TIMESTAMPS
        return first, largest

    def add_bytes(self, column: Column, name: Side, present: int, validity: int) -> None:
        """Add a column of bytes or None: validity bitmap if any is None, n + 1 offsets, the bytes."""
        if isinstance(column, EvenColumn | UnevenColumn):
            self._add_packed(column, present)
            return
        whole: Sequence[Any] = column
        try:
            data = b"".join(whole)
        except TypeError as error:  # a None, or something that is not bytes at all
            pass_on_handlers(error)
            checked = checked_bytes(column, name)
            valid = np.fromiter((item is not None for item in checked), dtype=np.bool_, count=len(checked))
            if not valid.any():
                return
            if not valid.all():
                self.columns |= validity
                self._add(np.packbits(valid, bitorder="little").tobytes())
            whole = [item or b"" for item in checked]
            data = b"".join(whole)
        offsets = _offsets(whole, len(data))
        if offsets is None:  # a memoryview of wider items: its length is not its size in bytes
            self.add_bytes([bytes(item) for item in whole], name, present, 0)
            return
        self.columns |= present
        self._add(offsets.tobytes())
        self._add(data)

    def _add_packed(self, column: PackedColumn, present: int) -> None:
        _refuse_over_2_gib(column.nbytes)
        self.columns |= present
        self._add(column.offsets().tobytes())
        self._add(column.data)

    def add_headers(self, headers: HeaderColumn) -> None:
        """Add the headers unless no record has any: n + 1 offsets into the pairs, their names, their values."""
        groups = [pairs or () for pairs in headers]
        counts = np.fromiter(map(len, groups), dtype=L.OFFSETS, count=len(groups))
        if not counts.any():
            return
        flat: list[Any] = list(chain.from_iterable(chain.from_iterable(groups)))
        names, values = flat[::2], flat[1::2]
        if len(flat) != 2 * counts.sum():
            raise ValueError("a header is not a pair")
        self._add(_running(counts).tobytes())
        text = "".join(names)
        self._add_plain(names if text.isascii() else list(map(str.encode, names)), text.encode())
        try:
            data = b"".join(values)
            valid = np.ones(len(values), dtype=np.bool_)
        except TypeError:  # some are None
            valid = np.fromiter((value is not None for value in values), dtype=np.bool_, count=len(values))
            values = [value or b"" for value in values]
            data = b"".join(values)
        self._add(np.packbits(valid, bitorder="little").tobytes())
        self._add_plain(values, data)
        self.columns |= L.COLUMN_HEADERS

    def compress(self, codec: int) -> None:
        """Put one compressed part, led by its sizes, in the place of the columns."""
        plain = b"".join(self.parts)
        packed = compress(codec, plain)
        self.parts, self.size = [], 0
        self._add(L.COMPRESSED_SIZES.pack(len(plain), len(packed)) + packed)

    def _add_plain(self, column: Sequence[str | bytes], data: bytes) -> None:
        """Add bytes, or ASCII, that are joined already."""
        offsets = _offsets(column, len(data))
        assert offsets is not None  # each item's length is its size
        self._add(offsets.tobytes())
        self._add(data)

    def _add(self, part: bytes) -> None:
        size = len(part)
        self.parts.append(part)
        if size & 7:
            self.parts.append(_PADDING[size & 7])
            size += -size & 7
        self.size += size


def _offsets(column: Sequence[Any], size: int) -> NDArray[np.int32] | None:
    """Return the n + 1 offsets of the items, or None when their lengths do not add up to ``size`` bytes."""
    _refuse_over_2_gib(size)
    lengths = list(map(len, column))
    count, length = len(lengths), lengths[0]
    if size == count * length > 0 and lengths.count(length) == count:
        return np.arange(0, size + 1, length, dtype=L.OFFSETS)
    try:
        offsets = _running(np.frombuffer(bytes(lengths), dtype=np.uint8))  # the fastest way, up to 255
    except ValueError as error:
        pass_on_handlers(error)
        offsets = _running(np.array(lengths, dtype=L.OFFSETS))
    return offsets if offsets[-1] == size else None


def _refuse_over_2_gib(size: int) -> None:
    if size > L.MAX_BATCH_BYTES:
        raise InvalidRecordError("a batch over 2 GiB", hint="give fewer records at once")


def _running(lengths: NDArray[Any]) -> NDArray[np.int32]:
    """Turn n lengths, which add up to less than 2 GiB, into n + 1 offsets."""
    offsets = np.zeros(len(lengths) + 1, dtype=L.OFFSETS)
    np.cumsum(lengths, dtype=np.int32, out=offsets[1:])
    return offsets
