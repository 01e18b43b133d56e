"""How long a group takes to give partitions to who joins, and those of who leaves or is killed to who stays.

The other member is a process that waits in ``poll``.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import eventlog
from benchmarks.contestants.ours import GROUP, TOPIC
from benchmarks.contestants.ours import topic as log_with_topic
from benchmarks.probes.group_member import SECONDS, MemberProcess, member_process
from benchmarks.workloads import expect

PARTITIONS = 4
SETTLE_SECONDS = 0.02  # for the one that stays, to fall asleep again
LONGEST_WAIT = 0.1  # seconds: a crash comes at any moment between two looks at who is alive
UNCOUNTED = 1


class _Arrival(eventlog.RebalanceListener):
    """Ends the poll in which partitions are given."""

    def __init__(self, consumer: eventlog.Consumer) -> None:
        self.consumer = consumer
        self.at_ns = self.count = 0

    def on_partitions_assigned(self, partitions: list[eventlog.TopicPartition]) -> None:
        if partitions:  # a round before that gives none, as in Kafka
            self.at_ns, self.count = time.monotonic_ns(), len(partitions)
            self.consumer.wakeup()


@contextmanager
def _survivor(directory: Path) -> Iterator[tuple[eventlog.EventLog, MemberProcess]]:
    """A log, and the process that has all of its partitions."""
    directory.mkdir(parents=True, exist_ok=True)
    with log_with_topic(directory, partitions=PARTITIONS) as (log, _), member_process(directory / "log") as survivor:
        expect(survivor.assigned().count, PARTITIONS)
        yield log, survivor


def _join(newcomer: eventlog.Consumer, share: int) -> float:
    """Milliseconds until the newcomer has its share, which the survivor may have to give up first."""
    arrival = _Arrival(newcomer)
    start = time.monotonic_ns()
    newcomer.subscribe([TOPIC], listener=arrival)
    with suppress(eventlog.WakeupError):
        newcomer.poll(SECONDS)
    expect(arrival.count, share)
    return (arrival.at_ns - start) / 1e6


def _leave(newcomer: eventlog.Consumer, survivor: MemberProcess) -> float:
    """Milliseconds until the survivor has everything again."""
    start = time.monotonic_ns()
    newcomer.close()
    assigned = survivor.assigned()
    expect(assigned.count, PARTITIONS // 2)
    return (assigned.at_ns - start) / 1e6


def join_and_leave(directory: Path, amount: int) -> dict[str, float]:
    """``subscribe`` and ``poll`` here until partitions are assigned here; ``close`` here until they are there.

    First joins are those of empty groups, which nobody else has to act on.
    """
    first_joins, joins, leaves = [], [], []
    with _survivor(directory) as (log, survivor):
        for number in range(UNCOUNTED + amount):
            with log.consumer(group=f"{GROUP}-{number}") as first:
                first_joins.append(_join(first, PARTITIONS))
            time.sleep(SETTLE_SECONDS)
            newcomer = log.consumer(group=GROUP)
            joins.append(_join(newcomer, PARTITIONS // 2))
            time.sleep(SETTLE_SECONDS)
            leaves.append(_leave(newcomer, survivor))
    return {
        "first_join_ms": statistics.median(first_joins[UNCOUNTED:]),
        "join_ms": statistics.median(joins[UNCOUNTED:]),
        "longest_join_ms": max(joins[UNCOUNTED:]),
        "leave_ms": statistics.median(leaves[UNCOUNTED:]),
        "longest_leave_ms": max(leaves[UNCOUNTED:]),
    }


def after_kill(directory: Path, amount: int) -> dict[str, float]:
    """``SIGKILL`` to the one until its partitions are assigned to the other, which waits in ``poll``."""
    rng = random.Random(7)
    taken = []
    with _survivor(directory) as (_, survivor):
        for _ in range(amount):
            with member_process(directory / "log") as victim:
                expect(victim.assigned().count, PARTITIONS // 2)
                time.sleep(SETTLE_SECONDS + rng.random() * LONGEST_WAIT)
                killed_ns = victim.kill()
                assigned = survivor.assigned()
            expect(assigned.count, PARTITIONS // 2)
            taken.append((assigned.at_ns - killed_ns) / 1e6)
    return {"killed_ms": statistics.median(taken), "longest_ms": max(taken)}
