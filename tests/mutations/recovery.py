"""Defects of recovery: which transactions a log has that was opened again."""

from __future__ import annotations

from typing import Any

from eventlog.coordination.committed_parts import CommittedParts
from eventlog.coordination.transaction_journal import TransactionJournal
from eventlog.format import layouts as L
from eventlog.storage.flusher import Flusher
from eventlog.storage.head import Head
from eventlog.storage.recovery import _Recovery
from tests.mutations.commits import DURABLE, KILLED, LEAVES, OLD_BYTES, RARE
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
        return int(flusher._log.context.journal.end_offset()) + 1

    patch.replace(Flusher, "journal_offset", journal_offset)


@caught_by(f"{RARE}test_two_power_cuts_do_not_hide_an_outcome")
def place_in_the_journal_that_may_be_lost(patch: Patch) -> None:
    """The recovery point names a place in the journal that is not on the device, and may be given out anew."""

    def durable_end_offset(real: Any, journal: Any) -> int:
        return int(journal.end_offset())

    patch.replace(TransactionJournal, "durable_end_offset", durable_end_offset)


@caught_by(f"{RARE}test_a_commit_in_the_middle_of_a_flush_loses_nothing")
def flush_looks_at_the_mark_too_early(patch: Patch) -> None:
    """A flush looks whether a transaction is pending before it asks where the journal ends."""

    def journal_offset(real: Any, flusher: Any) -> int:
        head = flusher._log.head
        is_pending = head.is_pending()
        offset = int(flusher._log.context.journal.durable_end_offset())
        return min(offset, head.words.item(L.HEAD_JOURNAL)) if is_pending else offset

    patch.replace(Flusher, "journal_offset", journal_offset)


@caught_by(f"{DURABLE}[commit]")
def durable_publish_names_too_late_a_place(patch: Patch) -> None:
    """A durable commit's recovery point names a place in the journal that it was not asked for."""

    def set_recovery_point(real: Any, head: Any, state: Any, journal_offset: int = 0, life: int | None = None) -> None:
        real(head, state, journal_offset and journal_offset + 2, life)

    patch.replace(Head, "set_recovery_point", set_recovery_point)


@caught_by(OLD_BYTES)
def outcomes_hold_for_any_sequence(patch: Patch) -> None:
    """A batch counts as committed if its producer committed something at these offsets, whatever its sequence is."""

    def holds(real: Any, parts: Any, batch: Any) -> bool:
        return any(
            part.base_offset <= batch.base_offset and batch.last_offset < part.end_offset
            for part in parts._parts.get((batch.producer_id, batch.producer_epoch), [])
        )

    patch.replace(CommittedParts, "holds", holds)


@caught_by(f"{OLD_BYTES}[True]")
def outcomes_hold_for_any_epoch(patch: Patch) -> None:
    """A batch counts as committed if any producer with its id, fenced or not, committed at its offsets and sequence."""

    def holds(real: Any, parts: Any, batch: Any) -> bool:
        before = parts._parts
        same_id = [part for (found, _), own in before.items() if found == batch.producer_id for part in own]
        same_id.sort(key=lambda part: part.base_offset)
        parts._parts = {(batch.producer_id, batch.producer_epoch): same_id}
        try:
            return bool(real(parts, batch))
        finally:
            parts._parts = before

    patch.replace(CommittedParts, "holds", holds)


@caught_by(f"{RARE}test_a_flush_in_the_middle_of_a_commit_loses_nothing")
def flush_overlooks_what_is_pending(patch: Patch) -> None:
    """A flush in the middle of a commit notes a place in the journal behind that transaction's outcome."""

    def journal_offset(real: Any, flusher: Any) -> int:
        return int(flusher._log.context.journal.end_offset())

    patch.replace(Flusher, "journal_offset", journal_offset)


@caught_by(f"{RARE}test_a_journal_that_is_lost_begins_anew")
def lost_place_in_the_journal_kept(patch: Patch) -> None:
    """When the journal is lost, recovery points still name places that it had."""
    recovering = []

    def finished_head(real: Any, recovery: Any, *arguments: Any) -> Any:
        recovering.append(recovery)
        try:
            return real(recovery, *arguments)
        finally:
            recovering.pop()

    def end_offset(real: Any, journal: Any) -> int:
        return 2**40 if recovering else int(real(journal))

    patch.replace(_Recovery, "_finished_head", finished_head)
    patch.replace(TransactionJournal, "end_offset", end_offset)
