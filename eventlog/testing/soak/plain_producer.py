"""Workers that send records one by one or many at a time, each to be written exactly once."""

from __future__ import annotations

import contextlib

import eventlog
from eventlog.model import RecordMetadata, TopicPartition
from eventlog.testing.history import Send
from eventlog.testing.soak.topics import CHAIN, ORDERS, PAYMENTS
from eventlog.testing.soak.value import value_of
from eventlog.testing.soak.worker import TROUBLE, Worker

_MOST_SENDS = 20
_LONGEST_PAUSE = 0.04  # seconds


class PlainProducer(Worker):
    """Sends to the partitions of orders and payments, without transactions."""

    is_source = True
    partitions = (*ORDERS.all(), *PAYMENTS.all())

    def begin(self, log: eventlog.EventLog, held: contextlib.ExitStack) -> None:
        """Make a producer."""
        self.producer = held.enter_context(log.producer(**self.producer_settings()))

    def step(self) -> None:
        """Send some records, and note what became of them; trouble is raised once it is noted."""
        place = self.rng.choice(self.partitions)
        sends = [Send(place, self.new_name()) for _ in range(self.rng.randrange(1, _MOST_SENDS))]
        self.recorder.invoke("send", *sends)
        try:
            outcomes = self.deliver(place, [str(send.value) for send in sends])
        except TROUBLE:
            self.recorder.info("send", *sends)
            raise
        for send, outcome in zip(sends, outcomes, strict=True):
            self._note(send, outcome)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self.pause(self.rng.uniform(0, _LONGEST_PAUSE))

    def deliver(self, place: TopicPartition, names: list[str]) -> list[RecordMetadata | BaseException]:
        """Send values with these names; return what became of each."""
        deliveries = [self.producer.send(place.topic, value_of(name), partition=place.partition) for name in names]
        self.producer.flush()
        return [delivery.exception() or delivery.result() for delivery in deliveries]

    def _note(self, send: Send, outcome: RecordMetadata | BaseException) -> None:
        if isinstance(outcome, RecordMetadata):
            self.recorder.ok("send", Send(send.partition, send.value, outcome.offset))
        elif isinstance(outcome, eventlog.LogFullError):
            self.recorder.fail("send", send)  # nothing was published, it says
        else:
            self.recorder.info("send", send)


class BulkProducer(PlainProducer):
    """Sends whole lists."""

    def deliver(self, place: TopicPartition, names: list[str]) -> list[RecordMetadata | BaseException]:
        """Send values with these names as one list."""
        values = [value_of(name) for name in names]
        return self.producer.send_many(place.topic, values, partition=place.partition).results()


class LazyProducer(PlainProducer):
    """Never waits for the device: a power cut may take what was acknowledged to it."""

    def durability(self) -> str:
        """Ask for nothing more than to survive the process."""
        return "os"


class Feeder(PlainProducer):
    """Sends what the chain of topics begins with."""

    partitions = tuple(CHAIN[0].all())
