"""The table of a partition's producers against a model that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import eventlog
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.storage.producer_state import ProducerTable

LAST = 2**31 - 1


def stamp(sequence: int, epoch: int = 0, producer_id: int = 7) -> ProducerStamp:
    return ProducerStamp(producer_id, epoch, sequence)


def table_of(*batches: tuple[int, int, int], producer_id: int = 7) -> ProducerTable:
    """A table that has seen these batches: sequence, number of records, offset."""
    table = ProducerTable("t", 0)
    for sequence, count, offset in batches:
        assert table.find(stamp(sequence, producer_id=producer_id), count) is None
        table.add(stamp(sequence, producer_id=producer_id), count, offset, 0)
    return table


def test_the_last_five_batches_are_known_again() -> None:
    """Each of the last five batches, others' between them, is found where it lies; the sixth is out of order."""
    table = table_of(*[(number * 2, 2, number * 10) for number in range(6)])
    for number in range(1, 6):
        assert table.find(stamp(number * 2), 2) == number * 10
    with pytest.raises(eventlog.OutOfOrderSequenceError):
        table.find(stamp(0), 2)


def test_batches_without_others_between_them_are_known_however_many() -> None:
    """A producer that writes alone is known by any of its batches, and by parts and joins of them."""
    table = table_of(*[(number * 3, 3, 100 + number * 3) for number in range(50)])
    assert table.find(stamp(0), 3) == 100
    assert table.find(stamp(75), 30) == 175
    assert table.find(stamp(76), 1) == 176
    assert table.find(stamp(150), 1) is None
    with pytest.raises(eventlog.OutOfOrderSequenceError):
        table.find(stamp(148), 3)  # two of them are there, the third one is not


def test_a_gap_is_out_of_order() -> None:
    """A later sequence than the next, and an earlier one that was never written, are errors with coordinates."""
    table = table_of((10, 2, 0))
    for wrong in (13, 14, 9, 0, LAST):
        with pytest.raises(eventlog.OutOfOrderSequenceError, match="where 12 belongs") as caught:
            table.find(stamp(wrong), 1)
        assert (caught.value.topic, caught.value.partition) == ("t", 0)
    assert table.find(stamp(12), 1) is None


def test_an_unknown_producer_may_begin_anywhere() -> None:
    """KIP-360: whoever is not known, or not any more, is accepted with any sequence."""
    table = table_of((0, 1, 0))
    assert table.find(stamp(77, producer_id=8), 1) is None
    table.forget(7)
    assert table.find(stamp(77), 1) is None


def test_epochs() -> None:
    """An older epoch is fenced; a newer one begins at 0, and from then on the one before is fenced."""
    table = table_of((0, 5, 0))
    with pytest.raises(eventlog.OutOfOrderSequenceError):
        table.find(stamp(5, epoch=1), 1)
    assert table.find(stamp(0, epoch=1), 2) is None
    assert table.find(stamp(5), 1) is None  # nothing of the newer one was written yet
    table.add(stamp(0, epoch=1), 2, 5, 0)
    assert table.find(stamp(0, epoch=1), 2) == 5
    with pytest.raises(eventlog.ProducerFencedError, match="current one is 1"):
        table.find(stamp(5), 1)


def test_the_wrap() -> None:
    """Behind sequence 2**31 - 1 comes 0, within a batch and between two, and a repeated one is known across it."""
    table = table_of((LAST - 4, 4, 0), (LAST, 3, 10), (2, 1, 20))
    assert table.find(stamp(LAST - 4), 4) == 0
    assert table.find(stamp(LAST), 3) == 10
    assert table.find(stamp(1), 1) == 12
    assert table.find(stamp(3), 1) is None
    with pytest.raises(eventlog.OutOfOrderSequenceError):
        table.find(stamp(4), 1)


def test_a_run_never_holds_one_sequence_twice() -> None:
    """Who writes alone for more than 2**31 records is told a repeated batch's own offset, not that of one long ago."""
    table = ProducerTable("t", 0)
    count, offset, sequence = 2**26, 0, 0
    for _ in range(40):
        table.add(stamp(sequence), count, offset, 0)
        offset, sequence = offset + count, (sequence + count) & LAST
        table.check()
    assert table.find(stamp((sequence - count) & LAST), count) == offset - count
    assert table.find(stamp(sequence), count) is None


def test_noting_twice_is_noting_once() -> None:
    """A note that was repeated after an interrupt changes nothing."""
    table = table_of((0, 2, 0), (2, 2, 5))
    before = list(table.items())
    table.add(stamp(2), 2, 5, 0)
    table.add(stamp(0), 2, 0, 0)
    assert list(table.items()) == before


def test_producers_that_were_not_heard_of_are_forgotten() -> None:
    """Who was last heard of before the given time is forgotten; who has just appended is of the present time."""
    table = ProducerTable("t", 0)
    for producer_id in range(10):
        table.add(stamp(0, producer_id=producer_id), 1, producer_id, used_ms=producer_id)
    table.add(stamp(1, producer_id=3), 1, 10)
    table.forget_unused(since_ms=6, now_ms=20)
    assert sorted(dict(table.items())) == [3, 6, 7, 8, 9]
    table.forget_unused(since_ms=20, now_ms=30)
    assert sorted(dict(table.items())) == [3]
    table.forget_unused(since_ms=21, now_ms=30)
    assert not table.states


class TableMachine(RuleBasedStateMachine):
    """Two producers write, repeat, skip, wrap and begin new epochs; the model is a plain list of all records."""

    def __init__(self) -> None:
        super().__init__()
        self.table = ProducerTable("t", 0)
        self.records: list[tuple[int, int, int]] = []  # producer, epoch, sequence of each offset
        self.epochs = {1: 0, 2: 0}
        self.next = {1: LAST - 5, 2: 0}
        self.batches: dict[int, list[tuple[int, int]]] = {1: [], 2: []}  # of the epoch: offset, number of records

    def write(self, producer: int, count: int) -> None:
        one = stamp(self.next[producer], self.epochs[producer], producer)
        assert self.table.find(one, count) is None
        offset = len(self.records)
        self.table.add(one, count, offset, 0)
        self.records += [(producer, one.epoch, (one.sequence + place) & LAST) for place in range(count)]
        self.next[producer] = (one.sequence + count) & LAST
        self.batches[producer].append((offset, count))

    @rule(producer=st.sampled_from([1, 2]), count=st.integers(1, 4))
    def writes(self, producer: int, count: int) -> None:
        """What follows the last record is new."""
        self.write(producer, count)

    @rule(producer=st.sampled_from([1, 2]), back=st.integers(1, 5))
    def repeats(self, producer: int, back: int) -> None:
        """One of the last five batches is found at its own offset."""
        if len(self.batches[producer]) >= back:
            offset, count = self.batches[producer][-back]
            assert self.table.find(stamp(self.records[offset][2], self.epochs[producer], producer), count) == offset

    @rule(producer=st.sampled_from([1, 2]), sequence=st.integers(-12, 12), count=st.integers(1, 4))
    def tries(self, producer: int, sequence: int, count: int) -> None:
        """Anything else is an error, or the very records that were asked about: never an offset of other ones."""
        if not self.batches[producer]:
            return
        one = stamp((self.next[producer] + sequence) & LAST, self.epochs[producer], producer)
        try:
            found = self.table.find(one, count)
        except eventlog.OutOfOrderSequenceError:
            assert sequence != 0
            return
        if sequence == 0:
            assert found is None
            return
        assert found is not None
        expected = [(producer, one.epoch, (one.sequence + place) & LAST) for place in range(count)]
        assert self.records[found : found + count] == expected

    @rule(producer=st.sampled_from([1, 2]))
    def begins_an_epoch(self, producer: int) -> None:
        """A newer epoch begins at 0, and fences the one before."""
        self.epochs[producer] += 1
        self.next[producer] = 0
        self.batches[producer] = []
        self.write(producer, 1)
        with pytest.raises(eventlog.ProducerFencedError):
            self.table.find(stamp(0, self.epochs[producer] - 1, producer), 1)

    @invariant()
    def is_whole(self) -> None:
        self.table.check()


TestTableMachine = TableMachine.TestCase
