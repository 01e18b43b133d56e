"""Defects of idempotent producers: repeated batches, gaps, snapshots, retries."""

from __future__ import annotations

from typing import Any

import crc32c

from eventlog.errors import OutOfOrderSequenceError, ProducerFencedError
from eventlog.producer.attempt import Attempt
from eventlog.producer.in_flight import InFlight
from eventlog.producer.record_buffer import RecordBuffer
from eventlog.storage import producer_snapshot
from eventlog.storage.producer_sequences import ProducerSequences
from eventlog.storage.producer_state import ProducerTable
from tests.mutations.patch import Patch, caught_by, nothing

SEQUENCES = "storage/test_producer_sequences.py::"
STATE = "storage/test_producer_state.py::"
RETRIES = "producer/test_idempotence.py::"


@caught_by(f"{SEQUENCES}test_a_repeated_batch_is_acknowledged_where_it_lies")
def repeated_batches_written_again(patch: Patch) -> None:
    """Batches that the partition has already are written once more."""

    def find(real: Any, table: Any, stamp: Any, count: int) -> int | None:
        real(table, stamp, count)
        return None

    patch.replace(ProducerTable, "find", find)


@caught_by(
    f"{SEQUENCES}test_gaps_and_old_epochs_write_nothing", "storage/test_producer_state.py::test_a_gap_is_out_of_order"
)
def gaps_accepted(patch: Patch) -> None:
    """Records are written although some before them are missing."""

    def find(real: Any, table: Any, stamp: Any, count: int) -> int | None:
        try:
            return real(table, stamp, count)  # type: ignore[no-any-return]
        except OutOfOrderSequenceError:
            return None

    patch.replace(ProducerTable, "find", find)


@caught_by(f"{SEQUENCES}test_gaps_and_old_epochs_write_nothing", f"{STATE}test_epochs")
def old_epochs_accepted(patch: Patch) -> None:
    """Records of an epoch that is over are written."""

    def find(real: Any, table: Any, stamp: Any, count: int) -> int | None:
        try:
            return real(table, stamp, count)  # type: ignore[no-any-return]
        except ProducerFencedError:
            return None

    patch.replace(ProducerTable, "find", find)


@caught_by("storage/test_producer_snapshot.py::test_every_damaged_byte_is_noticed")
def damaged_snapshots_believed(patch: Patch) -> None:
    """A snapshot of the producers counts although its checksum does not fit."""

    class AnyChecksum(int):
        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = int.__hash__

    class AnyCrc:
        @staticmethod
        def crc32c(data: bytes) -> int:
            patch.was_called = True
            return AnyChecksum(crc32c.crc32c(data))

    producer_snapshot.crc32c = AnyCrc()  # type: ignore[assignment]


@caught_by(f"{SEQUENCES}test_a_snapshot_of_records_that_are_gone_does_not_count")
def snapshots_of_other_records_believed(patch: Patch) -> None:
    """A snapshot counts although the batch before it is another one than when it was written."""

    class AnyBatch(producer_snapshot.LastBatch):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    def last_before(real: Any, sequences: Any, offset: int) -> Any:
        return AnyBatch(*real(sequences, offset))

    patch.replace(ProducerSequences, "_last_before", last_before)


@caught_by(f"{SEQUENCES}test_another_process_knows_what_this_one_wrote")
def others_appends_ignored(patch: Patch) -> None:
    """What other processes have written of a producer is not learnt."""

    def learn(real: Any, sequences: Any, end_offset: int) -> None:
        if sequences._complete_until is None:
            real(sequences, end_offset)

    patch.replace(ProducerSequences, "_learn", learn)


@caught_by(f"{RETRIES}test_what_was_written_and_could_not_be_synced_yet_is_not_written_again")
def retries_with_new_numbers(patch: Patch) -> None:
    """What is tried again gets other sequence numbers than at first: nobody knows it again."""

    def postpone(real: Any, attempt: Any, error: Any, policy: Any) -> bool:
        if attempt.stamp is not None:
            attempt.stamp = stamp = attempt.stamp.after(attempt.count)
            again = []
            for batch in attempt.batches:
                again.append(batch.stamped(stamp))
                stamp = stamp.after(batch.records)
            attempt.batches = again
        return bool(real(attempt, error, policy))

    patch.replace(Attempt, "postpone", postpone)


@caught_by(f"{RETRIES}test_what_failed_is_tried_again")
def failures_are_final(patch: Patch) -> None:
    """A write that may succeed later is not tried again."""

    def is_postponed(real: Any, buffer: Any, attempt: Any, error: Any) -> bool:
        return False

    patch.replace(InFlight, "_is_postponed", is_postponed)


@caught_by(f"{RETRIES}test_after_a_failure_a_new_epoch_begins")
def epoch_goes_on_after_a_failure(patch: Patch) -> None:
    """What follows records that were given up goes on behind them, in the same epoch."""

    def following(real: Any, attempt: Any, outcome: Any) -> Any:
        return None if attempt.stamp is None else attempt.stamp.after(attempt.count)

    patch.replace(Attempt, "following", following)


@caught_by(f"{RETRIES}test_an_interrupted_send_many_is_written_once_or_never")
def interrupted_lists_stay_in_flight(patch: Patch) -> None:
    """A list whose caller was interrupted is still tried again, and written behind his back."""
    patch.replace(RecordBuffer, "_withdraw", nothing)
