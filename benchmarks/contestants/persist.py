"""persist-queue: its SQLite queue, and its plain-file queue for single puts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import persistqueue

from benchmarks.workloads import PER_CALL, Work, calls, expect, timed, values


def _queue(directory: Path, auto_commit: bool) -> Any:
    return persistqueue.FIFOSQLiteQueue(str(directory / "queue"), auto_commit=auto_commit, multithreading=True)


@timed
def put_many(directory: Path, amount: int) -> Iterator[Work]:
    """SQLite queue, ``auto_commit=False``: 1,000 ``put``, then ``task_done``."""
    queue = _queue(directory, auto_commit=False)
    batches = calls(values(amount))

    def work() -> int:
        for batch in batches:
            for value in batch:
                queue.put(value)
            queue.task_done()
        return amount

    yield work
    expect(queue.size, amount)
    queue.close()


@timed
def read(directory: Path, amount: int) -> Iterator[Work]:
    """SQLite queue, ``auto_commit=False``: 1,000 ``get``, then ``task_done``."""
    queue = _queue(directory, auto_commit=False)
    for value in values(amount):
        queue.put(value)
    queue.task_done()

    def work() -> int:
        done = 0
        while done < amount:
            done += len([queue.get(block=False) for _ in range(min(PER_CALL, amount - done))])
            queue.task_done()
        return done

    yield work
    queue.close()


@timed
def insert_one(directory: Path, amount: int) -> Iterator[Work]:
    """SQLite queue, ``auto_commit=True``: one ``put`` each."""
    queue = _queue(directory, auto_commit=True)
    items = values(amount)

    def work() -> int:
        for value in items:
            queue.put(value)
        return amount

    yield work
    expect(queue.size, amount)
    queue.close()


@timed
def insert_into_file(directory: Path, amount: int) -> Iterator[Work]:
    """File queue: one ``put`` each."""
    queue = persistqueue.Queue(str(directory / "file-queue"), tempdir=str(directory))
    items = values(amount)

    def work() -> int:
        for value in items:
            queue.put(value)
        return amount

    yield work
    expect(queue.qsize(), amount)
