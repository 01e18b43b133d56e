"""Turn waiting records into the columns of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.batch_encoder import EncodedBatch
from eventlog.format.producer_stamp import NO_STAMP, ProducerStamp
from eventlog.producer.delivery import Delivery, FullDelivery
from eventlog.producer.delivery_errors import not_encoded
from eventlog.topics.partition import Partition

_PLAIN = {Delivery}


def encode_records(
    partition: Partition, records: list[Delivery], codec: int, *, stamp: ProducerStamp = NO_STAMP
) -> list[EncodedBatch]:
    """Encode records for one partition. Raises RecordTooLargeError, and whatever else `Partition.encode` does."""
    if len(records) == 1:
        one = _encode_one(partition, records[0], codec, stamp)
        if one is not None:
            return [one]
    values, kinds = [record.value for record in records], _kinds(records)
    keys = None if kinds == _PLAIN else [record.key for record in records]
    if FullDelivery not in kinds:
        return partition.encode(values, keys, _sent_ms(records), None, codec, stamp)
    headers = [record.headers for record in records]
    return partition.encode(values, keys, _own_ms(records), headers if any(headers) else None, codec, stamp)


def _encode_one(partition: Partition, record: Delivery, codec: int, stamp: ProducerStamp) -> EncodedBatch | None:
    if record.headers:
        return None
    return partition.encode_one(record.value, record.key, record.sent_ms(), codec, stamp)


def _kinds(records: Sequence[Delivery]) -> set[type[Delivery]]:
    """Return which types there are: most often one, and to count that one is faster than to collect them."""
    types = list(map(type, records))
    return {types[0]} if types.count(types[0]) == len(types) else set(types)


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
    return _each_sent_ms(records)


def _own_ms(records: list[Delivery]) -> NDArray[np.int64]:
    """Return the timestamp of each, which may have one of its own."""
    own = np.fromiter([record.timestamp_ms for record in records], np.int64, len(records))
    return own if own.min() >= 0 else np.where(own < 0, _each_sent_ms(records), own)


def _each_sent_ms(records: list[Delivery]) -> NDArray[np.int64]:
    stamps = np.fromiter([record.stamp for record in records], np.float64, len(records))
    return (stamps * 1000).astype(np.int64)  # cut off, as int() does


def record_bytes(record: Delivery) -> int:
    """Return the size of a waiting record's value and key, in bytes."""
    value, key = record.value, record.key
    return (0 if value is None else len(value)) + (0 if key is None else len(key))
