"""Workers that read one topic, and write what comes of each record into the next, exactly once."""

from __future__ import annotations

import contextlib

import eventlog
from eventlog.model import Record, TopicPartition
from eventlog.testing.soak.assignment_notes import AssignmentNotes
from eventlog.testing.soak.group_reader import MEMBER_SETTINGS
from eventlog.testing.soak.topics import CHAIN
from eventlog.testing.soak.transaction import Transaction
from eventlog.testing.soak.value import name_of
from eventlog.testing.soak.worker import Worker, polled

_POLL = 0.1  # seconds
_MOST_RECORDS = (1, 10, 100)
_ABORTED = 0.1  # of all transactions
_HANGS = 0.01  # likewise: in the middle, until the group goes on without this member
_HANG_SECONDS = 2.0


class ChainStage(Worker):
    """Reads as a member of the stage's group; outputs and offsets are committed in one transaction."""

    places = 2
    may_have_a_double = True
    stage = 1  # reads topic ``stage - 1`` of the chain
    group = "stage-1"

    def begin(self, log: eventlog.EventLog, held: contextlib.ExitStack) -> None:
        """Make a producer, and a consumer in the stage's group."""
        self.producer = self.transactional_producer(log, held, f"{self.group}-{self.post.number}")
        consumer = log.consumer(group=self.group, enable_auto_commit=False, **MEMBER_SETTINGS)
        self.consumer = held.enter_context(consumer)
        self.notes = AssignmentNotes(consumer, self.recorder, may_be_reset=self.post.may_lose_power)
        consumer.subscribe([CHAIN[self.stage - 1].name], listener=self.notes)

    def step(self) -> None:
        """Process what one poll returns."""
        records = self.poll(self.consumer, self.notes, _POLL, self.rng.choice(_MOST_RECORDS))
        if not records:
            return
        try:
            with Transaction(self.producer, self.recorder, may_lose_power=self.post.may_lose_power) as transaction:
                transaction.polled(polled(records))
                self.process(transaction, records)
                if self.chance(_HANGS):
                    self.pause(_HANG_SECONDS)
                if not self.chance(_ABORTED):
                    self.commit(transaction, records)
                    return
                transaction.abort()
        except (eventlog.CommitFailedError, eventlog.TransactionTimeoutError):
            pass  # another member has the partition by now, or will have it soon
        self.rewind()

    def process(self, transaction: Transaction, records: list[Record]) -> None:
        """Send one output for each input, under the same name."""
        for record in records:
            transaction.send(self.rng.choice(CHAIN[self.stage].all()), name_of(record.value))

    def commit(self, transaction: Transaction, records: list[Record]) -> None:
        """Commit the outputs together with how far the inputs were read."""
        offsets = {TopicPartition(record.topic, record.partition): record.offset + 1 for record in records}
        self.producer.send_offsets_to_transaction(offsets, self.consumer.group_metadata())
        transaction.commit(self.rng.randrange(1, 4))

    def rewind(self) -> None:
        """Go back to what is committed, as whoever aborts has to."""
        for place in self.consumer.assignment():
            committed = self.consumer.committed(place)
            self.consumer.seek(place, 0 if committed is None else committed.offset)
        self.notes.note()


class SecondStage(ChainStage):
    """Reads what the first stage writes."""

    stage = 2
    group = "stage-2"
