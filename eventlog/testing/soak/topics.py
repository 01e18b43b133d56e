"""The topics and groups of the workload, known to the workers and to whoever checks them."""

from __future__ import annotations

import attrs

from eventlog.model import TopicPartition


@attrs.frozen
class SoakTopic:
    """A topic of the workload."""

    name: str
    partitions: int

    def all(self) -> list[TopicPartition]:
        """Return its partitions."""
        return [TopicPartition(self.name, number) for number in range(self.partitions)]


ORDERS = SoakTopic("orders", 3)  # written by plain and transactional producers
PAYMENTS = SoakTopic("payments", 2)  # likewise
CHAIN = (SoakTopic("a", 2), SoakTopic("b", 2), SoakTopic("c", 2))  # each read, processed and written into the next
TOPICS = (ORDERS, PAYMENTS, *CHAIN)
SEGMENT_BYTES = 16 * 1024  # so that segments roll every few hundred records

READERS = "readers"  # the group that reads orders and payments
GROUPS = {"stage-1": (CHAIN[0],), "stage-2": (CHAIN[1],), READERS: (ORDERS, PAYMENTS)}  # writers before their readers
