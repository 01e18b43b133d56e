"""What being in a group costs each record that is polled.

The difference is of a few per cent, less than that between two processes that do the same. So both consumers are in
one process, and read the same records by turns.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import eventlog
from benchmarks.contestants.ours import HERE, WAIT_SECONDS, member, poll_one, reader, topic, write
from benchmarks.workloads import expect

PASSES = 30
UNCOUNTED = 2


def side_by_side(directory: Path, amount: int) -> dict[str, float]:
    """Nanoseconds a record of ``poll()`` with ``.value``: as a group's member with automatic commits, and alone.

    Both begin at the second record. The group's first commit, which makes files, is made before.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with topic(directory) as (log, _):
        write(log, 1 + amount)
        with member(log) as in_group, reader(log) as alone:
            poll_one(in_group)  # joins
            poll_one(alone)
            in_group.commit()
            taken = _passes({"group": in_group, "alone": alone}, amount)
    return {f"{name}_ns": statistics.median(times[UNCOUNTED:]) for name, times in taken.items()}


def _passes(consumers: dict[str, eventlog.Consumer], amount: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in consumers}
    turns = list(consumers)
    for _ in range(UNCOUNTED + PASSES):
        for name in turns:
            taken[name].append(_pass_ns(consumers[name], amount))
        turns.reverse()  # who comes second finds the records in the processor's caches
    return taken


def _pass_ns(consumer: eventlog.Consumer, amount: int) -> float:
    consumer.seek(HERE, 1)
    done = 0
    start = time.perf_counter_ns()
    while done < amount and (records := consumer.poll(WAIT_SECONDS)):
        done += len([record.value for record in records])
    taken = time.perf_counter_ns() - start
    expect(done, amount)
    return taken / amount
