"""Defects of the lives of a log: what a failed sync, and the recovery after it, are to the others."""

from __future__ import annotations

from typing import Any

from eventlog.errors import StorageError
from eventlog.format import layouts as L
from eventlog.storage.flusher import Flusher
from eventlog.storage.head import Head
from eventlog.storage.outcomes import Outcomes
from eventlog.storage.writer_lives import WriterLives
from tests.mutations.patch import Patch, caught_by, nothing

LIVES = "crash/test_lives.py::"
FAILED = "crash/test_failed_sync.py::"
ONE_OFFSET = f"{LIVES}test_no_two_processes_have_a_durable_acknowledgement_for_one_offset"
LOST_OUTCOMES = "transactions/test_lost_outcomes.py::test_what_is_durable_stands_behind_no_outcome_that_is_lost"


@caught_by(f"{FAILED}test_failed_sync", f"{FAILED}test_a_failed_sync_is_known_to_other_processes")
def failed_sync_not_noted(patch: Patch) -> None:
    """A failed sync is told to its caller, and to nobody else."""
    patch.replace(Head, "note_failure", nothing)


@caught_by(ONE_OFFSET)
def recovery_goes_on_with_the_failed_life(patch: Patch) -> None:
    """A recovery in the same session begins no new life: the failed sync counts for what it has verified."""

    def next_life(real: Any, head: Any, session: int) -> int:
        return head.life if head.session == session else int(real(head, session))

    patch.replace(Head, "next_life", next_life)


@caught_by(ONE_OFFSET)
def durable_in_any_life(patch: Patch) -> None:
    """Who waits when a life ends goes on waiting in the next one, and is told of the records that others put there."""

    def sync_to(real: Any, flusher: Any, end_offset: int, life: int) -> None:
        head = flusher._log.head
        while True:
            life = head.life
            try:
                return real(flusher, end_offset, life)  # type: ignore[no-any-return]
            except StorageError:
                if head.life == life:
                    raise

    patch.replace(Flusher, "sync_to", sync_to)


@caught_by(f"{LIVES}test_a_flush_does_not_call_durable_what_is_gone")
def flush_knows_no_earlier_life(patch: Patch) -> None:
    """A flush says nothing of records that have gone with a life that is over."""
    patch.replace(WriterLives, "refuse_lost", nothing)


@caught_by(f"{LIVES}test_a_flush_after_an_append_in_the_next_life_still_tells_of_the_last_one")
def next_append_forgets_the_last_life(patch: Patch) -> None:
    """Who appends in the next life does not look what has gone with the last one."""

    def enter(real: Any, lives: Any, end_offset: int) -> int:
        lives._life = 0
        return int(real(lives, end_offset))

    patch.replace(WriterLives, "enter", enter)


@caught_by(f"{LIVES}test_what_was_flushed_before_a_recovery_is_not_in_doubt_after_it")
def flushed_records_in_doubt(patch: Patch) -> None:
    """Records that were flushed before a recovery are told as lost after it."""

    def was_durable(real: Any, head: Any, life: int, end_offset: int) -> bool:
        return head.life == life and bool(real(head, life, end_offset))

    patch.replace(Head, "was_durable", was_durable)
    patch.replace(WriterLives, "flushed", nothing)


@caught_by(LOST_OUTCOMES)
def lost_outcomes_not_written_again(patch: Patch) -> None:
    """Whoever makes something durable does not ask whether a recovery of the journal has lost outcomes before it."""

    def write_lost(real: Any, outcomes: Any, *, is_held: bool) -> int:
        return int(outcomes._log.context.journal.life())

    patch.replace(Outcomes, "write_lost", write_lost)


@caught_by(f"{LOST_OUTCOMES}[transaction, flush]")
def outcomes_taken_for_those_of_the_present_life(patch: Patch) -> None:
    """The head says that all outcomes were written in the journal's present life, as the last one was."""

    def publish_prepared(real: Any, head: Any, journal_life: int) -> None:
        real(head, journal_life)
        head.words[L.HEAD_OUTCOMES] = journal_life

    patch.replace(Head, "publish_prepared", publish_prepared)
