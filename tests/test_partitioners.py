"""Keys go where Kafka's Java client sends them; those without a key are spread as in KIP-480 and KIP-794."""

from __future__ import annotations

import random
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.errors import InvalidPartitionsError
from eventlog.partitioners import (
    FEW_KEYS,
    RoundRobinPartitioner,
    StickyPartitioner,
    murmur2,
    partition_for_key,
    partitions_for_keys,
)

# From the tests of Kafka's Java client: UtilsTest.testMurmur2.
KAFKA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}

short_keys = st.binary(max_size=80)
long_keys = st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=9), st.integers(1, 300))
repeated_keys = st.lists(st.sampled_from([b"", b"a", b"a\0", b"user-17", b"x" * 200]), max_size=60)


@pytest.mark.parametrize(("key", "hashed"), KAFKA_VECTORS.items())
def test_murmur2_gives_the_hashes_of_kafkas_java_client(key: bytes, hashed: int) -> None:
    """The hash of a key is the signed integer that Kafka's own tests expect."""
    assert murmur2(key) == hashed


@pytest.mark.parametrize(("key", "hashed"), KAFKA_VECTORS.items())
def test_the_partition_is_the_hash_without_its_sign_bit(key: bytes, hashed: int) -> None:
    """A negative hash loses its sign bit (Kafka's toPositive), and is not made positive by negation."""
    assert partition_for_key(key, 1000) == (hashed & 0x7FFFFFFF) % 1000


def test_all_keys_of_a_list_get_the_partitions_of_kafkas_java_client() -> None:
    """Kafka's vectors hold for the arrays too, which take over when keys are many."""
    keys = list(KAFKA_VECTORS) * 3
    assert len(set(keys)) < FEW_KEYS < len(keys)
    expected = [(hashed & 0x7FFFFFFF) % 97 for hashed in KAFKA_VECTORS.values()] * 3
    others = [b"%d" % number for number in range(FEW_KEYS)]
    assert partitions_for_keys(keys, 97).tolist() == expected
    assert partitions_for_keys([*KAFKA_VECTORS, *others], 97).tolist()[: len(KAFKA_VECTORS)] == expected[:6]


@given(st.lists(st.one_of(short_keys, long_keys), max_size=80), st.integers(1, 2**31 - 1))
def test_a_list_of_keys_goes_where_each_key_alone_goes(keys: list[bytes], partitions: int) -> None:
    """The hash of many keys at once is, for keys of any length, the hash of each alone."""
    assert partitions_for_keys(keys, partitions).tolist() == [partition_for_key(k, partitions) for k in keys]


@given(repeated_keys, st.integers(1, 50))
def test_repeated_keys_go_where_each_key_alone_goes(keys: list[bytes], partitions: int) -> None:
    """A key has one partition, however often it comes and wherever it stands."""
    assert partitions_for_keys(keys, partitions).tolist() == [partition_for_key(k, partitions) for k in keys]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 59, 60, 62, 63, 64, 65, 66, 127, 128, 129, 4095, 4096])
def test_keys_at_the_edges_of_words_and_classes_hash_alike(size: int) -> None:
    """Keys of zeros and of ones hash the same alone and together, at every edge of the word table."""
    source = random.Random(size)
    keys = [b"\0" * size, b"\xff" * size, *(source.randbytes(size) for _ in range(2 * FEW_KEYS))]
    assert partitions_for_keys(keys, 10007).tolist() == [partition_for_key(key, 10007) for key in keys]


@pytest.mark.parametrize("seed", range(5))
def test_keys_of_all_short_lengths_hash_alike_together(seed: int) -> None:
    """Keys of 0 to 64 bytes in one list, in any order, hash as each of them alone; so do those of one length."""
    source = random.Random(seed)
    keys = [source.randbytes(size) for size in range(65) for _ in range(FEW_KEYS)]
    for size in range(65):
        same = keys[size * FEW_KEYS : (size + 1) * FEW_KEYS]
        assert partitions_for_keys(same, 2**31 - 1).tolist() == [partition_for_key(key, 2**31 - 1) for key in same]
    source.shuffle(keys)
    assert partitions_for_keys(keys, 2**31 - 1).tolist() == [partition_for_key(key, 2**31 - 1) for key in keys]


def test_a_key_that_is_none_has_no_partition() -> None:
    """None among many keys, or few, is no key."""
    with pytest.raises(TypeError):
        partitions_for_keys([b"k", None] * FEW_KEYS, 3)  # type: ignore[list-item]
    with pytest.raises(TypeError):
        partitions_for_keys([b"k", None], 3)  # type: ignore[list-item]


def test_trailing_zeros_are_part_of_a_key() -> None:
    """Keys that differ in trailing zero bytes only are different keys."""
    keys = [b"k" + b"\0" * zeros for zeros in range(2 * FEW_KEYS)]
    assert partitions_for_keys(keys, 2**31 - 1).tolist() == [partition_for_key(k, 2**31 - 1) for k in keys]
    assert len({murmur2(key) for key in keys}) == len(keys)


def test_one_huge_key_among_small_ones_is_not_paid_for_by_all() -> None:
    """A list of many short keys and a long one hashes right (one table for all would take gigabytes)."""
    keys = [b"%d" % number for number in range(5000)] + [bytes(range(256)) * 4096]
    partitions = partitions_for_keys(keys, 12)
    assert partitions[-1] == partition_for_key(keys[-1], 12)
    assert partitions[:100].tolist() == [partition_for_key(key, 12) for key in keys[:100]]


@pytest.mark.parametrize("count", [0, 1, FEW_KEYS, 100])
def test_partitions_come_as_int32(count: int) -> None:
    """The partitions of n keys are an int32 array of length n, also for none."""
    partitions = partitions_for_keys([b"%d" % number for number in range(count)], 12)
    assert partitions.dtype == np.int32
    assert partitions.shape == (count,)


@pytest.mark.parametrize("partitions", [0, -1])
def test_no_partition_can_be_chosen_out_of_none(partitions: int) -> None:
    """Fewer than one partition is an error that names the number, for every way to choose."""
    choices = (
        lambda: partition_for_key(b"k", partitions),
        lambda: partitions_for_keys([b"k"], partitions),
        lambda: StickyPartitioner(100).partition(partitions),
        lambda: RoundRobinPartitioner().partition(partitions),
    )
    for choose in choices:
        with pytest.raises(InvalidPartitionsError, match=f"partitions={partitions} is not possible"):
            choose()


def test_sticky_stays_until_the_batch_is_full() -> None:
    """The partition changes when batch_size bytes have been sent to it, and not before."""
    sticky = StickyPartitioner(100, random.Random(1))
    first = sticky.partition(10)
    for _ in range(9):
        sticky.sent(11)
        assert sticky.partition(10) == first
    sticky.sent(1)
    second = sticky.partition(10)
    assert second != first
    sticky.sent(99)
    assert sticky.partition(10) == second


@given(st.integers(2, 20), st.integers(0, 2**32))
def test_sticky_never_takes_the_same_partition_twice_in_a_row(partitions: int, seed: int) -> None:
    """With more than one partition, a full batch always moves the next one to another, existing partition."""
    sticky = StickyPartitioner(1, random.Random(seed))
    previous = None
    for _ in range(50):
        chosen = sticky.partition(partitions)
        assert chosen != previous
        assert 0 <= chosen < partitions
        previous = chosen
        sticky.sent(1)


def test_sticky_moves_uniformly() -> None:
    """From any partition, each of the others comes next equally often."""
    sticky, moves, current = StickyPartitioner(1, random.Random(7)), Counter(), 0
    for _ in range(12_000):
        following = sticky.partition(4)
        moves[current, following] += 1
        current = following
        sticky.sent(1)
    usual = [count for (before, after), count in moves.items() if before != after]
    assert len(usual) == 12
    assert all(850 < count < 1150 for count in usual)


def test_sticky_repeats_itself_with_the_same_source() -> None:
    """The injected source of randomness alone decides: two partitioners with equal sources agree."""

    def walk(seed: int) -> list[int]:
        sticky = StickyPartitioner(10, random.Random(seed))
        chosen = []
        for _ in range(30):
            chosen.append(sticky.partition(100))
            sticky.sent(10)
        return chosen

    assert walk(3) == walk(3)
    assert walk(3) != walk(4)


def test_sticky_with_one_partition_stays_on_it() -> None:
    """A topic of one partition has only partition 0 to move to."""
    sticky = StickyPartitioner(1)
    for _ in range(3):
        assert sticky.partition(1) == 0
        sticky.sent(5)


def test_sticky_without_batches_moves_after_every_send() -> None:
    """batch_size=0 turns batching off: a send moves on, and asking alone does not."""
    sticky = StickyPartitioner(0, random.Random(2))
    first = sticky.partition(5)
    assert sticky.partition(5) == first
    sticky.sent(1)
    assert sticky.partition(5) != first


def test_sticky_reaches_added_partitions_and_leaves_missing_ones() -> None:
    """Added partitions take part from the next move on; one that no longer exists is left at once."""
    sticky = StickyPartitioner(1, random.Random(5))
    seen = set()
    for _ in range(200):
        seen.add(sticky.partition(2))
        sticky.sent(1)
    assert seen == {0, 1}
    for _ in range(200):
        seen.add(sticky.partition(4))
        sticky.sent(1)
    assert seen == {0, 1, 2, 3}
    while sticky.partition(4) < 2:
        sticky.sent(1)
    assert sticky.partition(2) < 2


def test_round_robin_takes_the_partitions_in_turn_from_zero() -> None:
    """The partitions come in order, beginning with 0, and again from the start after the last."""
    robin = RoundRobinPartitioner()
    assert [robin.partition(3) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_round_robin_gives_each_turn_once_between_threads() -> None:
    """Threads that share a partitioner use each partition equally often: no turn is lost or doubled."""
    robin, chosen = RoundRobinPartitioner(), Counter()
    lock, start = threading.Lock(), threading.Barrier(4)

    def take() -> None:
        start.wait()
        mine = Counter(robin.partition(8) for _ in range(2000))
        with lock:
            chosen.update(mine)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert chosen == dict.fromkeys(range(8), 1000)
