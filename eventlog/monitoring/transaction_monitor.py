"""Looks at transactions, without a lock and without changing a byte."""

from __future__ import annotations

import sys
from itertools import islice

from eventlog.coordination.transaction_journal import TransactionJournal
from eventlog.coordination.transaction_records import TransactionOutcome
from eventlog.coordination.transactional_id import TransactionalId, transactional_ids
from eventlog.errors import CorruptMetadataError, InvalidConfigError
from eventlog.files.filesystem import translated
from eventlog.files.notify import Words
from eventlog.format import layouts as L
from eventlog.model import TopicPartition
from eventlog.monitoring.transaction_description import TransactionDescription
from eventlog.quantities import whole
from eventlog.storage.context import LogContext
from eventlog.texts import shown

_LOOKS = 20  # at an id whose producers come and go; the last one is taken as it is
_STATES = {
    L.STATUS_EMPTY: "Empty", L.STATUS_ONGOING: "Ongoing", L.STATUS_PREPARE_COMMIT: "PrepareCommit",
    L.STATUS_COMMITTED: "CompleteCommit", L.STATUS_ABORTED: "CompleteAbort",
}  # fmt: skip


class TransactionMonitor:
    """The transactions of one log, as `EventLog` shows them."""

    def __init__(self, context: LogContext, root: str, journal: TransactionJournal) -> None:
        self._context = context
        self._root = root
        self._journal = journal

    def describe_all(self) -> list[TransactionDescription]:
        """Return what can be said of each transactional id now, sorted by id."""
        with translated(self._root):
            return [found for name in self.ids() if (found := self._describe(name)) is not None]

    def ids(self) -> list[str]:
        """Return all transactional ids that were ever used, sorted."""
        return transactional_ids(self._context.fs, self._root)

    def files(self, name: str) -> TransactionalId:
        """Return the files of an id, to be looked at."""
        return TransactionalId(self._context, self._root, name)

    def recent(self, count: int) -> list[TransactionOutcome]:
        """Return the last outcomes of the journal, newest last. Reads no more of it than that."""
        wanted = whole(count)
        if wanted is None or wanted < 0:
            raise InvalidConfigError(
                f"{shown(count)} transactions are not possible", hint="give a whole number from 0 on"
            )
        since = max(0, self._journal.end_offset() - wanted)
        return [outcome for _, outcome in islice(self._journal.outcomes(since), min(wanted, sys.maxsize))]

    # --- one id ---

    def _describe(self, name: str) -> TransactionDescription | None:
        known = self.files(name)
        words, alive = self._look(known)
        if words is None:
            return self._without_page(known, alive)
        status = words.item(L.TX_STATUS)
        started_ms = words.item(L.TX_STARTED) if status != L.STATUS_EMPTY else None
        last = None
        if status in (L.STATUS_PREPARE_COMMIT, L.STATUS_COMMITTED):
            last = self._commit(name, words.item(L.TX_JOURNAL), started_ms or 0)
        return TransactionDescription(
            name, _state(status, last, alive=alive), words.item(L.TX_PRODUCER_ID), words.item(L.TX_EPOCH), alive,
            words.item(L.TX_PROCESS), started_ms, words.item(L.TX_CHANGED), words.item(L.TX_TIMEOUT),
            () if last is None else tuple(TopicPartition(part.topic, part.partition) for part in last.parts),
        )  # fmt: skip

    def _look(self, known: TransactionalId) -> tuple[Words | None, bool]:
        """Return a copy of the control page's words, and whether the producer lived that they tell of."""
        words = _copy(known.words())
        for _ in range(_LOOKS):
            alive = known.is_alive()
            before, words = words, _copy(known.words())
            if alive or before is None or (words is not None and (words == before).all()):
                break
        return words, alive

    def _without_page(self, known: TransactionalId, alive: bool) -> TransactionDescription | None:
        """Return what is left to say; None for an id that a producer was about to take for the first time."""
        try:
            numbers = known.read()
        except CorruptMetadataError:
            numbers = -1, -1
        if numbers is None:
            return None
        return TransactionDescription(known.transactional_id, "Empty", *numbers, alive)

    def _commit(self, name: str, since: int, started_ms: int) -> TransactionOutcome | None:
        """Return the outcome of the transaction that began then, if it has one: the first of the id from there on."""
        of_this = (found for _, found in self._journal.outcomes(since) if found.transactional_id == name)
        first = next(of_this, None)
        return first if first is not None and first.started_ms == started_ms else None  # none: it wrote nothing


def _copy(words: Words | None) -> Words | None:
    return None if words is None else words[: L.TX_JOURNAL + 1].copy()


def _state(status: int, last: TransactionOutcome | None, *, alive: bool) -> str:
    """Return the name of the state; of a producer that died in the middle, the state that follows from that."""
    if not alive and status in (L.STATUS_ONGOING, L.STATUS_PREPARE_COMMIT):
        status = L.STATUS_COMMITTED if last is not None and last.is_committed else L.STATUS_ABORTED
    return _STATES.get(status, "Empty")
