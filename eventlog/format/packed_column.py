"""Columns of bytes that are put in order and cut without a look at each item again.

`JoinedColumn` is what a caller gave, measured and joined once. A list whose records go to several partitions is put in
their order, and every batch takes its slice of that: of the data, where all items have one size, or else of the items.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from eventlog.format import layouts as L

_CACHED = 1 << 18  # bytes: more is not copied twice, since its second copy would find the memory cold


class EvenColumn:
    """n items of one size, one after the other."""

    __slots__ = ("_size", "data")

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self._size = size

    def __len__(self) -> int:
        return len(self.data) // self._size

    def __getitem__(self, part: slice) -> EvenColumn:
        """Return the items from ``part.start`` up to ``part.stop``."""
        size = self._size
        return EvenColumn(self.data[part.start * size : part.stop * size], size)

    @property
    def nbytes(self) -> int:
        """The size of all items."""
        return len(self.data)

    def offsets(self) -> NDArray[np.int32]:
        """Return where each item begins, and where the last one ends."""
        return np.arange(0, len(self.data) + 1, self._size, dtype=L.OFFSETS)


class UnevenColumn:
    """n items of any size; in all of the data before this was cut, item i has the bytes between two offsets."""

    __slots__ = ("_items", "_offsets", "nbytes")

    def __init__(self, items: Sequence[bytes], offsets: NDArray[np.int64]) -> None:
        self._items = items
        self._offsets = offsets  # n + 1
        self.nbytes: int = offsets.item(-1) - offsets.item(0)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, part: slice) -> UnevenColumn:
        """Return the items from ``part.start`` up to ``part.stop``."""
        return UnevenColumn(self._items[part], self._offsets[part.start : part.stop + 1])

    @property
    def data(self) -> bytes:
        """The items one after the other."""
        return b"".join(self._items)

    def offsets(self) -> NDArray[np.int32]:
        """Return where each item begins, and where the last one ends; they have less than 2 GiB."""
        offsets: NDArray[np.int32] = (self._offsets - self._offsets[0]).astype(L.OFFSETS)
        return offsets


PackedColumn = EvenColumn | UnevenColumn


class JoinedColumn:
    """The items of a list, their sizes in bytes, and all of them joined. Raises TypeError for one that is None."""

    __slots__ = ("_data", "_items", "sizes")

    def __init__(self, items: Sequence[bytes | None]) -> None:
        self.sizes: list[int] = list(map(len, items))  # type: ignore[arg-type]  # see Raises
        self._items: Sequence[bytes] = items  # type: ignore[assignment]
        self._data: bytes | None = None

    @property
    def data(self) -> bytes:
        """The items one after the other."""
        data = self._data
        if data is None:
            data = self._data = b"".join(self._items)
        return data

    def in_order(self, places: NDArray[np.intp]) -> PackedColumn:
        """Return the items in another order; ``places`` has the place of each."""
        sizes, size, count = self.sizes, self.sizes[0], len(self.sizes)
        if 0 < size * count <= _CACHED and sizes.count(size) == count:
            return EvenColumn(np.frombuffer(self.data, np.dtype((np.void, size))).take(places).tobytes(), size)
        offsets = np.zeros(count + 1, np.int64)
        np.cumsum(np.array(sizes, np.int64).take(places), out=offsets[1:])
        return UnevenColumn(itemgetter(*places.tolist())(self._items), offsets)
