"""SQLite through the standard library: a table with an integer key, in WAL mode."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.workloads import PARTITIONS, PER_CALL, Work, calls, expect, timed, times_us, transactions, values

UPSERT = """INSERT INTO committed VALUES (?, ?, ?, ?)
ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET position = excluded.position"""
INSERT = "INSERT INTO event (value) VALUES (?)"  # one string: the module caches its prepared statement
TABLES = [f"event_{number}" for number in range(PARTITIONS)]
INSERTS = [f"INSERT INTO {table} (value) VALUES (?)" for table in TABLES]


@contextmanager
def _table(directory: Path, synchronous: str, tables: Sequence[str] = ("event",)) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(directory / "events.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        for table in tables:
            connection.execute(f"CREATE TABLE {table} (number INTEGER PRIMARY KEY, value BLOB NOT NULL)")
        yield connection


def _count(connection: sqlite3.Connection, table: str = "event") -> int:
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def _insert_many(connection: sqlite3.Connection, rows: list[tuple[bytes]]) -> None:
    connection.execute("BEGIN")
    connection.executemany(INSERT, rows)
    connection.execute("COMMIT")


@timed
def put_many(directory: Path, amount: int) -> Iterator[Work]:
    """``executemany``, 1,000 a transaction, ``synchronous=OFF``; rows built beforehand."""
    with _table(directory, "OFF") as connection:
        batches = calls([(value,) for value in values(amount)])

        def work() -> int:
            for rows in batches:
                _insert_many(connection, rows)
            return amount

        yield work
        expect(_count(connection), amount)


@timed
def read(directory: Path, amount: int) -> Iterator[Work]:
    """``SELECT value`` in order of the key, ``fetchmany(1000)``."""
    with _table(directory, "OFF") as connection:
        _insert_many(connection, [(value,) for value in values(amount)])

        def work() -> int:
            done = 0
            cursor = connection.execute("SELECT value FROM event ORDER BY number")
            while rows := cursor.fetchmany(PER_CALL):
                done += len([value for (value,) in rows])
            return done

        yield work


def _insert(directory: Path, amount: int, synchronous: str) -> Iterator[Work]:
    with _table(directory, synchronous) as connection:
        rows = [(value,) for value in values(amount)]

        def work() -> int:
            execute = connection.cursor().execute
            for row in rows:
                execute(INSERT, row)
            return amount

        yield work
        expect(_count(connection), amount)


@timed
def insert_one(directory: Path, amount: int) -> Iterator[Work]:
    """One prepared ``INSERT`` each, committed by itself, ``synchronous=OFF``."""
    yield from _insert(directory, amount, "OFF")


@timed
def insert_durable(directory: Path, amount: int) -> Iterator[Work]:
    """One prepared ``INSERT`` each, committed by itself, ``synchronous=FULL``."""
    yield from _insert(directory, amount, "FULL")


def upsert_one(directory: Path, amount: int) -> dict[str, float]:
    """One prepared upsert of the same row each, committed by itself, ``synchronous=OFF``."""
    directory.mkdir(parents=True, exist_ok=True)
    with _table(directory, "OFF") as connection:
        key = "consumer_group TEXT, topic TEXT, partition INTEGER"
        unique = "PRIMARY KEY (consumer_group, topic, partition)"
        connection.execute(f"CREATE TABLE committed ({key}, position INTEGER NOT NULL, {unique}) WITHOUT ROWID")
        execute = connection.cursor().execute
        figures = times_us(amount, lambda number: execute(UPSERT, ("bench", "bench", 0, number + 1)))
        expect(execute("SELECT position FROM committed").fetchone()[0], amount)
    return figures


def _transact(directory: Path, amount: int, synchronous: str) -> Iterator[Work]:
    with _table(directory, synchronous, TABLES) as connection:
        all_rows = transactions([(value,) for value in values(amount)])

        def work() -> int:
            for parts in all_rows:
                connection.execute("BEGIN")
                for insert, rows in zip(INSERTS, parts, strict=True):
                    connection.executemany(insert, rows)
                connection.execute("COMMIT")
            return amount

        yield work
        expect(sum(_count(connection, table) for table in TABLES), amount)


@timed
def transact(directory: Path, amount: int) -> Iterator[Work]:
    """``executemany`` into 4 tables, 1,000 a transaction, ``synchronous=NORMAL``; rows built beforehand."""
    yield from _transact(directory, amount, "NORMAL")


@timed
def transact_unsynced(directory: Path, amount: int) -> Iterator[Work]:
    """The same, ``synchronous=OFF``."""
    yield from _transact(directory, amount, "OFF")


@timed
def transact_durable(directory: Path, amount: int) -> Iterator[Work]:
    """The same, ``synchronous=FULL``."""
    yield from _transact(directory, amount, "FULL")
