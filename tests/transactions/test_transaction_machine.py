"""Transactions over three partitions against a simple model, with crashes between any two steps of the file system.

Two processes share a log: they begin, send, commit and abort transactions, commit offsets of a group, append without
transactions, fence each other, close and open the log; one may be killed anywhere while the other goes on, all may be
killed, and the power may go. See ``crash_engine.py`` for the model.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from eventlog import TopicPartition
from eventlog.coordination import offset_store
from tests.transactions.crash_engine import PLACES, Engine

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # thousands of small disks
EXAMPLES = int(os.environ.get("EVENTLOG_CRASH_EXAMPLES", "60"))

slots = st.sampled_from([0, 1])
places = st.sampled_from(PLACES)
sizes = st.sampled_from([0, 40, 400])
ids = st.sampled_from(["x", "y"])
durabilities = st.sampled_from(["disk", "os"])


@pytest.fixture(autouse=True)
def _few_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the 50 partitions of committed offsets one would be used, and all be looked at, thousands of times."""
    monkeypatch.setattr(offset_store, "PARTITIONS", 1)


choices = st.integers(0, 2**16 - 1)
crashes = st.integers(0, 60)
torn = st.sampled_from([0.0, 0.5])
Sent = list[tuple[TopicPartition, int, int]]
sent = st.lists(st.tuples(places, sizes, st.integers(1, 3)), max_size=4)


def is_open(machine: Transactions) -> bool:
    """Tell whether a transaction is open."""
    return any(process is not None and process.transaction is not None for process in machine.engine.processes.values())


def has_written(machine: Transactions) -> bool:
    """Tell whether anything has happened that a crash could undo."""
    return machine.engine.has_written


def lose_all(n: int) -> int:
    return n - 1


class Transactions(RuleBasedStateMachine):
    """Each transaction is whole or absent on every partition, its committed offsets included."""

    def __init__(self) -> None:
        super().__init__()
        self._logger = logging.getLogger("eventlog")
        self._level = self._logger.level
        self._logger.setLevel(
            logging.CRITICAL
        )  # torn tails, and what cannot be settled at once, are what this is about
        self._directory = tempfile.TemporaryDirectory(prefix="eventlog-", dir=MEMORY)
        self.engine = Engine(Path(self._directory.name))

    def teardown(self) -> None:
        try:
            if not self.engine.is_refuted:
                self.engine.see(0)
                self.engine.check_disk(None)
                self.engine.check_disk(lose_all)
        finally:
            for process in self.engine.processes.values():
                if process is not None:
                    note("\n".join(map(str, process.fs.journal)))
            self._directory.cleanup()
            self._logger.setLevel(self._level)

    # --- without transactions ---

    @rule(slot=slots, place=places, size=sizes, durability=durabilities)
    def append(self, slot: int, place: TopicPartition, size: int, durability: str) -> None:
        self.engine.append(slot, place, size, durability)

    @rule(slot=slots, place=places, kind=st.sampled_from(["send", "commit_offset", "flush"]), data=st.data())
    def do_plain(self, slot: int, place: TopicPartition, kind: str, data: st.DataObject) -> None:
        if kind == "send":
            self.engine.send(slot, place, data.draw(sizes), data.draw(st.integers(1, 3)))
        else:
            getattr(self.engine, kind)(slot, place)

    # --- transactions ---

    @rule(
        slot=slots, transactional_id=ids, durability=durabilities, sent=sent, offsets=st.lists(places, max_size=2),
        crash_in=st.one_of(st.none(), crashes), torn=torn, data=st.data(),
        then=st.sampled_from(["go on", "reboot", "flush, and reboot"]),
    )  # fmt: skip
    def transaction(
        self, slot: int, transactional_id: str, durability: str, sent: Sent, offsets: list[TopicPartition],
        crash_in: int | None, torn: float, then: str, data: st.DataObject,
    ) -> None:  # fmt: skip
        """A whole one, or one that is cut off while it is committed; perhaps all processes end right behind it."""
        self.begin(slot, transactional_id, durability, sent, offsets)
        self.engine.start(slot, crash_in, torn)
        self.engine.commit(slot)
        if then == "flush, and reboot":
            self.engine.flush(data.draw(slots), data.draw(places))
        if then != "go on":
            self.reboot(data.draw(st.booleans()), data)

    @rule(slot=slots, transactional_id=ids, durability=durabilities, sent=sent, offsets=st.lists(places, max_size=2))
    def begin(
        self, slot: int, transactional_id: str, durability: str, sent: Sent, offsets: list[TopicPartition]
    ) -> None:
        self.engine.begin(slot, transactional_id, durability)
        for place, size, count in sent:
            self.engine.transact(slot, place, size, count)
        for place in offsets:
            self.engine.transact_offset(slot, place)

    @precondition(is_open)
    @rule(slot=slots, sent=sent)
    def go_on(self, slot: int, sent: Sent) -> None:
        for place, size, count in sent:
            self.engine.transact(slot, place, size, count)

    @precondition(is_open)
    @rule(slot=slots, commits=st.booleans())
    def end(self, slot: int, commits: bool) -> None:
        if commits:
            self.engine.commit(slot)
        else:
            self.engine.abort(slot)

    # --- ends ---

    @rule(slot=slots, crash_in=crashes, torn=torn)
    def crash_soon(self, slot: int, crash_in: int, torn: float) -> None:
        """Whatever the process does next may be cut off, its start included."""
        self.engine.start(slot, crash_in, torn)

    @rule(slot=slots, closes=st.booleans())
    def close_or_see(self, slot: int, closes: bool) -> None:
        if closes:
            self.engine.close(slot)
        else:
            self.engine.see(slot)

    @precondition(has_written)
    @rule(cut=st.booleans(), data=st.data())
    def reboot(self, cut: bool, data: st.DataObject) -> None:
        self.engine.reboot((lambda n: data.draw(choices) % n) if cut else None)


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
