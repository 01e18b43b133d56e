"""A list that is split over partitions is encoded as each part of it would be alone, byte for byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.format.batch_encoder import EncodedBatch
from eventlog.format.batch_splitter import encode_batches
from eventlog.format.packed_column import EvenColumn, JoinedColumn
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.format.record_input import checked_times
from eventlog.partitioners import FEW_KEYS, partition_for_key, partitions_for_joined
from eventlog.producer.list_columns import ListColumns
from eventlog.producer.placement import split_by_number

STAMP = ProducerStamp(7, 0, 2**31 - 3)

some_bytes = st.one_of(st.none(), st.binary(max_size=400))
one_size = st.integers(0, 5).flatmap(lambda size: st.binary(min_size=size, max_size=size))
headers = st.one_of(st.none(), st.lists(st.tuples(st.text(max_size=3), st.one_of(st.none(), st.binary(max_size=3)))))


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[int], list[Any], list[Any] | None, Any, list[Any] | None]:
    """The partition of each record, its value, key, timestamp and headers; of every kind, and of one size."""
    numbers = draw(st.lists(st.integers(0, draw(st.integers(0, 4))), min_size=1, max_size=3 * FEW_KEYS))

    def column(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
        return st.lists(kind, min_size=len(numbers), max_size=len(numbers))

    size = draw(st.integers(0, 5))
    items = st.one_of(
        column(some_bytes), column(st.binary(max_size=40)), column(st.binary(min_size=size, max_size=size))
    )
    stamps = draw(st.one_of(st.integers(0, 2**62), column(st.integers(0, 2**62))))
    return (
        numbers, draw(items), draw(st.one_of(st.none(), items)), checked_times(stamps, len(numbers)),
        draw(st.one_of(st.none(), column(headers))),
    )  # fmt: skip


@given(rows=rows(), codec=st.sampled_from([0, 1]), limit=st.sampled_from([600, 1 << 20]))
def test_each_part_is_encoded_as_if_it_were_alone(rows: Any, codec: int, limit: int) -> None:
    """Whatever the columns hold, and however small a batch has to be, each partition gets the same bytes."""
    numbers, *columns = rows
    split = split_by_number(np.array(numbers, np.int32))
    given_columns = ListColumns(*columns)
    given_columns.joined_keys()
    ordered = given_columns.in_order(split)
    assert sorted(number for number, _, _ in split.parts) == sorted(set(numbers))
    for number, low, high in split.parts:
        places = [place for place, other in enumerate(numbers) if other == number]
        assert list(split.places(low, high)) == places
        part = ordered.part(low, high)
        alone = [
            column if column is None or isinstance(column, int) else [column[place] for place in places]
            for column in columns
        ]
        assert encoded(part.values, part.keys, part.timestamps_ms, part.headers, codec, limit) == encoded(
            *alone, codec, limit
        )


def encoded(values: Any, keys: Any, stamps: Any, heads: Any, codec: int, limit: int) -> list[tuple[Any, ...]] | str:
    """The batches, or that one record is too large."""
    try:
        batches = encode_batches(values, stamps, keys, heads, codec=codec, max_bytes=limit, stamp=STAMP)
    except Exception as error:
        return f"{type(error)}: {error}"
    return [(raw(batch), *batch[1:]) for batch in batches]


def raw(batch: EncodedBatch) -> bytes:
    return batch.parts if isinstance(batch.parts, bytes) else b"".join(batch.parts)


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_a_column_of_one_size_is_cut_right_however_large_it_is(size: int) -> None:
    """Below and above what is copied twice, the items in order are the items."""
    items = [bytes([number]) * size for number in range(100)]
    order = np.random.default_rng(size).permutation(100)
    column = JoinedColumn(items).in_order(order)
    assert isinstance(column, EvenColumn) == (size < 5000)
    for low, high in [(0, 100), (0, 1), (30, 70), (99, 100)]:
        part = column[low:high]
        assert (len(part), part.nbytes) == (high - low, (high - low) * size)
        assert part.data == b"".join(items[place] for place in order[low:high])
        assert part.offsets().tolist() == [size * number for number in range(high - low + 1)]


@given(st.lists(st.one_of(one_size, st.binary(max_size=90)), max_size=60), st.integers(1, 2**31 - 1))
def test_joined_keys_go_where_each_key_alone_goes(keys: list[bytes], partitions: int) -> None:
    """Keys in one piece have the partitions that each of them has."""
    found = partitions_for_joined(b"".join(keys), list(map(len, keys)), partitions)
    assert found.tolist() == [partition_for_key(key, partitions) for key in keys]
