"""The records of one `send_many`: columns that are put in the order of their partitions at once, and then cut."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventlog.format.batch_encoder import EncodedBatch
from eventlog.format.packed_column import JoinedColumn
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.partitioners import FEW_KEYS
from eventlog.producer.delivery import Places
from eventlog.topics.partition import Partition


class Split(NamedTuple):
    """Which records go where.

    ``order`` has the places of the records in the list, partition by partition; None for as they are. ``parts`` has the
    number of each partition, and its part of the order: from where, and up to where.
    """

    order: NDArray[np.intp] | None
    parts: list[tuple[int, int, int]]

    def places(self, low: int, high: int) -> Places:
        """Return where the records of a part stand in the list."""
        return range(low, high) if self.order is None else self.order[low:high]


class ListColumns:
    """The columns, checked and serialized: n of each, None for none; the timestamps may be one for all."""

    __slots__ = ("_joined_keys", "headers", "keys", "timestamps_ms", "values")

    def __init__(self, values: Any, keys: Any, timestamps_ms: Any, headers: Any) -> None:
        self.values = values
        self.keys = keys
        self.timestamps_ms = timestamps_ms
        self.headers = headers
        self._joined_keys: JoinedColumn | None = None

    def __len__(self) -> int:
        return len(self.values)

    def joined_keys(self) -> JoinedColumn | None:
        """Return the keys in one piece, and keep that; None where a record has none, or where they are few."""
        self._joined_keys = _joined(self.keys)
        return self._joined_keys

    def at(self, places: NDArray[np.intp]) -> ListColumns:
        """Return some of the records."""
        columns = self.values, self.keys, self.timestamps_ms, self.headers
        return ListColumns(*(_at(column, places) for column in columns))

    def in_order(self, split: Split) -> ListColumns:
        """Return the records in the order of their partitions."""
        if split.order is None:
            return self
        columns = _joined(self.values) or self.values, self._joined_keys or self.keys, self.timestamps_ms, self.headers
        return ListColumns(*(_at(column, split.order) for column in columns))

    def part(self, low: int, high: int) -> ListColumns:
        """Return the records from ``low`` up to ``high``."""
        if high - low == len(self.values):
            return self
        keys, stamps, headers = self.keys, self.timestamps_ms, self.headers
        return ListColumns(
            self.values[low:high],
            None if keys is None else keys[low:high],
            stamps if isinstance(stamps, int) else stamps[low:high],
            None if headers is None else headers[low:high],
        )

    def encode(self, partition: Partition, codec: int, stamp: ProducerStamp) -> list[EncodedBatch]:
        """Return all records as batches for the partition, the first of which has the stamp."""
        return partition.encode(self.values, self.keys, self.timestamps_ms, self.headers, codec, stamp)


def _joined(column: Any) -> JoinedColumn | None:
    """Return the column in one piece; None where an item is None, and for few, which are faster one by one."""
    if column is None or len(column) < FEW_KEYS:
        return None
    try:
        return JoinedColumn(column)
    except TypeError:  # one is None
        return None


def _at(column: Any, places: NDArray[np.intp]) -> Any:
    if column is None or isinstance(column, int):  # none, or one for all
        return column
    if isinstance(column, JoinedColumn):
        return column.in_order(places)
    if isinstance(column, np.ndarray):
        return column.take(places)
    where = places.tolist()
    return list(itemgetter(*where)(column)) if len(where) > 1 else [column[where[0]]]
