"""Defects of recovery: which transactions a log has that was opened again."""

from __future__ import annotations

from typing import Any

from eventlog.coordination.committed_parts import CommittedParts
from eventlog.coordination.transaction_journal import TransactionJournal
from eventlog.storage.flusher import Flusher
from eventlog.storage.head import Head
from tests.mutations.commits import DURABLE, KILLED, LEAVES, OLD_BYTES
from tests.mutations.patch import Patch, caught_by


@caught_by(f"{KILLED}[os]", f"{DURABLE}[commit]")
def everything_was_committed(patch: Patch) -> None:
    """Recovery takes each whole batch behind the recovery point for one that was committed."""
    patch.replace(TransactionJournal, "committed_batches", lambda *_: lambda batch: True)


@caught_by(f"{KILLED}[os]", f"{KILLED}[flushes]")
def nothing_was_committed(patch: Patch) -> None:
    """Recovery ends the log before the first transaction behind the recovery point."""
    patch.replace(TransactionJournal, "committed_batches", lambda *_: lambda batch: False)


@caught_by(f"{LEAVES}test_what_was_committed_stays_without_the_journal")
def nothing_was_committed_without_a_journal(patch: Patch) -> None:
    """A lost journal takes with it what was committed."""

    def committed_batches(real: Any, journal: Any, *arguments: Any) -> Any:
        return real(journal, *arguments) if journal.partition() is not None else lambda batch: False

    patch.replace(TransactionJournal, "committed_batches", committed_batches)


@caught_by(f"{KILLED}[os]", f"{KILLED}[flushes]")
def recovery_asks_too_late_a_place(patch: Patch) -> None:
    """The recovery point names a place in the journal behind the next outcome."""

    def journal_offset(real: Any, flusher: Any) -> int:
        return int(real(flusher)) + 1

    patch.replace(Flusher, "journal_offset", journal_offset)


@caught_by(f"{DURABLE}[commit]")
def durable_publish_names_too_late_a_place(patch: Patch) -> None:
    """A durable commit's recovery point names a place in the journal that it was not asked for."""

    def set_recovery_point(real: Any, head: Any, state: Any, journal_offset: int = 0) -> None:
        real(head, state, journal_offset and journal_offset + 2)

    patch.replace(Head, "set_recovery_point", set_recovery_point)


@caught_by(f"{LEAVES}{OLD_BYTES}")
def outcomes_hold_for_any_sequence(patch: Patch) -> None:
    """A batch counts as committed if its producer committed something at these offsets, whatever its sequence is."""

    def holds(real: Any, parts: Any, batch: Any) -> bool:
        return any(
            part.base_offset <= batch.base_offset and batch.last_offset < part.end_offset
            for part in parts._parts.get((batch.producer_id, batch.producer_epoch), [])
        )

    patch.replace(CommittedParts, "holds", holds)
