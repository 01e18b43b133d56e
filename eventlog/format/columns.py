"""The columns of a batch's body, found where they lie. Nothing here copies until a list is asked for.

What the body claims is checked when it is found, once for each batch: every count, offset and name, so that whatever is
asked for later lies within the body.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventlog.format import layouts as L
from eventlog.model import Headers
from eventlog.read_limits import limits


class BatchDamage(Exception):  # noqa: N818  # a finding, caught within the package; errors are made from it
    """Why some bytes are not the batch that belongs there. Internal: callers add the coordinates."""

    def __init__(self, reason: str, position: int | None = None, base_offset: int | None = None) -> None:
        """``position`` is where, and ``base_offset`` the offset that belongs there, if whoever finds it knows."""
        super().__init__(reason)
        self.reason = reason
        self.position = position
        self.base_offset = base_offset


_FEW = 8  # items, up to which slicing them one by one is faster than looking whether they are equally wide


class BytesColumn(NamedTuple):
    """n byte strings: ``offsets`` is i32[n+1] into ``data``; ``validity`` a bitmap, or None when none is null."""

    offsets: NDArray[np.int32]
    data: memoryview
    validity: memoryview | None

    def to_list(self, first: int, count: int) -> list[bytes | None]:
        """Return items ``first`` to ``first + count`` as bytes objects and None."""
        offsets = self.offsets[first : first + count + 1]
        start, stop = offsets.item(0), offsets.item(count)
        data = bytes(self.data[start:stop])
        width = offsets.item(1) - start
        if count > _FEW and width * count == stop - start > 0 and (offsets[1:] - offsets[:-1] == width).all():
            items: list[bytes | None] = np.frombuffer(data, dtype=f"V{width}").tolist()  # equal widths: one pass in C
        else:
            items = [data[a:b] for a, b in pairwise((offsets - start).tolist())]
        if self.validity is None:
            return items
        return [item if present else None for item, present in zip(items, self.present(first, count), strict=True)]

    def present(self, first: int, count: int) -> list[bool]:
        """Tell for each item whether it is there (True) or null (False)."""
        if self.validity is None:
            return [True] * count
        bits = np.unpackbits(np.frombuffer(self.validity, np.uint8), bitorder="little")
        present: list[bool] = bits[first : first + count].astype(np.bool_).tolist()
        return present


class HeaderColumn(NamedTuple):
    """Record headers: ``offsets`` is i32[n+1] into the m pairs."""

    offsets: NDArray[np.int32]
    names: BytesColumn
    values: BytesColumn

    def to_list(self, first: int, count: int) -> list[Headers]:
        """Return the headers of records ``first`` to ``first + count``."""
        bounds = self.offsets[first : first + count + 1].tolist()
        start, pairs = bounds[0], bounds[-1] - bounds[0]
        if not pairs:
            return [()] * count
        names = [name.decode() for name in self.names.to_list(start, pairs) if name is not None]
        entries = tuple(zip(names, self.values.to_list(start, pairs), strict=True))
        return [entries[a - start : b - start] for a, b in pairwise(bounds)]


class Columns(NamedTuple):
    """What a body holds; None for a column that says nothing."""

    timestamps: NDArray[np.int64] | None
    offset_deltas: NDArray[np.int32] | None
    keys: BytesColumn | None
    values: BytesColumn | None
    headers: HeaderColumn | None


class _Reader:
    """Walks over a body, column by column."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    def take(self, size: int) -> memoryview:
        """Return the next ``size`` bytes and step over them and their padding."""
        start, self._at = self._at, self._at + size + (-size % L.ALIGNMENT)
        if size < 0 or self._at > len(self._body):
            raise BatchDamage("a column runs out of the batch")
        return self._body[start : start + size]

    def integers(self, dtype: np.dtype[np.signedinteger], count: int) -> NDArray[np.signedinteger]:
        return np.frombuffer(self.take(count * dtype.itemsize), dtype=dtype)

    def offsets(self, count: int) -> NDArray[np.int32]:
        """Return count + 1 offsets, which run from 0 upwards."""
        offsets = self.integers(L.OFFSETS, count + 1)
        if count <= _FEW:
            rising = offsets.tolist()
            is_sound = rising[0] == 0 and (count == 1 or rising == sorted(rising))
        else:
            is_sound = offsets.item(0) == 0 and bool((offsets[1:] >= offsets[:-1]).all())
        if not is_sound:
            raise BatchDamage("column offsets do not run upwards from 0")
        return offsets

    def deltas(self, count: int, last: int) -> NDArray[np.int32]:
        """Return the offset deltas, which run upwards and end at ``last`` or before."""
        deltas = self.integers(L.OFFSETS, count)
        if deltas.item(0) < 0 or deltas.item(-1) > last or not (deltas[1:] > deltas[:-1]).all():
            raise BatchDamage("offset deltas do not run upwards within the batch")
        return deltas

    def strings(self, count: int, *, nullable: bool) -> BytesColumn:
        validity = self.take((count + 7) // 8) if nullable else None
        offsets = self.offsets(count)
        return BytesColumn(offsets, self.take(offsets.item(count)), validity)

    def headers(self, count: int) -> HeaderColumn:
        offsets = self.offsets(count)
        pairs = offsets.item(count)
        if pairs < 0:
            raise BatchDamage(f"{pairs} headers are not possible")
        names = self.strings(pairs, nullable=False)
        _check_utf8(names)
        return HeaderColumn(offsets, names, self.strings(pairs, nullable=True))


def _check_utf8(names: BytesColumn) -> None:
    """Raise BatchDamage unless each name is UTF-8: all of them together are, and none begins within a letter."""
    try:
        str(names.data, "utf-8")
    except UnicodeDecodeError as error:
        raise BatchDamage("a header's name is not UTF-8") from error
    starts = names.offsets[names.offsets < len(names.data)]
    if (np.frombuffer(names.data, np.uint8)[starts] & 0xC0 == 0x80).any():
        raise BatchDamage("a header's name is not UTF-8")


def find_columns(body: memoryview, present: int, count: int, last_delta: int) -> Columns:
    """Find the columns of ``count`` records in an uncompressed body; ``present`` is the header's columns byte.

    Raises BatchDamage when they do not fit into it, or claim what cannot be.
    """
    if present & ~L.KNOWN_COLUMNS:
        raise BatchDamage(f"unknown columns {present:#x}")
    if not present & L.COUNTED_COLUMNS and count > limits.max_empty_records:
        raise BatchDamage(f"{count} records without any bytes, more than limits.max_empty_records")
    reader = _Reader(body)
    return Columns(
        reader.integers(L.TIMESTAMPS, count) if present & L.COLUMN_TIMESTAMPS else None,
        reader.deltas(count, last_delta) if present & L.COLUMN_OFFSET_DELTAS else None,
        reader.strings(count, nullable=bool(present & L.COLUMN_KEY_VALIDITY)) if present & L.COLUMN_KEYS else None,
        reader.strings(count, nullable=bool(present & L.COLUMN_VALUE_VALIDITY)) if present & L.COLUMN_VALUES else None,
        reader.headers(count) if present & L.COLUMN_HEADERS else None,
    )
