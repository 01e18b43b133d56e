"""What can be said of a transactional id at one moment: its producer, and what that is doing."""

from __future__ import annotations

import attrs

from eventlog.model import TopicPartition

PENDING = ("Ongoing", "PrepareCommit")


@attrs.frozen
class TransactionDescription:
    """A transactional id at one moment. Made by `EventLog.transactions`; the states have Kafka's names.

    ``state`` is one of

    - ``"Empty"``: its producer has begun no transaction yet,
    - ``"Ongoing"``: a transaction is open, whose records wait in the producer's memory; nobody waits for it,
    - ``"PrepareCommit"``: a transaction is being committed,
    - ``"CompleteCommit"``, ``"CompleteAbort"``: what became of the last transaction. That of a producer that died
      before the commit point is aborted: nobody will ever see any of it.

    ``is_alive`` tells whether a process holds the id: its producer, or one that this has fenced and that was not closed
    yet. ``pid`` is that of the process that had the id last. Times are in milliseconds since the epoch: ``started_ms``
    of the transaction that is open, or was last; ``changed_ms`` of the last change of the state. Each is None when it
    is not known. ``partitions`` are those that the last transaction wrote to, committed offsets included; empty while
    it is open, and when it was aborted.
    """

    transactional_id: str
    state: str
    producer_id: int = -1
    producer_epoch: int = -1
    is_alive: bool = False
    pid: int | None = None
    started_ms: int | None = None
    changed_ms: int | None = None
    timeout_ms: int | None = None
    partitions: tuple[TopicPartition, ...] = ()

    @property
    def is_pending(self) -> bool:
        """Tell whether a transaction is open, or being committed."""
        return self.state in PENDING
