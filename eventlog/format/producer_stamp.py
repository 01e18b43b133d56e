"""Who wrote a batch, and as which of its records: what makes a repeated attempt known again (KIP-98)."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from eventlog.format.layouts import ATTRIBUTE_TRANSACTIONAL, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE

LAST_EPOCH = 2**15 - 1
_SEQUENCES = 2**31 - 1  # as a mask: sequence numbers go from 0 to here, and then begin anew


class ProducerStamp(NamedTuple):
    """Producer id and epoch, and the sequence number of the batch's first record within its partition.

    >>> ProducerStamp(7, 0, 2**31 - 2).after(3)
    ProducerStamp(producer_id=7, epoch=0, sequence=1, is_transactional=False)
    """

    producer_id: int
    epoch: int
    sequence: int
    is_transactional: bool = False

    def after(self, records: int) -> ProducerStamp:
        """Return the stamp of the batch that follows so many records."""
        producer_id, epoch, sequence, is_transactional = self
        return _new_stamp((producer_id, epoch, (sequence + records) & _SEQUENCES, is_transactional))

    @property
    def attributes(self) -> int:
        """The bits that it adds to a batch's attributes."""
        return ATTRIBUTE_TRANSACTIONAL if self.is_transactional else 0


_new_stamp = partial(tuple.__new__, ProducerStamp)  # without the cost of a Python-level constructor: once a batch
NO_STAMP = ProducerStamp(NO_PRODUCER_ID, NO_PRODUCER_EPOCH, NO_SEQUENCE)


def sequence_after(sequence: int, records: int) -> int:
    """Return the sequence number that follows so many records; behind 2**31 - 1 comes 0, as in Kafka."""
    return (sequence + records) & _SEQUENCES


def records_between(first: int, later: int) -> int:
    """Return how many sequence numbers one is behind the other, around the wrap."""
    return (later - first) & _SEQUENCES
