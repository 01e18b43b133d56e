"""The records of ``__transaction_state``: one for each transaction, with its outcome and where its records lie.

The record of a committed transaction is its commit point: while there is none, it has not happened.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from eventlog.errors import UnsupportedFormatError
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L

_pack_value = L.TRANSACTION_VALUE.pack
_pack_part = L.TRANSACTION_PART.pack
_NO_PRODUCER = ("", -1, -1)


class TransactionPart(NamedTuple):
    """The records of a transaction in one partition: offsets ``base_offset`` up to, not including, ``end_offset``.

    ``base_sequence`` is the sequence number of the first of them.
    """

    topic: str
    topic_id: str
    partition: int
    base_offset: int
    end_offset: int
    base_sequence: int


class TransactionOutcome(NamedTuple):
    """What became of one transaction. Times are in milliseconds since the epoch; ``transaction`` is its random id.

    One that was aborted by whoever found its producer dead tells no more than its id.
    """

    transaction: int
    is_committed: bool
    transactional_id: str
    producer_id: int
    epoch: int
    started_ms: int
    ended_ms: int
    parts: tuple[TransactionPart, ...] = ()


def aborted(transaction: int, now_ms: int) -> TransactionOutcome:
    """Return the outcome of a transaction that nobody will commit any more."""
    return TransactionOutcome(transaction, False, *_NO_PRODUCER, now_ms, now_ms)


@lru_cache(maxsize=1024)
def encode_key(transactional_id: str) -> bytes:
    """Return Kafka's key of a transactional id."""
    name = transactional_id.encode()
    return L.TRANSACTION_KEY.pack(L.TRANSACTION_KEY_VERSION, len(name)) + name


@lru_cache(maxsize=4096)
def _identity(topic: str, topic_id: str) -> tuple[bytes, bytes]:
    return bytes.fromhex(topic_id), topic.encode()


def encode_value(outcome: TransactionOutcome) -> bytes:
    """Return the value of an outcome's record."""
    status = L.TRANSACTION_COMMITTED if outcome.is_committed else L.TRANSACTION_ABORTED
    pieces = [
        _pack_value(
            L.TRANSACTION_VALUE_VERSION, status, outcome.transaction, outcome.producer_id, outcome.epoch,
            outcome.started_ms, outcome.ended_ms, len(outcome.parts),
        )
    ]  # fmt: skip
    for topic, topic_id, partition, base_offset, end_offset, sequence in outcome.parts:
        identity, name = _identity(topic, topic_id)
        pieces += _pack_part(identity, partition, base_offset, end_offset, sequence, len(name)), name
    return b"".join(pieces)


def is_outcome_of(value: bytes, transaction: int) -> bool | None:
    """Tell whether the transaction was committed, if this is the record of its outcome; None if it is not."""
    _, status, found, *_ = _header(value)
    return status == L.TRANSACTION_COMMITTED if found == transaction else None


def _header(value: bytes | None) -> tuple[int, ...]:
    if value is None or len(value) < L.TRANSACTION_VALUE.size:
        raise _unknown()
    fields = L.TRANSACTION_VALUE.unpack_from(value)
    if fields[0] != L.TRANSACTION_VALUE_VERSION:
        raise _unknown()
    return fields


def _unknown() -> UnsupportedFormatError:
    return UnsupportedFormatError(
        "a transaction's outcome in a form that is not known here", hint="use the newest version of eventlog"
    )


def decode(key: bytes | None, value: bytes | None) -> TransactionOutcome:
    """Return the outcome. Raises UnsupportedFormatError for a record that this version does not write.

    >>> part = TransactionPart("orders", "00" * 16, 0, 7, 9, 0)
    >>> outcome = TransactionOutcome(1, True, "transfer-1", 5, 0, 1700000000000, 1700000000001, (part,))
    >>> decode(encode_key("transfer-1"), encode_value(outcome)) == outcome
    True
    """
    _, status, transaction, producer_id, epoch, started_ms, ended_ms, count = _header(value)
    assert value is not None
    if count < 0 or count * L.TRANSACTION_PART.size > len(value):
        raise _unknown()
    parts = []
    place = L.TRANSACTION_VALUE.size
    try:
        name = "" if key is None else key[L.TRANSACTION_KEY.size :].decode()
        for _ in range(count):
            identity, partition, base_offset, end_offset, sequence, length = L.TRANSACTION_PART.unpack_from(
                value, place
            )
            place += L.TRANSACTION_PART.size
            if length < 0:
                raise _unknown()
            topic = value[place : place + length].decode()
            place += length
            parts.append(TransactionPart(topic, identity.hex(), partition, base_offset, end_offset, sequence))
    except (ValueError, struct.error) as error:
        pass_on_handlers(error)
        raise _unknown() from error
    if place != len(value):
        raise _unknown()
    is_committed = status == L.TRANSACTION_COMMITTED
    return TransactionOutcome(
        transaction, is_committed, name, producer_id, epoch, started_ms, ended_ms, tuple(parts)
    )  # fmt: skip
