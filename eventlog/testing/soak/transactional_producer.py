"""Workers that write to several partitions and topics at once, or abort on purpose."""

from __future__ import annotations

import contextlib

import eventlog
from eventlog.testing.soak.topics import ORDERS, PAYMENTS
from eventlog.testing.soak.transaction import Transaction
from eventlog.testing.soak.worker import Worker

_MOST_SENDS = 16
_ABORTED = 0.2  # of all transactions
_LONGEST_PAUSE = 0.04  # seconds


class TransactionalProducer(Worker):
    """Sends to orders and payments in transactions. Whoever takes its place has the same transactional id."""

    places = 2
    is_source = True
    may_have_a_double = True

    def begin(self, log: eventlog.EventLog, held: contextlib.ExitStack) -> None:
        """Make a producer, which fences the one that had this place before."""
        self.producer = self.transactional_producer(log, held, f"transfer-{self.post.number}")

    def step(self) -> None:
        """Run one transaction; one that took too long, as while this process was stopped, is aborted."""
        with (
            contextlib.suppress(eventlog.TransactionTimeoutError),
            Transaction(self.producer, self.recorder, may_lose_power=self.post.may_lose_power) as transaction,
        ):
            self.send_some(transaction)
            if self.chance(_ABORTED):
                transaction.abort()
            else:
                transaction.commit(self.rng.randrange(1, 4))
        self.pause(self.rng.uniform(0, _LONGEST_PAUSE))

    def send_some(self, transaction: Transaction) -> None:
        """Send to several partitions."""
        places = self.rng.sample([*ORDERS.all(), *PAYMENTS.all()], self.rng.randrange(1, 4))
        for _ in range(self.rng.randrange(1, _MOST_SENDS)):
            transaction.send(self.rng.choice(places), self.new_name())
