"""LMDB through py-lmdb: records under big-endian sequence numbers, appended in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb

from benchmarks.workloads import PARTITIONS, PER_CALL, Work, calls, expect, timed, times_us, transactions, values

COMMITTED_KEY = b"bench bench 0"
MAP_BYTES = 1 << 36  # address space, not disk: room for every workload


@contextmanager
def _store(directory: Path, **options: Any) -> Iterator[lmdb.Environment]:
    store = lmdb.open(str(directory / "lmdb"), map_size=MAP_BYTES, **options)
    try:
        yield store
    finally:
        store.close()


def _pairs(items: Sequence[bytes], first: int = 0) -> list[tuple[bytes, bytes]]:
    return [(number.to_bytes(8, "big"), value) for number, value in enumerate(items, first)]


def _put(store: lmdb.Environment, pairs: list[tuple[bytes, bytes]]) -> None:
    with store.begin(write=True) as transaction, transaction.cursor() as cursor:
        cursor.putmulti(pairs, append=True)


def _entries(store: lmdb.Environment) -> int:
    return store.stat()["entries"]


def _put_prebuilt(directory: Path, amount: int, **options: Any) -> Iterator[Work]:
    with _store(directory, sync=False, **options) as store:
        batches = calls(_pairs(values(amount)))

        def work() -> int:
            for pairs in batches:
                _put(store, pairs)
            return amount

        yield work
        expect(_entries(store), amount)


@timed
def put_many(directory: Path, amount: int) -> Iterator[Work]:
    """``putmulti(append=True)``, 1,000 a transaction; keys and pairs built beforehand."""
    yield from _put_prebuilt(directory, amount)


@timed
def put_many_writemap(directory: Path, amount: int) -> Iterator[Work]:
    """The same into a writable mapping, flushed asynchronously."""
    yield from _put_prebuilt(directory, amount, writemap=True, map_async=True)


@timed
def put_many_building(directory: Path, amount: int) -> Iterator[Work]:
    """The same with the building of the key/value pairs counted."""
    with _store(directory, sync=False) as store:
        batches = calls(values(amount))

        def work() -> int:
            for number, batch in enumerate(batches):
                _put(store, _pairs(batch, number * PER_CALL))
            return amount

        yield work
        expect(_entries(store), amount)


@timed
def read(directory: Path, amount: int) -> Iterator[Work]:
    """Cursor iteration over the values, taken in lists of 1,000."""
    with _store(directory, sync=False) as store:
        for pairs in calls(_pairs(values(amount))):
            _put(store, pairs)

        def work() -> int:
            done = 0
            with store.begin() as transaction, transaction.cursor() as cursor:
                iterator = cursor.iternext(keys=False, values=True)
                while taken := list(islice(iterator, PER_CALL)):
                    done += len(taken)
            return done

        yield work


def _insert(directory: Path, amount: int, sync: bool) -> Iterator[Work]:
    with _store(directory, sync=sync) as store:
        pairs = _pairs(values(amount))

        def work() -> int:
            for key, value in pairs:
                with store.begin(write=True) as transaction:
                    transaction.put(key, value, append=True)
            return amount

        yield work
        expect(_entries(store), amount)


@timed
def insert_one(directory: Path, amount: int) -> Iterator[Work]:
    """One record a transaction, ``sync=False``."""
    yield from _insert(directory, amount, sync=False)


@timed
def insert_durable(directory: Path, amount: int) -> Iterator[Work]:
    """One record a transaction, synced to the device."""
    yield from _insert(directory, amount, sync=True)


def replace_one(directory: Path, amount: int) -> dict[str, float]:
    """One ``put`` of the same key a transaction, ``sync=False``."""
    directory.mkdir(parents=True, exist_ok=True)
    with _store(directory, sync=False) as store:

        def replace(number: int) -> None:
            with store.begin(write=True) as transaction:
                transaction.put(COMMITTED_KEY, (number + 1).to_bytes(8, "big"))

        figures = times_us(amount, replace)
        with store.begin() as transaction:
            expect(int.from_bytes(transaction.get(COMMITTED_KEY), "big"), amount)
    return figures


def _transact(directory: Path, amount: int, **options: Any) -> Iterator[Work]:
    with _store(directory, max_dbs=PARTITIONS, **options) as store:
        databases = [store.open_db(b"event %d" % number) for number in range(PARTITIONS)]
        all_pairs = transactions(_pairs(values(amount)))

        def work() -> int:
            for parts in all_pairs:
                with store.begin(write=True) as transaction:
                    for database, pairs in zip(databases, parts, strict=True):
                        with transaction.cursor(database) as cursor:
                            cursor.putmulti(pairs, append=True)
            return amount

        yield work
        with store.begin() as transaction:
            expect(sum(transaction.stat(database)["entries"] for database in databases), amount)


@timed
def transact(directory: Path, amount: int) -> Iterator[Work]:
    """``putmulti(append=True)`` into 4 databases, 1,000 a transaction, ``sync=False``; pairs built beforehand."""
    yield from _transact(directory, amount, sync=False)


@timed
def transact_durable(directory: Path, amount: int) -> Iterator[Work]:
    """The same, synced to the device."""
    yield from _transact(directory, amount, sync=True)
