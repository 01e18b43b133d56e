"""Defects of settling: what others make of a transaction whose process died."""

from __future__ import annotations

from typing import Any

from eventlog.coordination.transaction_coordinator import TransactionCoordinator
from eventlog.coordination.transaction_journal import TransactionJournal
from eventlog.format import layouts as L
from eventlog.storage.head import Head
from eventlog.storage.log_end import LogEnd
from eventlog.storage.partition_log import PartitionLog
from tests.mutations.commits import GOES_ON, LEAVES, RARE
from tests.mutations.patch import Patch, caught_by, nothing

ONE_SETTLED = "transactions/test_every_crash_point.py::test_who_has_settled_one_partition_dies_too"


@caught_by(f"{GOES_ON}[by_reading-os]", f"{GOES_ON}[by_asking_for_offsets-os]")
def pending_not_marked(patch: Patch) -> None:
    """Partitions are not marked as pending: nobody knows that there is something to settle."""

    def prepare(real: Any, head: Any, *arguments: Any) -> None:
        before = head.words.item(L.HEAD_WRITER)
        real(head, *arguments)
        head.words[L.HEAD_WRITER] = before

    patch.replace(Head, "prepare", prepare)


@caught_by(f"{GOES_ON}[by_reading-os]", f"{GOES_ON}[by_the_next_transaction-os]")
def settled_as_committed(patch: Patch) -> None:
    """Whoever finds a pending partition publishes it, without asking the journal."""

    def settle(real: Any, end: Any) -> None:
        end._log.head.publish_prepared(0)
        end._words[L.HEAD_WRITER] = L.WRITER_NONE

    patch.replace(LogEnd, "_settle", settle)


@caught_by(f"{GOES_ON}[by_reading-os]", f"{GOES_ON}[by_the_next_transaction-os]")
def settled_as_aborted(patch: Patch) -> None:
    """Whoever finds a pending partition clears it, without asking the journal."""

    def settle(real: Any, end: Any) -> None:
        end._words[L.HEAD_WRITER] = L.WRITER_NONE

    patch.replace(LogEnd, "_settle", settle)


@caught_by(ONE_SETTLED)
def abort_not_recorded(patch: Patch) -> None:
    """Who finds no outcome clears the partition, and does not note in the journal that there will never be one."""

    def is_committed(real: Any, journal: Any, transaction: int, since: int) -> bool:
        return bool(journal.outcome(transaction, since))

    patch.replace(TransactionJournal, "is_committed", is_committed)


@caught_by(f"{RARE}test_an_abort_is_on_the_device_before_what_it_clears_away")
def abort_not_synced(patch: Patch) -> None:
    """Who finds no outcome notes the abort, and clears the partition before the note is on the device."""

    def append(real: Any, journal: Any, outcome: Any, durability: str | None = None) -> Any:
        return real(journal, outcome, durability if outcome.is_committed else "os")

    patch.replace(TransactionJournal, "append", append)


@caught_by(f"{GOES_ON}[by_reading-os]")
def outcome_looked_for_too_late(patch: Patch) -> None:
    """The head names a place in the journal that lies behind the outcome."""

    def prepare(real: Any, head: Any, state: Any, transaction: int, journal_offset: int) -> None:
        real(head, state, transaction, journal_offset + 1)

    patch.replace(Head, "prepare", prepare)


@caught_by(f"{GOES_ON}[by_reading-os]", f"{GOES_ON}[by_polling-os]")
def readers_do_not_settle(patch: Patch) -> None:
    """Who only reads leaves a pending partition as it is, until somebody writes there."""

    def settle(real: Any, log: Any) -> bool:
        return False

    patch.replace(PartitionLog, "settle", settle)


@caught_by(f"{LEAVES}test_who_asks_for_offsets_waits_until_they_are_committed")
def offsets_not_waited_for(patch: Patch) -> None:
    """Who asks for a group's offsets does not wait for a commit that is under way, and takes over with old ones."""

    def settled_end_offset(real: Any, log: Any, patience: float = 0.0) -> int:
        return int(log.end_offset)

    patch.replace(PartitionLog, "settled_end_offset", settled_end_offset)


@caught_by(f"{LEAVES}test_who_only_reads_sees_what_the_next_producer_has_settled")
def next_producer_does_not_settle(patch: Patch) -> None:
    """A producer that begins leaves its predecessor's last transaction to whoever comes to the partitions."""
    patch.replace(TransactionCoordinator, "_settle", nothing)
