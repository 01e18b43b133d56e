"""The snapshot of a partition's producers is believed when it is whole, and not otherwise."""

from __future__ import annotations

import pytest

from eventlog.format.columns import BatchDamage
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.storage.producer_snapshot import LastBatch, parse_snapshot, snapshot_bytes
from eventlog.storage.producer_state import ProducerTable

LAST = LastBatch(checksum=77, base_offset=5)


def a_table() -> ProducerTable:
    table = ProducerTable("t", 0)
    table.add(ProducerStamp(7, 0, 0), 3, 0, 1000)
    table.add(ProducerStamp(9, 2, 5), 4, 3, 1000)
    return table


def test_a_whole_one_tells_what_was_written() -> None:
    """Producers, the offset, and the batch before it are what they were."""
    table, read = a_table(), ProducerTable("t", 0)
    assert parse_snapshot(snapshot_bytes(table, 7, LAST), read) == (7, LAST)
    assert list(read.items()) == list(table.items())


def test_every_damaged_byte_is_noticed() -> None:
    """Whichever byte is another one, and wherever the file ends too early, it is no snapshot."""
    whole = snapshot_bytes(a_table(), 7, LAST)
    damaged = [whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :] for place in range(len(whole))]
    for raw in [*damaged, *(whole[:size] for size in range(len(whole)))]:
        with pytest.raises(BatchDamage):
            parse_snapshot(raw, ProducerTable("t", 0))
