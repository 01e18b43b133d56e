"""A record batch as it lies in a mapped segment: columns without a copy, records on request.

After the 64-byte header (``layouts.py``) come, each only when its bit in ``columns`` is set, each 8-byte aligned::

    timestamps      i64[n]
    offset deltas   i32[n]              only after compaction
    keys            validity bitmap, i32[n+1] offsets, bytes
    values          validity bitmap, i32[n+1] offsets, bytes
    headers         i32[n+1] offsets into m pairs; names: i32[m+1] offsets, UTF-8;
                    values: validity bitmap, i32[m+1] offsets, bytes

Bitmaps are least significant bit first, 1 for present, as in Arrow's columnar format; offsets rather than lengths
make each column an Arrow binary array where it lies. A compressed body covers the columns as a whole: its
uncompressed and its compressed size (u32 each), the codec's frame, zeros up to 8-byte alignment.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import crc32c
import numpy as np
from numpy.typing import NDArray

from eventlog.errors import CorruptSegmentError
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L
from eventlog.format.batch_home import NOWHERE
from eventlog.format.columns import BatchDamage, BytesColumn, Columns, find_columns
from eventlog.format.compression import decompress
from eventlog.format.producer_stamp import sequence_after
from eventlog.model import Headers, Record, TimestampType
from eventlog.notebooks import MOST_ROWS, table
from eventlog.read_limits import limits

if TYPE_CHECKING:
    import pyarrow

_unpack_header = L.HEADER.unpack_from
_crc = crc32c.crc32c
_CRC_START, _CRC_POSITION = L.CRC_START, L.CRC_POSITION
_shared_by_parts = attrgetter(
    "_body", "_columns", "_last_delta", "_present", "_total", "attributes", "base_timestamp", "header_offset",
    "leader_epoch", "max_timestamp", "partition", "position", "producer_epoch", "producer_id", "size", "topic",
    "_base_sequence", "checksum", "format_version",
)  # fmt: skip
_FEW = 1 << 16  # records whose offsets are made without a look at the body, whatever the header claims
_TIMESTAMP_TYPES = (TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME)
_new_tuple = tuple.__new__  # makes a Record of its fields without the cost of a Python-level constructor


class RecordBatch:
    """Consecutive records of one partition, as they were written together.

    Columns are read-only NumPy views on the mapped segment (or on the decompressed body): they cost no copy and
    keep the mapping alive. ``position`` is the batch's place in its segment, ``size`` its bytes there;
    ``max_timestamp`` and ``base_timestamp`` are in milliseconds since the epoch.

    >>> import eventlog, tempfile
    >>> log = eventlog.open(tempfile.mkdtemp())
    >>> _ = log.create_topic("t").partitions[0].append([b"a", None, b"ccc"])
    >>> batch = log.topic("t").partitions[0].read(0)[0]
    >>> batch.values(), batch.offsets.tolist(), bytes(batch.value_data)
    ([b'a', None, b'ccc'], [0, 1, 2], b'accc')
    """

    __slots__ = (
        "_base_sequence", "_body", "_columns", "_count", "_first", "_last_delta", "_present", "_total", "attributes",
        "base_timestamp", "checksum", "format_version", "header_offset", "leader_epoch", "max_timestamp", "partition",
        "position", "producer_epoch", "producer_id", "size", "topic",
    )  # fmt: skip

    def __init__(
        self,
        data: memoryview,
        position: int,
        limit: int,
        topic: str,
        partition: int,
        home: int = NOWHERE,
        check: bool = True,
    ) -> None:
        """Take the batch at ``position`` of ``data``, of which the first ``limit`` bytes may be touched.

        ``home`` is the partition's `home_of`. Raises BatchDamage when there is no whole batch, or, with ``check``, when
        its CRC does not fit.
        """
        if position + L.HEADER_BYTES > limit:
            raise BatchDamage("the file ends within a batch header")
        (
            self.header_offset, length, self.leader_epoch, magic, self.checksum, self.attributes, self._last_delta,
            self.base_timestamp, self.max_timestamp, self.producer_id, self.producer_epoch, self._base_sequence,
            count, self._present, self.format_version,
        ) = _unpack_header(data, position)  # fmt: skip
        if magic != L.MAGIC:
            raise BatchDamage(f"no batch begins here (magic {magic})")
        size = length + L.LENGTH_START
        if size < L.HEADER_BYTES or size & 7:
            raise BatchDamage(f"impossible batch length {length}")
        end = position + size
        if end > limit:
            raise BatchDamage("the file ends within a batch")
        if check:
            crc = _crc(data[position + _CRC_START : end])
            if self.format_version:
                crc = _crc(data[position : position + _CRC_POSITION], crc ^ home)
            if crc != self.checksum:
                raise BatchDamage("CRC mismatch")
        if self.format_version and self.format_version != L.VERSION_2:
            raise BatchDamage(f"a batch of format version {self.format_version}, which is not known here")
        if not 0 < count <= self._last_delta + 1:
            raise BatchDamage(f"impossible record count {count}")
        self.topic = topic
        self.partition = partition
        self.position = position
        self.size = size
        self._first = 0
        self._count = self._total = count
        self._body = data[position + L.HEADER_BYTES : end]
        self._columns: Columns | None = None

    # --- coordinates ---

    def __len__(self) -> int:
        count: int = self._count
        return count

    @property
    def base_offset(self) -> int:
        """Offset of the first record here."""
        if self._first and self._present & L.COLUMN_OFFSET_DELTAS:
            return int(self.offsets[0])
        return self.header_offset + self._first  # type: ignore[no-any-return]

    @property
    def last_offset(self) -> int:
        """Offset of the last record: the next batch begins behind it."""
        if self._first + self._count == self._total:
            return self.header_offset + self._last_delta  # type: ignore[no-any-return]
        if self._present & L.COLUMN_OFFSET_DELTAS:
            return int(self.offsets[-1])
        return self.header_offset + self._first + self._count - 1  # type: ignore[no-any-return]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Offsets of the records, int64[n]."""
        is_plain = not self._present & L.COLUMN_OFFSET_DELTAS and self._total <= _FEW
        deltas = None if is_plain else self._found().offset_deltas
        if deltas is None:
            start = self.header_offset + self._first
            offsets = np.arange(start, start + self._count, dtype=np.int64)
        else:
            offsets = deltas[self._first : self._first + self._count].astype(np.int64) + self.header_offset
        offsets.flags.writeable = False
        return offsets

    @property
    def timestamp_type(self) -> TimestampType:
        """Who stamped the records."""
        return _TIMESTAMP_TYPES[bool(self.attributes & L.ATTRIBUTE_LOG_APPEND_TIME)]

    @property
    def timestamps_ms(self) -> NDArray[np.int64]:
        """Timestamps in milliseconds since the epoch, int64[n]; no copy when they differ from record to record."""
        if self.attributes & L.ATTRIBUTE_LOG_APPEND_TIME:
            return _constant(self.max_timestamp, self._count)
        stamps = self._found().timestamps
        if stamps is None:
            return _constant(self.base_timestamp, self._count)
        return stamps[self._first : self._first + self._count]

    @property
    def base_sequence(self) -> int:
        """Sequence number of the first record here, by which its producer's repeated attempts are known; -1: none."""
        if self.producer_id == L.NO_PRODUCER_ID:
            return L.NO_SEQUENCE
        return sequence_after(self._base_sequence, self.base_offset - self.header_offset)

    @property
    def is_transactional(self) -> bool:
        """True when the records became visible with the commit of a transaction."""
        return bool(self.attributes & L.ATTRIBUTE_TRANSACTIONAL)

    # --- columns without a copy ---

    @property
    def value_offsets(self) -> NDArray[np.int32]:
        """int32[n+1]: value i is ``value_data[value_offsets[i]:value_offsets[i + 1]]``."""
        return self._column_offsets(self._found().values)

    @property
    def value_data(self) -> NDArray[np.uint8]:
        """The bytes of all values, uint8."""
        return _column_data(self._found().values)

    @property
    def key_offsets(self) -> NDArray[np.int32]:
        """int32[n+1]: key i is ``key_data[key_offsets[i]:key_offsets[i + 1]]``."""
        return self._column_offsets(self._found().keys)

    @property
    def key_data(self) -> NDArray[np.uint8]:
        """The bytes of all keys, uint8."""
        return _column_data(self._found().keys)

    # --- Python objects ---

    def values(self) -> list[bytes | None]:
        """Return the values; None is a tombstone."""
        return self._list(self._found().values)

    def keys(self) -> list[bytes | None]:
        """Return the keys; None where a record has none."""
        return self._list(self._found().keys)

    def headers(self) -> list[Headers]:
        """Return each record's headers, as a tuple of ``(name, bytes or None)`` pairs."""
        column = self._found().headers
        return [()] * self._count if column is None else column.to_list(self._first, self._count)

    def records(self) -> list[Record]:
        """Return the records."""
        columns = self._found()
        keys = None if columns.keys is None else self.keys()
        return list(self.iter_records(keys, self.values()))

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records())

    def iter_records(self, keys: list[Any] | None, values: list[Any]) -> map[Record[Any, Any]]:
        """Return the records, with keys and values that were already turned into something else."""
        # One pass in C: what is the same for all records is repeated, and not built as a list first.
        columns = self._found()
        plain_offsets = columns.offset_deltas is None
        same_time = columns.timestamps is None or self.attributes & L.ATTRIBUTE_LOG_APPEND_TIME
        start = self.header_offset + self._first
        return map(
            _new_tuple,
            repeat(Record),
            zip(
                repeat(self.topic),
                repeat(self.partition),
                range(start, start + self._count) if plain_offsets else self.offsets.tolist(),
                repeat(int(self.timestamps_ms[0])) if same_time else self.timestamps_ms.tolist(),
                repeat(self.timestamp_type),
                repeat(None) if keys is None else keys,
                values,
                repeat(()) if columns.headers is None else self.headers(),
                strict=False,  # some of these never end
            ),
        )

    def to_arrow(self) -> pyarrow.RecordBatch:
        """Return a ``pyarrow.RecordBatch``: offset, timestamp (ms, UTC), key, value, headers.

        Keys, values and varying timestamps share the mapped memory. Raises MissingExtraError without pyarrow.
        """
        from eventlog.format.arrow import to_arrow

        return to_arrow(self._found(), self._first, self.offsets, self.timestamps_ms, self.headers())

    # --- parts and checks ---

    def from_offset(self, offset: int) -> RecordBatch:
        """Return the records at ``offset`` and later, sharing the same memory; the batch itself if that is all."""
        if self._present & L.COLUMN_OFFSET_DELTAS:
            skipped = int(np.searchsorted(self.offsets, offset))
        else:  # nearly always
            skipped = min(max(0, offset - self.base_offset), self._count)
        return self.part(skipped, self._count) if skipped else self

    def part(self, start: int, stop: int) -> RecordBatch:
        """Return the records from place ``start`` up to ``stop`` within the batch, sharing the same memory."""
        self._found()  # once for all parts: each would decompress the whole body anew
        part = object.__new__(RecordBatch)
        (
            part._body, part._columns, part._last_delta, part._present, part._total, part.attributes,
            part.base_timestamp, part.header_offset, part.leader_epoch, part.max_timestamp, part.partition,
            part.position, part.producer_epoch, part.producer_id, part.size, part.topic, part._base_sequence,
            part.checksum, part.format_version,
        ) = _shared_by_parts(self)  # fmt: skip
        part._first = self._first + start
        part._count = stop - start
        return part

    def check(self) -> None:
        """Raise BatchDamage unless the body decodes and every column is whole."""
        self._decoded()

    def _found(self) -> Columns:
        if self._columns is None:
            try:
                self._columns = self._decoded()
            except BatchDamage as damage:
                raise CorruptSegmentError(
                    damage.reason, topic=self.topic, partition=self.partition, position=self.position,
                    base_offset=self.header_offset, next_offset=self.header_offset + self._last_delta + 1,
                    hint="seek behind the batch to go on",
                ) from damage  # fmt: skip
        return self._columns

    def _decoded(self) -> Columns:
        codec = self.attributes & L.ATTRIBUTE_CODEC
        body = _decompressed(codec, self._body) if codec else self._body
        return find_columns(body, self._present, self._total, self._last_delta)

    def _list(self, column: BytesColumn | None) -> list[bytes | None]:
        return [None] * self._count if column is None else column.to_list(self._first, self._count)

    def _column_offsets(self, column: BytesColumn | None) -> NDArray[np.int32]:
        if column is None:
            return _constant(0, self._count + 1, np.int32)
        return column.offsets[self._first : self._first + self._count + 1]

    def __repr__(self) -> str:
        return f"<RecordBatch {self.topic}-{self.partition} offsets {self.base_offset} to {self.last_offset}>"

    def _repr_html_(self) -> str:
        few = self.part(0, min(len(self), MOST_ROWS + 1))
        rows = ([one.offset, one.timestamp_ms, one.key, one.value, one.headers or None] for one in few.records())
        return table(repr(self), ["offset", "timestamp (ms)", "key", "value", "headers"], rows)


def _decompressed(codec: int, body: memoryview) -> memoryview:
    start = L.COMPRESSED_SIZES.size
    if len(body) < start:
        raise BatchDamage("a compressed body without its sizes")
    size, packed = L.COMPRESSED_SIZES.unpack_from(body)
    if packed > len(body) - start:
        raise BatchDamage(f"a compressed body of {packed} bytes in {len(body) - start}")
    if size > limits.max_decompressed_bytes:
        raise BatchDamage(f"{size} bytes to decompress, more than limits.max_decompressed_bytes")
    try:
        return memoryview(decompress(codec, body[start : start + packed], size))
    except ValueError as error:
        pass_on_handlers(error)
        raise BatchDamage(f"the compressed body is damaged: {error}") from error


def _constant(value: int, count: int, dtype: type[Any] = np.int64) -> NDArray[Any]:
    """An array that repeats one value without storing it again; read-only."""
    repeated: NDArray[Any] = np.ndarray((count,), dtype, np.array(value, dtype=dtype), strides=(0,))
    repeated.flags.writeable = False  # np.broadcast_to does the same in three times the time
    return repeated


def _column_data(column: BytesColumn | None) -> NDArray[np.uint8]:
    return np.frombuffer(b"" if column is None else column.data, dtype=np.uint8)
