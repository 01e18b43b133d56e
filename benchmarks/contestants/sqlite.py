"""SQLite through the standard library: a table with an integer key, in WAL mode."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.workloads import PER_CALL, Work, calls, expect, timed, times_us, values

UPSERT = """INSERT INTO committed VALUES (?, ?, ?, ?)
ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET position = excluded.position"""
INSERT = "INSERT INTO event (value) VALUES (?)"  # one string: the module caches its prepared statement


@contextmanager
def _table(directory: Path, synchronous: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(directory / "events.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("CREATE TABLE event (number INTEGER PRIMARY KEY, value BLOB NOT NULL)")
        yield connection


def _count(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT count(*) FROM event").fetchone()[0]


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
