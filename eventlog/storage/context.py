"""What all partitions of one open log share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import attrs

from eventlog.clock import Clock
from eventlog.files.file_lock import DEFAULT_LOCK_TIMEOUT
from eventlog.files.filesystem import FileSystem
from eventlog.format.record_batch import RecordBatch
from eventlog.storage.log_root import NoRoot
from eventlog.storage.open_files import OpenFiles
from eventlog.storage.sync_slots import NoSlots, SyncSlots


class Journal(Protocol):
    """Where it is written which transactions were committed. It is a log of its own, which has no transactions."""

    topic: str  # the name of the topic that it is

    def end_offset(self) -> int:
        """Return where the next outcome will stand; 0 while there is no journal."""
        ...

    def durable_end_offset(self) -> int:
        """Return the offset before which all outcomes are on the device; 0 while there is no journal."""
        ...

    def is_committed(self, transaction: int, since: int) -> bool:
        """Tell the outcome, which stands at ``since`` or later. If there is none yet, it is aborted now, for good.

        Only for who holds the lock of one of the transaction's partitions: then nobody else is committing it.
        """
        ...

    def committed_batches(self, topic_id: str, partition: int, since: int) -> Callable[[RecordBatch], bool]:
        """Return what tells, for recovery, which batches are of transactions committed at ``since`` or later.

        All are when the journal is lost: nothing that was acknowledged may go with it.
        """
        ...

    def life(self) -> int:
        """Return the journal's life (``storage/head.py``); 0 while there is no journal."""
        ...

    def write_again(self, topic: str, topic_id: str, partition: int, batches: Iterable[RecordBatch]) -> None:
        """Write once more that the transactions of these batches were committed."""
        ...

    def sync(self, life: int) -> None:
        """Bring all outcomes that were written in this life of the journal to the device."""
        ...


class NoJournal:
    """The journal of partitions that have no transactions."""

    topic = ""

    def end_offset(self) -> int:
        """Return 0."""
        return 0

    def durable_end_offset(self) -> int:
        """Return 0."""
        return 0

    def is_committed(self, transaction: int, since: int) -> bool:
        """Return False."""
        return False

    def committed_batches(self, topic_id: str, partition: int, since: int) -> Callable[[RecordBatch], bool]:
        """Return what is always true."""
        return lambda _: True

    def life(self) -> int:
        """Return 0."""
        return 0

    def write_again(self, topic: str, topic_id: str, partition: int, batches: Iterable[RecordBatch]) -> None:
        """Do nothing."""

    def sync(self, life: int) -> None:
        """Do nothing."""


@attrs.define
class LogContext:
    """``session`` is the number under which this machine's processes trust each other's heads: 0 for none.

    A process that may only read a log that nobody else has open trusts no head, and looks for itself. Once ``closed``,
    no partition may be opened: the session may be over, and its number stands for nothing any more.
    """

    fs: FileSystem
    clock: Clock
    open_files: OpenFiles
    session: int
    readonly: bool = False
    look_for_session: Callable[[], int] = int  # for who may only read: the number, if writers are there by now
    latest_session: Callable[[], int] = int  # the same, without a look whether they are
    closed: bool = False
    journal: Journal = attrs.Factory(NoJournal)
    root: NoRoot = attrs.Factory(NoRoot)
    lock_timeout: float = DEFAULT_LOCK_TIMEOUT  # seconds to wait for a lock that another process holds
    slots: SyncSlots = attrs.Factory(NoSlots)

    def seen_by(self, topic: str) -> LogContext:
        """Return what a topic's partitions are given: those of the journal ask nobody, least of all themselves."""
        return attrs.evolve(self, journal=NoJournal()) if topic == self.journal.topic else self
