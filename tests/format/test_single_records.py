"""One record alone is encoded in a shorter way, into the same bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventlog.format.batch_encoder import EncodedBatch, encode, encode_one, encode_one_keyed
from eventlog.format.producer_stamp import NO_STAMP, ProducerStamp

data = st.binary(max_size=50)
times = st.integers(0, 2**63 - 1)
stamps = st.one_of(
    st.just(NO_STAMP),
    st.builds(
        ProducerStamp, st.integers(0, 2**63 - 1), st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1), st.booleans()
    ),
)


def stored(batch: EncodedBatch) -> bytes:
    return b"".join(batch.stamp(2**40 + 5))


@given(data, times, stamps)
def test_a_value_alone_has_the_bytes_of_a_batch_of_one(value: bytes, time_ms: int, stamp: ProducerStamp) -> None:
    """`encode_one` makes what `encode` makes, whoever sends it."""
    one = EncodedBatch(*encode_one(value, time_ms, stamp))
    assert stored(one) == stored(encode([value], time_ms, stamp=stamp))
    assert one[2:] == encode([value], time_ms, stamp=stamp)[2:]


@given(data, data, times, stamps)
def test_a_key_and_a_value_have_the_bytes_of_a_batch_of_one(
    key: bytes, value: bytes, time_ms: int, stamp: ProducerStamp
) -> None:
    """`encode_one_keyed` makes what `encode` makes, whoever sends it."""
    one = EncodedBatch(*encode_one_keyed(key, value, time_ms, stamp))
    assert stored(one) == stored(encode([value], time_ms, [key], stamp=stamp))
    assert one[2:] == encode([value], time_ms, [key], stamp=stamp)[2:]
