"""Workers that share the reading of orders and payments as members of one group."""

from __future__ import annotations

import contextlib
from typing import Any

import eventlog
from eventlog.testing.soak.assignment_notes import AssignmentNotes
from eventlog.testing.soak.topics import GROUPS, READERS
from eventlog.testing.soak.worker import Worker, polled

MEMBER_SETTINGS: dict[str, Any] = {
    "auto_offset_reset": "earliest",
    "session_timeout_ms": 1000,
    "max_poll_interval_ms": 1500,  # shorter than the longest stop: the stopped one is removed, and finds out
}
_POLLS = (0.0, 0.01, 0.1)  # seconds
_MOST_RECORDS = (1, 20, 500)


class GroupReader(Worker):
    """Reads, and commits now and then: each record at least once."""

    places = 2
    group = READERS

    def begin(self, log: eventlog.EventLog, held: contextlib.ExitStack) -> None:
        """Make a consumer in the group."""
        consumer = log.consumer(
            group=self.group, enable_auto_commit=self.chance(0.5), auto_commit_interval_ms=50, **MEMBER_SETTINGS
        )
        self.consumer = held.enter_context(consumer)
        self.notes = AssignmentNotes(consumer, self.recorder, may_be_reset=self.post.may_lose_power)
        consumer.subscribe([topic.name for topic in GROUPS[READERS]], listener=self.notes)

    def step(self) -> None:
        """Poll, and commit or not."""
        records = self.poll(self.consumer, self.notes, self.rng.choice(_POLLS), self.rng.choice(_MOST_RECORDS))
        self.recorder.ok("poll", polled(records))
        if self.chance(0.3):
            with contextlib.suppress(eventlog.CommitFailedError):
                self.consumer.commit()
        if not records:
            self.pause(0.01)
