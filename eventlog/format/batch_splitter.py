"""Encode any number of records into as few batches as the largest allowed size permits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eventlog.errors import InvalidRecordError, RecordTooLargeError
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.batch_encoder import Column, EncodedBatch, HeaderColumn, TimestampColumn, encode
from eventlog.format.producer_stamp import NO_STAMP, ProducerStamp
from eventlog.quantities import whole


def encode_batches(
    values: Column,
    timestamps_ms: TimestampColumn | int,
    keys: Column | None = None,
    headers: HeaderColumn | None = None,
    *,
    codec: int = 0,
    max_bytes: int,
    stamp: ProducerStamp = NO_STAMP,
) -> list[EncodedBatch]:
    """Encode n records, at least one, into batches of at most ``max_bytes`` each; ``stamp`` is that of the first.

    Raises InvalidRecordError when the columns differ in length, SerializationError for a key or value that is not
    bytes, and RecordTooLargeError when a single record needs more than ``max_bytes``.
    """
    stamps = _timestamps(timestamps_ms, len(values))
    for name, column in (("keys", keys), ("headers", headers)):
        if column is not None and not hasattr(column, "__len__"):
            raise InvalidRecordError(
                f"{name} are a {type(column).__name__}, not a list", hint="give a list, one item a value"
            )
        if column is not None and len(column) != len(values):
            raise InvalidRecordError(
                f"{len(values)} values but {len(column)} {name}", hint="columns of one call have one length"
            )
    return _encode(values, stamps, keys, headers, codec, max_bytes, 0, stamp)


def _encode(
    values: Column,
    stamps: NDArray[np.int64] | int,
    keys: Column | None,
    headers: HeaderColumn | None,
    codec: int,
    max_bytes: int,
    start: int,
    stamp: ProducerStamp,
) -> list[EncodedBatch]:
    batch = encode(values, stamps, keys, headers, codec, stamp)
    if batch.size <= max_bytes:
        return [batch]
    if len(values) == 1:
        raise RecordTooLargeError(
            f"record {start} needs {batch.size} bytes, and max_message_bytes is {max_bytes}",
            hint="raise the topic's max_message_bytes, compress, or split the record",
        )
    # So many pieces as would do if all records were of one size: most of them then fit at once.
    pieces = min(batch.size // max_bytes + 1, len(values))
    places = [len(values) * piece // pieces for piece in range(pieces + 1)]
    batches = []
    for low, high in pairwise(places):
        batches += _encode(
            values[low:high],
            stamps if isinstance(stamps, int) else stamps[low:high],
            None if keys is None else keys[low:high],
            None if headers is None else headers[low:high],
            codec,
            max_bytes,
            start + low,
            stamp if stamp is NO_STAMP else stamp.after(low),
        )
    return batches


def _timestamps(timestamps_ms: TimestampColumn | int, count: int) -> NDArray[np.int64] | int:
    if type(timestamps_ms) is int and 0 <= timestamps_ms < 2**63:
        return timestamps_ms
    one = whole(timestamps_ms)
    if one is not None and 0 <= one < 2**63:
        return one
    try:
        stamps = np.asarray(timestamps_ms)
        if stamps.dtype.kind not in "iu":
            raise TypeError(f"{stamps.dtype} timestamps")
        stamps = stamps.astype(np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        pass_on_handlers(error)
        raise InvalidRecordError(
            f"timestamps are whole milliseconds: {error}", hint="int(time.time() * 1000)"
        ) from error
    if stamps.shape != (count,):
        raise InvalidRecordError(f"{count} values but {stamps.size} timestamps", hint="give one for all, or one each")
    if (stamps < 0).any():
        raise InvalidRecordError(f"timestamp {stamps.min()} is negative", hint="milliseconds since the Unix epoch")
    return stamps


def checked_sequence(values: object) -> Sequence[bytes | None]:
    """Return ``values`` if it is a non-empty list or tuple. Raises InvalidRecordError for anything else."""
    if not isinstance(values, list | tuple):
        raise InvalidRecordError(
            f"values are a {type(values).__name__}, not a list",
            hint="give a list, also for one record: [value]",
        )
    if not values:
        raise InvalidRecordError("no values", hint="give at least one record")
    return values
