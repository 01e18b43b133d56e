"""A log in a dictionary, and random clients of it that note what they do: histories that are legal by construction.

Shares no code with the checker. Every choice comes from the random generator that is passed in.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from eventlog.model import TopicPartition
from eventlog.testing.history import Assign, Kind, Operation, Poll, Send

PARTITIONS = tuple(TopicPartition(topic, number) for topic in ("in", "out") for number in range(2))


class SimulatedRun:
    """Clients take turns; ``history`` has their notes, ``logs`` the truth."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.history: list[Operation] = []
        self.logs: dict[TopicPartition, list[int]] = {partition: [] for partition in PARTITIONS}
        self.positions: dict[str, dict[TopicPartition, int]] = {}
        self.values = 0

    def note(self, process: str, kind: Kind, what: Any, *actions: Any) -> None:
        self.history.append(Operation(process, len(self.history), kind, what, actions))

    def new_sends(self, most: int) -> list[Send]:
        """Sends of values that nobody sent before."""
        sends = []
        for _ in range(self.rng.randint(1, most)):
            sends.append(Send(self.rng.choice(PARTITIONS), self.values))
            self.values += 1
        return sends

    def append(self, sends: list[Send]) -> list[Send]:
        """Write the records, and return the sends with their offsets."""
        written = []
        for send in sends:
            self.logs[send.partition].append(send.value)
            written.append(Send(send.partition, send.value, len(self.logs[send.partition]) - 1))
        return written

    def plain_producer(self, process: str) -> None:
        """Send records, perhaps several at once and on their way together, with any outcome."""
        batches = [self.new_sends(3) for _ in range(self.rng.randint(1, 2))]
        for sends in batches:
            self.note(process, "invoke", "send", *sends)
        for sends in batches:
            outcome = self.rng.choice(["ok", "ok", "fail", "written", "lost", "killed", "partly"])
            if outcome == "ok":
                self.note(process, "ok", "send", *self.append(sends))
            elif outcome == "fail":
                self.note(process, "fail", "send", *sends)
            elif outcome == "partly":
                self.note(process, "info", "send", *self.append(sends[:1]), *sends[1:])
            else:
                self.append(sends if outcome == "written" else [])
                if outcome != "killed":
                    self.note(process, "info", "send", *sends)

    def transactional_producer(self, process: str) -> None:
        """Send records in a transaction, after a poll or not, with any outcome."""
        self.note(process, "invoke", "txn")
        polled = self.take(process) if self.rng.random() < 0.5 else None
        sends = self.new_sends(5)
        actions = [] if polled is None else [polled]
        if self.rng.random() < 0.1:  # killed before the commit
            self.crash(process)
            return
        outcome = self.rng.choice(["ok", "ok", "aborted", "fail", "written", "lost", "killed"])
        if outcome != "aborted":
            self.note(process, "invoke", "commit", *actions, *sends)
        if outcome == "ok":
            self.note(process, "ok", "txn", *actions, *self.append(sends))
        elif outcome in ("fail", "aborted"):
            self.note(process, "fail", "txn", *actions, *sends)
        else:
            self.append(sends if outcome == "written" else [])
            if outcome != "killed":
                self.note(process, "info", "txn", *actions, *sends)
            self.crash(process)

    def crash(self, process: str) -> None:
        """The process ends, and one of the same name begins, which goes on elsewhere."""
        self.note(process, "info", "crash")
        self.positions.pop(process, None)

    def consumer(self, process: str) -> None:
        """Poll, or get other partitions, or seek."""
        if process not in self.positions or self.rng.random() < 0.2:
            self.assign(process)
        else:
            self.note(process, "ok", "poll", self.take(process))

    def assign(self, process: str) -> None:
        """Other partitions, each from any offset on; the program knows its position, or does not say it."""
        mine = [partition for partition in PARTITIONS if self.rng.random() < 0.7]
        self.positions[process] = {partition: self.rng.randint(0, len(self.logs[partition])) for partition in mine}
        known = {p: offset if self.rng.random() < 0.5 else None for p, offset in self.positions[process].items()}
        self.note(process, "ok", "assign", Assign(known))

    def take(self, process: str) -> Poll:
        """Move on by a few records in some partitions."""
        records = {}
        positions = self.positions.setdefault(process, dict.fromkeys(PARTITIONS, 0))
        for partition, position in positions.items():
            end = min(len(self.logs[partition]), position + self.rng.randint(0, 3))
            if end > position:
                records[partition] = [(offset, self.logs[partition][offset]) for offset in range(position, end)]
                positions[partition] = end
        return Poll(records)

    def drain(self) -> None:
        """One consumer reads everything."""
        self.positions["drain"] = dict.fromkeys(PARTITIONS, 0)
        self.note("drain", "ok", "assign", Assign(dict.fromkeys(PARTITIONS, 0)))
        while (poll := self.take("drain")).records or any(
            position < len(self.logs[partition]) for partition, position in self.positions["drain"].items()
        ):
            self.note("drain", "ok", "poll", poll)


def simulate(rng: random.Random, steps: int, fault: Callable[[SimulatedRun], None] | None = None) -> SimulatedRun:
    """A run of ``steps`` turns and a consumer that reads everything at last; ``fault`` happens once in between."""
    run = SimulatedRun(rng)
    fault_at = rng.randint(0, steps) if fault is not None else -1
    turns = [
        (run.plain_producer, "p1"), (run.plain_producer, "p2"), (run.transactional_producer, "t1"),
        (run.transactional_producer, "t2"), (run.consumer, "c1"), (run.consumer, "c2"),
    ]  # fmt: skip
    for step in range(steps + 1):
        turn, process = rng.choice(turns)
        turn(process)
        if fault is not None and step == fault_at:
            fault(run)
    run.drain()
    return run
