"""What a partition knows of its idempotent producers: which of their records it has, and where. Pure; no files.

KIP-98: the records of a producer have sequence numbers without gaps, so that a repeated attempt is known again and a
missing one is noticed. Kafka remembers the last five batches of a producer. Here it is the last five *runs*, records
whose sequences and offsets both go on without a gap: one batch is a run, and so are all batches that nobody else's
came between. A repeated attempt is found however it is cut into batches, and mostly however old it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from eventlog.errors import OutOfOrderSequenceError, ProducerFencedError
from eventlog.format.producer_stamp import ProducerStamp, records_between, sequence_after

_RUNS = 5  # Kafka's ProducerStateEntry.NUM_BATCHES_TO_RETAIN
# All runs together must stay below the 2**31 sequence numbers there are: one number never stands for two records.
LONGEST_RUN = 2**27
JUST_NOW = 2**63 - 1  # since someone last asked for the time: an append has no time to do so


class Run(NamedTuple):
    """Consecutive records of one producer: its sequences from ``first_sequence``, offsets from ``base_offset`` on."""

    first_sequence: int
    records: int
    base_offset: int


class ProducerState(NamedTuple):
    """A producer's current epoch, when it was last heard of (milliseconds, or `JUST_NOW`), its last runs in order."""

    epoch: int
    used_ms: int
    runs: tuple[Run, ...]

    @property
    def next_sequence(self) -> int:
        """The sequence number that its next record has."""
        return sequence_after(self.runs[-1].first_sequence, self.runs[-1].records)


# Without the cost of a Python-level constructor: once a batch.
_new_run = partial(tuple.__new__, Run)
_new_state = partial(tuple.__new__, ProducerState)


class ProducerTable:
    """The producers of one partition. Each change is one store: an interrupt leaves the state before or after it."""

    def __init__(self, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = partition
        self.states: dict[int, ProducerState] = {}  # by producer id

    def items(self) -> Iterator[tuple[int, ProducerState]]:
        """Return the producers' ids and states, as they are now."""
        return iter(list(self.states.items()))

    def forget(self, producer_id: int) -> None:
        """Forget a producer that sends no more."""
        self.states.pop(producer_id, None)

    def forget_unused(self, since_ms: int, now_ms: int) -> None:
        """Forget the producers that were last heard of before ``since_ms``."""
        for producer_id, state in self.items():
            if state.used_ms == JUST_NOW:
                self.states[producer_id] = state._replace(used_ms=now_ms)
            elif state.used_ms < since_ms:
                self.forget(producer_id)

    def find(self, stamp: ProducerStamp, count: int) -> int | None:
        """Return the offset of records that were written before; None when they are new and may be written.

        A producer that is not known, or not any more, may begin at any sequence (KIP-360), a newer epoch at 0. Raises
        ProducerFencedError for an older epoch than the current one. Raises OutOfOrderSequenceError when records
        before these are missing, and when these are older than what is remembered: so does Kafka, which cannot tell
        one from the other.
        """
        state = self.states.get(stamp.producer_id)
        if state is None:
            return None
        if stamp.epoch == state.epoch:
            run = state.runs[-1]
            if stamp.sequence == sequence_after(run.first_sequence, run.records):
                return None
            return self._earlier(stamp, count, state)
        if stamp.epoch < state.epoch:
            raise ProducerFencedError(
                f"epoch {stamp.epoch} of producer {stamp.producer_id} is over, the current one is {state.epoch}",
                topic=self._topic, partition=self._partition, hint="a newer producer has taken over: close this one",
            )  # fmt: skip
        if stamp.sequence:
            raise self._out_of_order(stamp, 0)
        return None

    def _earlier(self, stamp: ProducerStamp, count: int, state: ProducerState) -> int:
        for run in reversed(state.runs):
            skipped = records_between(run.first_sequence, stamp.sequence)
            if skipped + count <= run.records:
                return run.base_offset + skipped
        raise self._out_of_order(stamp, state.next_sequence)

    def _out_of_order(self, stamp: ProducerStamp, expected: int) -> OutOfOrderSequenceError:
        return OutOfOrderSequenceError(
            f"sequence {stamp.sequence} of producer {stamp.producer_id} where {expected} belongs",
            topic=self._topic, partition=self._partition,
            hint="records before it are missing, or it was written long ago: begin a new epoch",
        )  # fmt: skip

    def add(self, stamp: ProducerStamp, records: int, base_offset: int, used_ms: int = JUST_NOW) -> None:
        """Note records that were written. Harmless when they were noted before."""
        producer_id, epoch, sequence, _ = stamp
        run = _new_run((sequence, records, base_offset))
        state = self.states.get(producer_id)
        if state is None or epoch > state.epoch:
            self.states[producer_id] = ProducerState(epoch, used_ms, (run,))
        elif epoch == state.epoch:
            runs = state.runs
            first, count, base = runs[-1]
            if base_offset < base + count:
                return
            if (
                base_offset == base + count
                and sequence == sequence_after(first, count)
                and count + records <= LONGEST_RUN
            ):
                runs = (*runs[:-1], _new_run((first, count + records, base)))
            else:
                runs = (*runs[1 - _RUNS :], run)
            self.states[producer_id] = _new_state((epoch, used_ms, runs))

    def check(self) -> None:
        """Assert that every state is whole."""
        for state in self.states.values():
            assert 0 < len(state.runs) <= _RUNS
            for run, later in zip(state.runs, state.runs[1:], strict=False):
                assert run.base_offset + run.records <= later.base_offset
            for run in state.runs:
                assert run.records > 0 <= run.first_sequence < 2**31
