"""Damage elsewhere keeps no transaction from being committed, and damage in the journal is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventlog
from tests.transactions.helpers import create_topics, everything, transact, values


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    with open(path, "r+b") as file:
        file.seek(position)
        file.write(data[position : position + 1])


def test_damage_in_a_partition_harms_no_other(tmp_path: Path) -> None:
    """With older records of one partition damaged, transactions over it and others are committed, whole and readable;
    a reader who meets the damage is told which records are lost, and goes on behind it.
    """
    with eventlog.open(tmp_path) as log:
        create_topics(log)
        for number in range(3):
            transact(log.producer(transactional_id="t"), b"%d" % number * 50)
        partition = log.topic("b").partitions[0]
        flip(tmp_path / "topics" / "b" / "0" / "00000000000000000000.log", partition.read(0)[0].size + 100)
        transact(log.producer(transactional_id="t"), b"3")
        with pytest.raises(eventlog.CorruptSegmentError) as raised:
            partition.read(1)
        assert raised.value.next_offset == 2
        assert partition.read(3)[0].values() == [b"3"]
        assert [len(values(log, "a", number)) for number in range(2)] == [4, 4]


@pytest.mark.parametrize("outcome", [0, 1])
def test_a_damaged_journal_loses_nothing(tmp_path: Path, outcome: int) -> None:
    """With an outcome in the journal damaged, all that was committed is there, now and after a reopening, and
    transactions go on.
    """
    with eventlog.open(tmp_path) as log:
        create_topics(log)
        for number in range(3):
            transact(log.producer(transactional_id="t"), b"%d" % number)
        size = log.topic("__transaction_state").partitions[0].read(0)[0].size
        flip(tmp_path / "topics" / "__transaction_state" / "0" / "00000000000000000000.log", size * outcome + 100)
        transact(log.producer(transactional_id="t"), b"3")
    for number in range(4, 6):
        with eventlog.open(tmp_path) as log:
            transact(log.producer(transactional_id="t"), b"%d" % number)
            expected = [b"%d" % place for place in range(number + 1)]
            assert all(found == expected for found in everything(log).values())
