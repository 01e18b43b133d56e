"""Which partition a record goes to: by the hash of its key as in Kafka, else sticky or in turn.

A record with a key goes to ``toPositive(murmur2(key)) % partitions``, bit for bit as in Kafka's Java client
(``Utils.murmur2``, ``BuiltInPartitioner.partitionForKey``): a program that moves to a Kafka cluster finds its
keys in the partitions where they were. These values decide where stored records lie. Never change them.

A record without a key may go anywhere: `StickyPartitioner` (Kafka's default) fills a batch before it moves
on, `RoundRobinPartitioner` takes the partitions in turn. A record of ``key=None`` never comes to the hash
functions.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from eventlog.errors import InvalidPartitionsError

UInt32s: TypeAlias = NDArray[np.uint32]

SEED = 0x9747B28C
MULTIPLIER = 0x5BD1E995
LOW_32_BITS = 0xFFFFFFFF
LOW_31_BITS = 0x7FFFFFFF  # Kafka's toPositive clears the sign bit: Java's abs() has no answer for -2**31

CACHED_KEY_BYTES = 64  # longer keys are rarely repeated ones, and would make the cache's memory unbounded
CACHED_KEYS = 32768

SHORT_KEY_BYTES = 63  # a table of at most 15 words a key
_WORD = bytes(4)
_MULTIPLIER = np.uint32(MULTIPLIER)
_TAIL_MASKS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], np.uint32)  # of the bytes behind a key's last full word
FEW_KEYS = 16  # below this the calls into NumPy cost more than they save


def murmur2(key: bytes) -> int:
    """Hash ``key`` as Kafka's Java client does: MurmurHash2, 32 bits, seed ``0x9747b28c``.

    Returns a signed 32-bit integer, as Java's ``Utils.murmur2``: -2**31 to 2**31 - 1.

    >>> murmur2(b"foobar")
    -790332482
    """
    size = len(key)
    whole = size & ~3
    h = SEED ^ (size & LOW_32_BITS)
    for word in struct.unpack_from(f"<{whole >> 2}I", key):
        k = word * MULTIPLIER & LOW_32_BITS
        h = (h * MULTIPLIER ^ (k ^ k >> 24) * MULTIPLIER) & LOW_32_BITS
    if whole != size:
        h = (h ^ int.from_bytes(key[whole:], "little")) * MULTIPLIER & LOW_32_BITS
    h = (h ^ h >> 13) * MULTIPLIER & LOW_32_BITS
    h ^= h >> 15
    return h - (1 << 32) if h > LOW_31_BITS else h


_cached_murmur2 = lru_cache(maxsize=CACHED_KEYS)(murmur2)


def partition_for_key(key: bytes, partitions: int) -> int:
    """Return the partition of ``key``, 0 to ``partitions - 1``, as Kafka's ``partitionForKey`` does.

    The hashes of short keys are remembered (some 8 MB at most), since keys come again and again.
    Raises `InvalidPartitionsError` when ``partitions`` is less than 1.

    >>> partition_for_key(b"foobar", 12)
    6
    """
    if partitions < 1:
        raise _no_partitions(partitions)
    hashed = _cached_murmur2(key) if len(key) <= CACHED_KEY_BYTES else murmur2(key)
    return (hashed & LOW_31_BITS) % partitions


def partitions_for_keys(keys: Sequence[bytes], partitions: int) -> NDArray[np.int32]:
    """Return the partition of each key, as `partition_for_key` does, in an array ``int32[len(keys)]``.

    All keys are hashed at once; extra memory is in proportion to the keys' own bytes, however their lengths
    differ. Raises `InvalidPartitionsError` when ``partitions`` is less than 1, and TypeError for a key that is None.

    >>> partitions_for_keys([b"foobar", b"21", b"foobar"], 12)
    array([6, 0, 6], dtype=int32)
    """
    return partitions_for_joined(b"".join(keys), list(map(len, keys)), partitions)


def partitions_for_joined(data: bytes, sizes: Sequence[int], partitions: int) -> NDArray[np.int32]:
    """Do the same for the keys of these sizes, in bytes, which lie in ``data`` one after the other.

    >>> partitions_for_joined(b"foobar21foobar", [6, 2, 6], 12)
    array([6, 0, 6], dtype=int32)
    """
    if partitions < 1:
        raise _no_partitions(partitions)
    count = len(sizes)
    if count >= FEW_KEYS and sizes.count(sizes[0]) == count:
        hashes = _hash_equal(data, count, sizes[0])
    else:
        hashes = _hash_all(data, _as_array(sizes))
    return ((hashes & np.uint32(LOW_31_BITS)) % np.uint32(partitions)).astype(np.int32)


class StickyPartitioner:
    """Stay on one partition until ``batch_size`` bytes went to it, then move to another at random.

    Kafka's choice for records without a key (KIP-480, and KIP-794 for the switch by bytes): batches are full,
    and each partition gets the same share of bytes over time. The next partition is drawn uniformly from all
    others: never the same twice in a row when there is more than one. One partitioner serves one topic. It
    takes no lock: when two threads report at the same moment, the move may come a batch late, and nothing
    else happens.

    >>> sticky = StickyPartitioner(batch_size=100)
    >>> first = sticky.partition(8)
    >>> sticky.sent(99)
    >>> sticky.partition(8) == first
    True
    >>> sticky.sent(1)
    >>> sticky.partition(8) == first
    False
    """

    def __init__(self, batch_size: int, source: random.Random | None = None) -> None:
        self._batch_size = max(1, batch_size)  # 0 turns batching off: every send moves on
        self._source = random.Random() if source is None else source
        self._current: int | None = None
        self.bytes_left = self._batch_size  # for the current partition: 0 or less when another one is to come

    def partition(self, partitions: int) -> int:
        """Return the partition to send to now, 0 to ``partitions - 1``.

        ``partitions`` may differ from call to call: added partitions take part from the next move on.
        Raises `InvalidPartitionsError` when it is less than 1.
        """
        current = self._current
        if current is not None and self.bytes_left > 0 and current < partitions:
            return current
        chosen = self._other(current, partitions)
        self._current, self.bytes_left = chosen, self._batch_size
        return chosen

    def sent(self, nbytes: int) -> None:
        """Report that ``nbytes`` bytes went to the partition that `partition` returned last."""
        self.bytes_left -= nbytes

    def _other(self, current: int | None, partitions: int) -> int:
        if partitions < 1:
            raise _no_partitions(partitions)
        if partitions == 1:
            return 0
        if current is None or current >= partitions:
            return self._source.randrange(partitions)
        # Draw from one fewer and step over the current one: uniform over the others, with a single draw.
        drawn = self._source.randrange(partitions - 1)
        return drawn + (drawn >= current)


class RoundRobinPartitioner:
    """Take the partitions in turn, from 0 on, whatever the key: Kafka's ``RoundRobinPartitioner``.

    One partitioner serves one topic, and any number of threads: each call takes the next number.

    >>> robin = RoundRobinPartitioner()
    >>> [robin.partition(3) for _ in range(5)]
    [0, 1, 2, 0, 1]
    """

    def __init__(self) -> None:
        self._turns = itertools.count()  # its next() is one step, also between threads

    def partition(self, partitions: int) -> int:
        """Return the partition whose turn it is, 0 to ``partitions - 1``.

        Raises `InvalidPartitionsError` when ``partitions`` is less than 1.
        """
        if partitions < 1:
            raise _no_partitions(partitions)
        return next(self._turns) % partitions


def _no_partitions(partitions: int) -> InvalidPartitionsError:
    return InvalidPartitionsError(f"partitions={partitions} is not possible", hint="give 1 or more")


def _as_array(sizes: Sequence[int]) -> UInt32s:
    try:
        return np.frombuffer(bytes(sizes), np.uint8).astype(np.uint32)  # the fastest way, up to 255
    except ValueError:
        return np.array(sizes, np.uint32)


def _hash_all(data: bytes, sizes: UInt32s) -> UInt32s:
    """Hash keys in classes of similar length, so that the words looked at are at most twice the keys' own."""
    starts = np.zeros(len(sizes), np.intp)
    np.cumsum(sizes[:-1], out=starts[1:])
    if len(sizes) < FEW_KEYS:
        return _hash_few(data, starts, sizes)
    # A word from every place in the data: an array that overlaps itself is copied once, and read from then.
    words = np.ndarray((len(data) + 1,), "<u4", data + _WORD, strides=(1,)).astype(np.uint32)
    if sizes.max() <= SHORT_KEY_BYTES:
        return _hash_similar(words, starts, sizes)
    # frexp's exponent is the bit length: class 6 holds the keys under 64 bytes, class 7 those under 128, ...
    classes = np.maximum(np.frexp(sizes.astype(np.float64))[1], SHORT_KEY_BYTES.bit_length())
    hashes = np.empty(len(sizes), np.uint32)
    for number in np.unique(classes):
        members = np.flatnonzero(classes == number)
        some = starts[members], sizes[members]
        hashes[members] = _hash_few(data, *some) if len(members) < FEW_KEYS else _hash_similar(words, *some)
    return hashes


def _hash_few(data: bytes, starts: NDArray[np.intp], sizes: UInt32s) -> UInt32s:
    """Hash the keys that begin at ``starts``, one by one."""
    places = zip(starts.tolist(), sizes.tolist(), strict=True)
    return np.array([murmur2(data[start : start + size]) & LOW_32_BITS for start, size in places], np.uint32)


def _hash_equal(data: bytes, count: int, size: int) -> UInt32s:
    """Hash the keys in ``data``, all of one size: `murmur2` on uint32 arrays, which wrap around as Java does."""
    whole = size >> 2  # full words of each key
    words = np.ndarray((whole + 1, count), "<u4", data + _WORD, strides=(4, size))  # the last word of the last key too
    table = words.astype(np.uint32, "C")
    h = np.full(count, SEED ^ size, np.uint32)
    for word in _mixed(table[:whole]):
        h *= _MULTIPLIER
        h ^= word
    return _finished(h, table[whole] & _TAIL_MASKS[size & 3], np.uint32(size))


def _hash_similar(words: UInt32s, starts: NDArray[np.intp], sizes: UInt32s) -> UInt32s:
    """Hash keys that differ in size, in the same way; ``words`` has the word at every place in their data."""
    h = sizes ^ np.uint32(SEED)
    whole = sizes >> 2
    most, fewest = int(whole.max()), int(whole.min())
    places = starts + np.arange(0, 4 * most, 4)[:, np.newaxis]
    for number, word in enumerate(_mixed(words.take(places, mode="clip"))):  # a key that has ended reads some other's
        if number < fewest:
            h *= _MULTIPLIER
            h ^= word
        else:  # and stays as it is
            h = np.where(number < whole, h * _MULTIPLIER ^ word, h)
    rest = words.take(starts + 4 * whole) & _TAIL_MASKS.take(sizes & 3)
    return _finished(h, rest, sizes)


def _mixed(table: UInt32s) -> UInt32s:
    """Mix every word by itself, in place."""
    table *= _MULTIPLIER
    table ^= table >> 24
    table *= _MULTIPLIER
    return table


def _finished(h: UInt32s, rest: UInt32s, sizes: UInt32s | np.uint32) -> UInt32s:
    """Take in the bytes behind the last full word, and spread the hash over all bits."""
    h ^= rest
    h *= np.where(sizes & 3, _MULTIPLIER, np.uint32(1))
    h ^= h >> 13
    h *= _MULTIPLIER
    h ^= h >> 15
    return h
