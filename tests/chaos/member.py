"""One member of a group, as a process of its own: reads, commits, and writes down everything it does.

Run as ``python member.py DIRECTORY JOURNAL STRATEGY MAX_POLL_INTERVAL_MS SEED [INSTANCE_ID]``. Each line of the
journal is a JSON list: the monotonic time in nanoseconds, what happened, and its details. Between "assigned" and
"revoked" (or "lost", or the end of the process) the member may handle a partition's records.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from types import FrameType
from typing import Any

import eventlog
from eventlog import TopicPartition

GROUP, TOPIC = "billing", "orders"
ALIVE_EVERY = 100_000_000  # ns after which a member that goes on polling says so: who says nothing for long hangs


class Journal:
    """Appends lines with one system call each: a kill tears none."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.last = 0  # when something was noted

    def note(self, event: str, *details: Any) -> None:
        self.last = time.monotonic_ns()
        os.write(self._fd, json.dumps([self.last, event, *details]).encode() + b"\n")


class Listener(eventlog.RebalanceListener):
    """Writes down what comes and goes; commits what is revoked, half of the times."""

    def __init__(self, journal: Journal, consumer: eventlog.Consumer, rng: random.Random) -> None:
        self._journal, self._consumer, self._rng = journal, consumer, rng

    def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
        self._journal.note("assigned", [[tp.partition, self._consumer.position(tp)] for tp in partitions])

    def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        if self._rng.random() < 0.5:
            commit(self._journal, self._consumer)
        self._journal.note("revoked", [tp.partition for tp in partitions])

    def on_partitions_lost(self, partitions: list[TopicPartition]) -> None:
        self._journal.note("lost", [tp.partition for tp in partitions])


def commit(journal: Journal, consumer: eventlog.Consumer) -> None:
    """Commit the positions; a refusal is written down, and all there is to it."""
    positions = [[tp.partition, consumer.position(tp)] for tp in consumer.assignment()]
    try:
        consumer.commit()
        journal.note("committed", positions)
    except eventlog.CommitFailedError as error:
        journal.note("refused", type(error).__name__)


def main(directory: str, path: str, strategy: str, max_poll_interval_ms: str, seed: str, instance: str = "") -> None:
    rng = random.Random(int(seed))
    journal = Journal(path)
    stop = False

    def leave(signum: int, frame: FrameType | None) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, leave)
    log = eventlog.open(directory)
    consumer = log.consumer(
        group=GROUP, auto_offset_reset="earliest", enable_auto_commit=rng.random() < 0.5, auto_commit_interval_ms=50,
        partition_assignment_strategy=strategy.split(","), max_poll_interval_ms=int(max_poll_interval_ms),
        group_instance_id=instance or None, session_timeout_ms=1000,
    )  # fmt: skip
    consumer.subscribe([TOPIC], listener=Listener(journal, consumer, rng))
    journal.note("started", os.getpid())
    while not stop:
        began = time.monotonic_ns()
        if began - journal.last > ALIVE_EVERY:
            journal.note("alive")
        with contextlib.suppress(eventlog.FencedInstanceIdError):
            records = consumer.poll(rng.choice([0.0, 0.01, 0.2]), rng.choice([1, 20, 500]))
            for partition, offsets in by_partition(records).items():
                journal.note("read", partition, offsets[0], offsets[-1], len(offsets), began)
            if records and rng.random() < 0.3:
                commit(journal, consumer)
    commit(journal, consumer)
    consumer.close()
    journal.note("closed")
    log.close()


def by_partition(records: list[eventlog.Record]) -> dict[int, list[int]]:
    """Return the offsets read, by partition, in the order in which they came."""
    found: dict[int, list[int]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(record.offset)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
