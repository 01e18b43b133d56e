"""Turn waiting records into the columns of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.batch_encoder import EncodedBatch
from eventlog.format.producer_stamp import NO_STAMP, ProducerStamp
from eventlog.producer.delivery import Delivery, FullDelivery, KeyedDelivery
from eventlog.producer.delivery_errors import not_encoded
from eventlog.topics.partition import Partition

_PLAIN, _KEYED, _FULL = {Delivery}, {KeyedDelivery}, {FullDelivery}  # there is nothing else among the records
_key, _headers, _stamp, _timestamp = map(attrgetter, ("key", "headers", "stamp", "timestamp_ms"))


def encode_records(
    partition: Partition, records: list[Delivery], codec: int, *, stamp: ProducerStamp = NO_STAMP
) -> list[EncodedBatch]:
    """Encode records for one partition. Raises RecordTooLargeError, and whatever else `Partition.encode` does."""
    if len(records) == 1:
        one = _encode_one(partition, records[0], codec, stamp)
        if one is not None:
            return [one]
    values = [record.value for record in records]
    kinds = _kinds(records)
    if kinds == _PLAIN:
        return partition.encode(values, None, _sent_ms(records), None, codec, stamp)
    if kinds == _KEYED:
        return partition.encode(values, _keys(records), _sent_ms(records), None, codec, stamp)
    if kinds == _FULL:
        stamps = np.fromiter(map(_timestamp, records), np.int64, len(records))
        headers = list(map(_headers, records))
        return partition.encode(values, _keys(records), stamps, headers if any(headers) else None, codec, stamp)
    keys = [record.key if isinstance(record, KeyedDelivery) else None for record in records]
    headers = [record.headers if isinstance(record, FullDelivery) else None for record in records]
    return partition.encode(values, keys, [record.sent_ms() for record in records], headers, codec, stamp)


def _encode_one(partition: Partition, record: Delivery, codec: int, stamp: ProducerStamp) -> EncodedBatch | None:
    if isinstance(record, FullDelivery) and record.headers:
        return None
    key = record.key if isinstance(record, KeyedDelivery) else None
    return partition.encode_one(record.value, key, record.sent_ms(), codec, stamp)


def _kinds(records: Sequence[Delivery]) -> set[type[Delivery]]:
    """Return which types there are: most often one, and to count that one is faster than to collect them."""
    types = list(map(type, records))
    return {types[0]} if types.count(types[0]) == len(types) else set(types)


def _keys(records: Sequence[Delivery]) -> list[bytes | None]:
    return list(map(_key, records))


def encode_or_refuse(
    partition: Partition, records: list[Delivery], codec: int, *, stamp: ProducerStamp = NO_STAMP
) -> list[EncodedBatch]:
    """Do the same. Whatever is wrong with these records is raised as an EventLogError."""
    try:
        return encode_records(partition, records, codec, stamp=stamp)
    except Exception as error:
        pass_on_handlers(error)
        refused = not_encoded(partition, error)
        raise refused from refused.__cause__


def _sent_ms(records: list[Delivery]) -> int | NDArray[np.int64]:
    """Return one timestamp if the first and the last record are of the same millisecond, else one each."""
    first, last = int(records[0].stamp * 1000), int(records[-1].stamp * 1000)
    if first == last:
        return first
    stamps = np.fromiter(map(_stamp, records), np.float64, len(records))
    return (stamps * 1000).astype(np.int64)  # cut off, as int() does


def record_bytes(record: Delivery) -> int:
    """Return the size of a waiting record's value and key, in bytes."""
    value = record.value
    size = 0 if value is None else len(value)
    if isinstance(record, KeyedDelivery) and record.key is not None:
        size += len(record.key)
    return size
