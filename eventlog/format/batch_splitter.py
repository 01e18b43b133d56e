"""Encode any number of records into as few batches as the largest allowed size permits."""

from __future__ import annotations

from itertools import pairwise

from eventlog.errors import RecordTooLargeError
from eventlog.format.batch_encoder import Column, EncodedBatch, HeaderColumn, TimestampColumn, encode
from eventlog.format.producer_stamp import NO_STAMP, ProducerStamp
from eventlog.read_limits import MAX_EMPTY_RECORDS


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

    The columns are as `record_input` leaves them. Raises RecordTooLargeError when a single record needs more than
    ``max_bytes``.
    """
    return _encode(values, timestamps_ms, keys, headers, codec, max_bytes, 0, stamp)


def _encode(
    values: Column,
    stamps: TimestampColumn | int,
    keys: Column | None,
    headers: HeaderColumn | None,
    codec: int,
    max_bytes: int,
    start: int,
    stamp: ProducerStamp,
) -> list[EncodedBatch]:
    batch = encode(values, stamps, keys, headers, codec, stamp)
    if batch.size <= max_bytes and (len(values) <= MAX_EMPTY_RECORDS or batch.size > len(values)):
        return [batch]
    if len(values) == 1:
        raise RecordTooLargeError(
            f"record {start} needs {batch.size} bytes, and max_message_bytes is {max_bytes}",
            hint="raise the topic's max_message_bytes, compress, or split the record",
        )
    # So many pieces as would do if all records were of one size: most of them then fit at once.
    pieces = min(max(batch.size // max_bytes, len(values) // MAX_EMPTY_RECORDS) + 1, len(values))
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
