"""Defects of a commit: the order of its steps, and what reaches the device when."""

from __future__ import annotations

import contextlib
from typing import Any

from eventlog.coordination import transaction_commit
from eventlog.coordination.transaction_commit import TransactionCommit
from eventlog.coordination.transaction_coordinator import TransactionCoordinator
from eventlog.coordination.transaction_journal import TransactionJournal
from eventlog.errors import StorageError
from eventlog.format import layouts as L
from eventlog.model import AppendResult
from eventlog.producer.sequence_numbers import SequenceNumbers
from eventlog.producer.transaction import Transaction
from eventlog.producer.transaction_manager import TransactionManager
from eventlog.storage.head import Head
from eventlog.storage.prepared_append import PreparedAppend
from tests.mutations.patch import Patch, caught_by, nothing

KILLED = "transactions/test_every_crash_point.py::test_all_processes_are_killed"
GOES_ON = "transactions/test_every_crash_point.py::test_another_process_goes_on"
DURABLE = "transactions/test_every_crash_point.py::test_a_power_cut_behind_durable_transactions"
NOT_SYNCED = "transactions/test_every_crash_point.py::test_a_power_cut_behind_transactions_that_were_not_synced"
LEAVES = "transactions/test_what_a_commit_leaves.py::"
FENCING = "transactions/test_transaction_fencing.py::"
RARE = "transactions/test_rare_losses.py::"
OLD_BYTES = f"{RARE}test_bytes_of_an_aborted_transaction_that_come_back_count_for_none"


# --- the order of the steps ---


@caught_by(f"{KILLED}[os]", f"{GOES_ON}[by_reading-os]")
def outcome_before_records(patch: Patch) -> None:
    """The outcome is appended to the journal before the records are written."""

    def write(real: Any, commit: Any, describe: Any) -> None:
        for append in commit._appends:
            base, count = append._end._tail.end_offset, sum(batch.records for batch in append.batches)
            append.result = AppendResult(base, base + count - 1, 0, False)
        commit._journal.append(describe(commit.transaction))
        commit.is_committed = True
        for append in commit._appends:
            append.write(commit.transaction, commit.journal_offset)
        commit._publish(durable=False)

    patch.replace(TransactionCommit, "_write", write)


@caught_by(f"{GOES_ON}[by_reading-os]", f"{GOES_ON}[by_polling-os]")
def ends_before_outcome(patch: Patch) -> None:
    """The ends are published before the outcome is in the journal."""

    def write(real: Any, commit: Any, describe: Any) -> None:
        for append in commit._appends:
            append.write(commit.transaction, commit.journal_offset)
        commit._publish(durable=False)
        commit._journal.append(describe(commit.transaction))
        commit.is_committed = True

    patch.replace(TransactionCommit, "_write", write)


@caught_by(f"{GOES_ON}[by_reading-os]")
def each_end_with_its_records(patch: Patch) -> None:
    """Each partition is published as soon as its own records are written, as by plain appends."""

    def write(real: Any, append: Any, transaction: int, journal_offset: int) -> None:
        real(append, transaction, journal_offset)
        life = append.log.context.journal.life()
        append.publish(durable=False, journal_offset=journal_offset, journal_life=life)

    patch.replace(PreparedAppend, "write", write)


@caught_by(f"{LEAVES}test_who_waits_for_a_partition_holds_none_that_comes_later")
def locks_in_order_of_sends(patch: Patch) -> None:
    """Partitions are locked in the order in which they were sent to: two commits may wait for each other for ever."""

    def parts(real: Any, transaction: Any) -> Any:
        return list(transaction._parts.values())

    def with_offsets(real: Any, manager: Any, appends: Any) -> Any:
        _, cared = real(manager, appends)
        return [*appends, *(append for _, append in cared)], cared

    patch.replace(Transaction, "parts", parts)
    patch.replace(TransactionManager, "_with_offsets", with_offsets)


# --- the device ---


@caught_by(f"{DURABLE}[commit]")
def records_not_synced(patch: Patch) -> None:
    """With durability="disk" the outcome is written without a sync of the records before it."""

    class DurableJournal:
        def __init__(self, journal: Any) -> None:
            self.journal = journal

        def append(self, outcome: Any, durability: str) -> Any:
            return self.journal.append(outcome, "disk")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.journal, name)

    def write(real: Any, commit: Any, describe: Any) -> None:
        if commit._durable:
            commit._durable, commit._journal = False, DurableJournal(commit._journal)
        real(commit, describe)

    patch.replace(TransactionCommit, "_write", write)


@caught_by(f"{LEAVES}test_a_partition_that_failed_to_sync_refuses_writes")
def failed_sync_passed_over(patch: Patch) -> None:
    """A transaction is committed although the device has failed to sync some of its records."""

    def sync_all(real: Any, appends: Any) -> None:
        with contextlib.suppress(StorageError):
            real(appends)

    patch.replace(transaction_commit, "sync_all", sync_all)


@caught_by(f"{DURABLE}[commit]")
def outcome_not_synced(patch: Patch) -> None:
    """With durability="disk" the outcome itself is not synced."""

    def append(real: Any, journal: Any, outcome: Any, durability: str | None = None) -> Any:
        return real(journal, outcome, "os")

    patch.replace(TransactionJournal, "append", append)


@caught_by(
    "transactions/test_durable_inputs.py::test_the_inputs_of_a_durable_transaction_are_on_the_device_with_their_offsets"
)
def inputs_not_synced(patch: Patch) -> None:
    """A durable transaction commits offsets of records that are not on the device."""
    patch.replace(TransactionCoordinator, "sync_inputs", nothing)


@caught_by(f"{NOT_SYNCED}[flushes]")
def flush_leaves_the_journal(patch: Patch) -> None:
    """A flush syncs the records of transactions, and not their outcomes: recovery takes them for unfinished ones."""
    patch.replace(TransactionJournal, "sync", nothing)


@caught_by(f"{NOT_SYNCED}[flushes]")
def transactions_not_noted_in_the_head(patch: Patch) -> None:
    """A partition does not note that it has got records of a transaction, so that a flush would sync the journal."""

    def publish_prepared(real: Any, head: Any, journal_life: int) -> None:
        before = head.words.item(L.HEAD_TRANSACTION_END)
        real(head, journal_life)
        head.words[L.HEAD_TRANSACTION_END] = before

    patch.replace(Head, "publish_prepared", publish_prepared)


# --- commits that fail ---


@caught_by(f"{LEAVES}test_what_could_not_be_written_never_comes_back")
def nothing_taken_back(patch: Patch) -> None:
    """What a failed commit has written stays in the files."""
    patch.replace(PreparedAppend, "take_back", nothing)


@caught_by(f"{LEAVES}test_a_partition_that_failed_to_sync_refuses_writes")
def poison_taken_back(patch: Patch) -> None:
    """Taking back after a failed sync makes the partition writable again, as if its life had not failed."""

    def take_back(real: Any, append: Any) -> None:
        append.log.head.words[[L.HEAD_FAILED, L.HEAD_WRITER]] = 0, L.WRITER_NONE
        real(append)

    patch.replace(PreparedAppend, "take_back", take_back)


@caught_by(f"{LEAVES}test_a_journal_that_fails_to_sync_has_committed")
def doubt_is_taken_for_no(patch: Patch) -> None:
    """When the journal's append fails, the transaction counts as aborted, without a look into the journal."""

    def clear_up(real: Any, commit: Any) -> None:
        commit.is_committed = bool(commit.is_committed)
        real(commit)

    patch.replace(TransactionCommit, "_clear_up", clear_up)


@caught_by(f"{GOES_ON}_behind_failures[failed write]")
def writer_trusts_its_failed_attempt(patch: Patch) -> None:
    """After a failed commit the writer goes on where that one had ended, and does not look at the head again."""

    def take_back(real: Any, append: Any) -> None:
        real(append)
        if append._has_written:
            append._end._token = append._token
            append.log.head.words[L.HEAD_WRITER] = append._token

    patch.replace(PreparedAppend, "take_back", take_back)


@caught_by(OLD_BYTES, f"{FENCING}test_sequence_numbers_are_never_used_twice")
def sequence_numbers_used_again(patch: Patch) -> None:
    """What follows a failed commit has the same sequence numbers: its outcome may be taken for that of both."""

    def use_up(real: Any, numbers: Any, appends: Any) -> None:
        before = dict(numbers._next)
        real(numbers, appends)
        used_by_commit[numbers], numbers._next = numbers._next, before

    def finish(real: Any, manager: Any) -> None:
        manager._sequences._next = used_by_commit.get(manager._sequences, manager._sequences._next)
        real(manager)

    used_by_commit: dict[Any, Any] = {}
    patch.replace(SequenceNumbers, "use_up", use_up)
    patch.replace(TransactionManager, "_finish_committed", finish)


# --- what belongs to the transaction ---


@caught_by(f"{KILLED}[os]", f"{GOES_ON}[by_reading-os]")
def offsets_left_out(patch: Patch) -> None:
    """The group's offsets are not committed with the transaction."""

    def with_offsets(real: Any, manager: Any, appends: Any) -> Any:
        return list(appends), []

    patch.replace(TransactionManager, "_with_offsets", with_offsets)


@caught_by(f"{KILLED}[os]")
def offsets_not_in_the_outcome(patch: Patch) -> None:
    """The outcome names the records' partitions, and not that of the offsets: recovery cuts them off."""

    def outcome(real: Any, manager: Any, transaction: int, appends: Any) -> Any:
        return real(manager, transaction, [append for append in appends if not append.log.topic.startswith("__")])

    patch.replace(TransactionManager, "_outcome", outcome)


# --- what topics ask for ---


@caught_by(f"{LEAVES}test_a_topic_may_ask_for_the_device")
def topics_durability_ignored(patch: Patch) -> None:
    """A topic with durability="disk" does not make the transactions durable that it takes part in."""

    def is_durable(real: Any, manager: Any, appends: Any) -> bool:
        return bool(manager._config.durability == "disk")

    patch.replace(TransactionManager, "_is_durable", is_durable)


@caught_by(f"{LEAVES}test_a_topic_may_ask_for_the_device")
def topics_flushes_ignored(patch: Patch) -> None:
    """A commit does not look at flush_messages and flush_ms."""
    patch.replace(PreparedAppend, "flush_if_due", nothing)
