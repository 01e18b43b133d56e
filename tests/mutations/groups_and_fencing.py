"""Defects of what keeps others out: epochs, generations, locks; and of what a producer tells its callers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventlog.coordination.group_directory import GroupDirectory
from eventlog.coordination.transaction_offsets import TransactionOffsets
from eventlog.coordination.transactional_id import TransactionalId
from eventlog.producer.collected_records import TransactionLimits
from eventlog.producer.delivery import Outcome
from eventlog.producer.transaction import Transaction
from eventlog.producer.transaction_manager import State, TransactionManager
from tests.mutations.commits import FENCING, LEAVES
from tests.mutations.patch import Patch, caught_by, nothing

OFFSETS = "transactions/test_transaction_offsets.py::"
STATES = "transactions/test_transaction_states.py::"


@caught_by(f"{FENCING}test_who_was_fenced_can_do_nothing_more", f"{FENCING}test_fenced_by_another_process")
def epoch_ignored(patch: Patch) -> None:
    """A producer does not look whether another one has taken its id over."""
    patch.replace(TransactionalId, "refuse_fenced", nothing)


@caught_by(f"{FENCING}test_who_was_fenced_can_do_nothing_more", f"{FENCING}test_the_epoch_rises_in_the_batches")
def epoch_not_raised(patch: Patch) -> None:
    """A producer that begins goes on with the epoch of the one before."""

    def following(real: Any, files: Any, known: tuple[int, int] | None) -> tuple[int, int]:
        return known or real(files, known)

    patch.replace(TransactionalId, "_next", following)


@caught_by(f"{LEAVES}test_nobody_takes_an_id_over_in_the_middle_of_a_commit")
def id_not_locked(patch: Patch) -> None:
    """A producer may take the id over in the middle of a commit, which then goes on behind its back."""

    def while_locked(real: Any, files: Any, call: Callable[[], Any], patience: float) -> Any:
        return call()

    patch.replace(TransactionalId, "while_locked", while_locked)


@caught_by(f"{OFFSETS}test_a_stale_generation_is_refused", f"{OFFSETS}test_a_member_that_was_removed_is_refused")
def generation_ignored(patch: Patch) -> None:
    """Offsets are committed for a member that the group has gone on without."""
    patch.replace(TransactionOffsets, "_refuse_stale", nothing)


@caught_by(f"{OFFSETS}test_a_member_that_was_removed_is_refused")
def group_state_remembered(patch: Patch) -> None:
    """A producer that has looked at a group's state once never looks again."""

    def state(real: Any, offsets: Any, group: str) -> Any:
        return offsets._files(group)[2] or real(offsets, group)

    patch.replace(TransactionOffsets, "_state", state)


@caught_by(f"{OFFSETS}test_a_group_with_members_refuses_strangers")
def strangers_welcome(patch: Patch) -> None:
    """Offsets are committed for who is no member, although the group has members."""
    patch.replace(GroupDirectory, "refuse_members", nothing)


@caught_by(f"{LEAVES}test_a_group_stands_still_while_its_offsets_are_committed")
def group_not_locked(patch: Patch) -> None:
    """The group may go on in the middle of a commit of its offsets."""
    patch.replace(GroupDirectory, "acquire_to_commit", nothing)


@caught_by(f"{OFFSETS}test_a_refused_commit_keeps_no_lock")
def group_kept_locked(patch: Patch) -> None:
    """The group's lock stays held behind a commit."""
    patch.replace(TransactionOffsets, "let_go", nothing)


@caught_by(f"{STATES}test_a_delivery_after_an_abort", f"{STATES}test_an_error_aborts_the_block")
def aborted_deliveries_succeed(patch: Patch) -> None:
    """The deliveries of an aborted transaction tell offsets, as if their records were there."""

    def failed(real: Any, transaction: Any, error: Any) -> None:
        transaction._settle(transaction.parts, lambda part, _: Outcome(part.partition.topic, part.partition.number, 0))

    patch.replace(Transaction, "failed", failed)


@caught_by(f"{STATES}test_a_transaction_may_not_be_open_for_too_long")
def open_for_ever(patch: Patch) -> None:
    """A transaction may be committed long after transaction_timeout_ms."""

    def refuse_unless_current(real: Any, manager: Any) -> None:
        manager._refuse_unless(State.OPEN)

    patch.replace(TransactionManager, "_refuse_unless_current", refuse_unless_current)


@caught_by("transactions/test_transaction_records.py::test_the_buffer_is_limited")
def memory_without_limit(patch: Patch) -> None:
    """An open transaction takes more than buffer_memory."""
    patch.replace(TransactionLimits, "reserve", nothing)
