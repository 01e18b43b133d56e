"""Commits a transaction: all of its records, in all partitions and with all committed offsets, or none.

Step by step (each partition's part is told in ``storage/prepared_append.py``):

1. Hold all partitions, in the order of their names.
2. Write all batches behind the published ends; mark each partition as pending. A crash up to here leaves nothing that
   anyone reads: whoever comes to one of these partitions next finds no outcome, notes that the transaction was aborted,
   and clears the bytes away.
3. With ``durability="disk"``, bring them to the device, all at once.
4. Append the outcome to the journal: **the commit point**. With ``durability="disk"`` it is on the device before the
   next step. After a crash from here on each part is published by whoever comes to it next.
5. Publish all ends, one after the other, and let go. In between, for microseconds, a reader of several partitions may
   see one part and not yet another; it never sees half of a part. The same holds while someone publishes a part that a
   dead process left: others who look at that very moment see what was there before.

Whoever is interrupted, or cannot write, comes to the same answer as everybody else: the journal's.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence

from eventlog.coordination.transaction_journal import TransactionJournal
from eventlog.coordination.transaction_records import TransactionOutcome
from eventlog.errors import EventLogError, UnknownTopicError
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.storage.prepared_append import PreparedAppend, sync_all

Describe = Callable[[int], TransactionOutcome]

logger = logging.getLogger("eventlog")


class TransactionCommit:
    """One attempt to commit. ``is_committed`` tells what became of it; None: that is not known here.

    ``is_durable`` tells whether it is known to be on the device, outcome included.
    """

    def __init__(self, journal: TransactionJournal, appends: Sequence[PreparedAppend], *, durable: bool) -> None:
        """``appends`` are in the order of the partitions' names, one each."""
        self.is_committed: bool | None = False
        self.is_durable = False
        self.transaction = secrets.randbits(63)
        self._journal = journal
        self._appends = appends
        self.journal_life = journal.life()  # the outcome will be written in it, or in a later one
        self.journal_offset = journal.end_offset()  # the outcome will stand there, or behind
        self._durable = durable

    def run(self, describe: Callable[[int], TransactionOutcome]) -> None:
        """Commit; ``describe`` returns the outcome to write, given the transaction's id. Raises as an append does.

        Behind an error or an interrupt, ``is_committed`` tells whether the records exist all the same.
        """
        self._with_locks(lambda: self._hold_and_write(describe))
        self.make_durable()
        for append in self._appends:
            append.wake()

    def _with_locks(self, work: Callable[[], None]) -> None:
        """Do what takes the partitions' locks, and free them."""
        try:
            try:
                work()
            finally:
                self._let_go()
        finally:
            self._let_go()  # once more: an interrupt may have come before the first

    def _hold_and_write(self, describe: Describe) -> None:
        self._journal.refuse_poisoned()  # or else nobody could settle what is written now
        for append in self._appends:
            append.hold()
        self._write(describe)

    def _write(self, describe: Describe) -> None:
        try:
            for append in self._appends:
                append.write(self.transaction, self.journal_offset)
            if self._durable:
                sync_all(self._appends)
            outcome = describe(self.transaction)
            self.is_committed = None  # from here on the journal alone knows
            self._journal.append(outcome, "disk" if self._durable else "os")
            self.is_committed = True
            # In another life of the journal, outcomes of earlier transactions may be missing: see `Outcomes`.
            self.is_durable = self._durable and self._journal.life() == self.journal_life
        except BaseException:
            self._clear_up()
            raise
        self._publish(durable=self.is_durable)

    def _clear_up(self) -> None:
        """Find out what became of it, and do what follows from that, while the partitions are held."""
        if self.is_committed is None:
            try:
                self.is_committed = self._journal.is_committed(self.transaction, self.journal_offset)
            except (EventLogError, OSError) as error:  # whoever comes to the partitions next tries again
                pass_on_handlers(error)
                logger.warning("transaction %x is to be settled later: %s", self.transaction, error)
                return
        if self.is_committed:
            self._publish(durable=False)
        else:
            for append in self._appends:
                append.take_back()

    def _publish(self, *, durable: bool) -> None:
        for append in self._appends:
            append.publish(durable=durable, journal_offset=self.journal_offset, journal_life=self.journal_life)

    def _let_go(self) -> None:
        for append in reversed(self._appends):
            append.let_go()

    def resolve(self) -> bool:
        """Tell whether it was committed; if nobody knows yet, it was not. Raises what an append does."""
        if self.is_committed is None:
            self.is_committed = self._journal.is_committed(self.transaction, self.journal_offset)
        return self.is_committed

    def make_durable(self) -> None:
        """Do for a transaction that was committed in spite of an error what ``durability="disk"`` asks for.

        Raises StorageError when the device has failed.
        """
        if not self._durable or self.is_durable:
            return
        self._with_locks(self._publish_pending)
        for append in self._appends:
            with contextlib.suppress(UnknownTopicError):
                append.sync()
        self.is_durable = True

    def _publish_pending(self) -> None:
        """Take the locks, which settles what is still pending; of a topic that was deleted meanwhile, nothing is."""
        for append in self._appends:
            with contextlib.suppress(UnknownTopicError):
                append.hold()
