"""RocksDB through rocksdict, in raw mode: bytes under big-endian sequence numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from rocksdict import Options, Rdict, WriteBatch, WriteOptions

from benchmarks.workloads import PARTITIONS, PER_CALL, Work, calls, expect, timed, transactions, values


@contextmanager
def _store(directory: Path, sync: bool = False) -> Iterator[Rdict]:
    store = Rdict(str(directory / "rocks"), Options(raw_mode=True))
    write_options = WriteOptions()
    write_options.sync = sync
    store.set_write_options(write_options)
    try:
        yield store
    finally:
        store.close()


def _pairs(items: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return [(number.to_bytes(8, "big"), value) for number, value in enumerate(items)]


def _write(store: Rdict, pairs: list[tuple[bytes, bytes]]) -> None:
    batch = WriteBatch(raw_mode=True)
    for key, value in pairs:
        batch.put(key, value)
    store.write(batch)


def _count(store: Rdict) -> int:
    return sum(1 for _ in store.values())


@timed
def put_many(directory: Path, amount: int) -> Iterator[Work]:
    """``WriteBatch`` of 1,000, write-ahead log on, not synced; keys and pairs built beforehand."""
    with _store(directory) as store:
        batches = calls(_pairs(values(amount)))

        def work() -> int:
            for pairs in batches:
                _write(store, pairs)
            return amount

        yield work
        expect(_count(store), amount)


@timed
def read(directory: Path, amount: int) -> Iterator[Work]:
    """``values()``, taken in lists of 1,000."""
    with _store(directory) as store:
        for pairs in calls(_pairs(values(amount))):
            _write(store, pairs)
        store.flush()

        def work() -> int:
            done = 0
            iterator = iter(store.values())
            while taken := list(islice(iterator, PER_CALL)):
                done += len(taken)
            return done

        yield work


def _insert(directory: Path, amount: int, sync: bool) -> Iterator[Work]:
    with _store(directory, sync) as store:
        pairs = _pairs(values(amount))

        def work() -> int:
            put = store.put
            for key, value in pairs:
                put(key, value)
            return amount

        yield work
        expect(_count(store), amount)


@timed
def insert_one(directory: Path, amount: int) -> Iterator[Work]:
    """One ``put`` each, write-ahead log on, not synced."""
    yield from _insert(directory, amount, sync=False)


@timed
def insert_durable(directory: Path, amount: int) -> Iterator[Work]:
    """One ``put`` each, ``sync=True``."""
    yield from _insert(directory, amount, sync=True)


def _transact(directory: Path, amount: int, sync: bool) -> Iterator[Work]:
    with _store(directory, sync) as store:
        families = [f"event {number}" for number in range(PARTITIONS)]
        for family in families:
            store.create_column_family(family, Options(raw_mode=True))
        handles = [store.get_column_family_handle(family) for family in families]
        all_pairs = transactions(_pairs(values(amount)))

        def work() -> int:
            for parts in all_pairs:
                batch = WriteBatch(raw_mode=True)
                for handle, pairs in zip(handles, parts, strict=True):
                    for key, value in pairs:
                        batch.put(key, value, handle)
                store.write(batch)
            return amount

        yield work
        expect(sum(_count(store.get_column_family(family)) for family in families), amount)


@timed
def transact(directory: Path, amount: int) -> Iterator[Work]:
    """``WriteBatch`` of 1,000 into 4 column families, write-ahead log on, not synced; pairs built beforehand."""
    yield from _transact(directory, amount, sync=False)


@timed
def transact_durable(directory: Path, amount: int) -> Iterator[Work]:
    """The same, ``sync=True``."""
    yield from _transact(directory, amount, sync=True)
