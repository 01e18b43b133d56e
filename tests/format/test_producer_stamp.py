"""Producer id, epoch and sequence in a batch's header: Kafka's fields, and one CRC over them."""

from __future__ import annotations

import struct

import pytest

from eventlog.format import layouts as L
from eventlog.format.batch_encoder import EncodedBatch, encode, encode_one
from eventlog.format.batch_splitter import encode_batches
from eventlog.format.producer_stamp import NO_STAMP, ProducerStamp, records_between, sequence_after
from eventlog.format.record_batch import RecordBatch

STAMP = ProducerStamp(2**62 + 5, 3, 2**31 - 2)


def decoded(batch: EncodedBatch, base_offset: int = 0) -> RecordBatch:
    """Read the batch back, its CRC checked."""
    data = memoryview(b"".join(batch.stamp(base_offset)))
    return RecordBatch(data, 0, len(data), "t", 0)


def fields(batch: RecordBatch) -> tuple[int, int, int, bool]:
    return batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.is_transactional


def test_a_stamp_comes_back() -> None:
    """Producer id, epoch, sequence and the transactional bit are read as they were written, with any codec."""
    for codec in (0, 1):
        for transactional in (False, True):
            stamp = STAMP._replace(is_transactional=transactional)
            batch = decoded(encode([b"a", b"b"], 1, codec=codec, stamp=stamp))
            assert fields(batch) == (2**62 + 5, 3, 2**31 - 2, transactional)
            assert batch.values() == [b"a", b"b"]


def test_the_fields_lie_where_kafka_has_them() -> None:
    """Producer id at byte 43, epoch at 51, base sequence at 53, big-endian, and attribute bit 4 for a transaction."""
    raw = b"".join(encode([b"a"], 1, stamp=ProducerStamp(7, 2, 9, True)).stamp(0))
    assert struct.unpack_from(">qhi", raw, 43) == (7, 2, 9)
    assert struct.unpack_from(">h", raw, 21) == (0x10,)


@pytest.mark.parametrize("batch", [encode([b"a"], 1), EncodedBatch(*encode_one(b"a", 1))], ids=["encode", "encode_one"])
def test_without_a_producer(batch: EncodedBatch) -> None:
    """A batch that no idempotent producer wrote says so: -1 everywhere, as in Kafka."""
    assert fields(decoded(batch)) == (-1, -1, -1, False)


@pytest.mark.parametrize("timestamps", [5, [5, 6, 7]])
def test_stamping_later_is_the_same_as_at_once(timestamps: int | list[int]) -> None:
    """A batch that gets its stamp later is byte for byte the one that got it when it was encoded."""
    values = [b"one", None, b"three" * 100]
    at_once = encode(values, timestamps, stamp=STAMP)
    later = encode(values, timestamps).stamped(STAMP)
    assert b"".join(later.stamp(4)) == b"".join(at_once.stamp(4))
    assert at_once.stamped(STAMP) is at_once
    assert b"".join(at_once.stamped(NO_STAMP).stamp(4)) == b"".join(encode(values, timestamps).stamp(4))


def test_log_append_time_keeps_the_stamp() -> None:
    """A batch that the log stamps with its own time is its producer's still."""
    batch = decoded(encode([b"a", b"b"], [1, 2], stamp=STAMP).with_append_time(99))
    assert fields(batch) == (2**62 + 5, 3, 2**31 - 2, False)
    assert batch.timestamps_ms.tolist() == [99, 99]


def test_each_batch_of_a_list_goes_on_where_the_one_before_ends() -> None:
    """Records that are split into several batches have one sequence, also across the wrap at 2**31."""
    batches = encode_batches([b"x" * 300] * 40, 1, max_bytes=2000, stamp=STAMP)
    assert len(batches) > 5
    expected = STAMP.sequence
    for batch in map(decoded, batches):
        assert batch.base_sequence == expected
        expected = (expected + len(batch)) % 2**31
    assert expected == 38


def test_a_part_of_a_batch_has_its_own_sequence() -> None:
    """The part that begins at a later record begins at that record's sequence number."""
    batch = decoded(encode([b"a", b"b", b"c"], 1, stamp=STAMP), base_offset=10)
    assert [batch.from_offset(offset).base_sequence for offset in (10, 11, 12)] == [2**31 - 2, 2**31 - 1, 0]
    assert decoded(encode([b"a", b"b"], 1)).from_offset(1).base_sequence == L.NO_SEQUENCE


def test_sequences_wrap() -> None:
    """Behind 2**31 - 1 comes 0; the distance is counted around."""
    assert sequence_after(2**31 - 1, 1) == 0
    assert records_between(2**31 - 1, 4) == 5
    assert STAMP.after(2).sequence == 0
