"""Records of every kind, sent one by one, are encoded as the columns that they make."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eventlog
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.producer.delivery import Delivery, FullDelivery
from eventlog.producer.keyed_sends import new_delivery
from eventlog.producer.record_columns import encode_records

STAMP = ProducerStamp(7, 0, 5)

values = st.one_of(st.none(), st.binary(max_size=300))
keys = st.one_of(st.none(), st.binary(max_size=40))
headers = st.one_of(
    st.none(), st.lists(st.tuples(st.text(max_size=3), st.one_of(st.none(), st.binary(max_size=3)))).map(tuple)
)
stamps = st.one_of(st.none(), st.integers(0, 10**12))
records = st.tuples(values, keys, headers, stamps, st.floats(0, 3))
some = st.one_of(
    st.lists(records, min_size=1, max_size=30),
    st.lists(st.tuples(values, st.none(), st.none(), st.none(), st.floats(0, 3)), min_size=1, max_size=30),
    st.lists(st.tuples(values, st.binary(max_size=9), st.none(), st.none(), st.just(1.0)), min_size=1, max_size=30),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=some, codec=st.sampled_from([0, 1]))
def test_deliveries_are_encoded_as_the_columns_that_they_make(log: eventlog.EventLog, rows: Any, codec: int) -> None:
    """Plain, keyed and headed records, alone and mixed, with times of their own or not: byte for byte the columns."""
    if "t" not in log.topics():
        log.create_topic("t")
    partition = log.topic("t").partitions[0]
    made = [delivery(*row) for row in rows]
    times = [int(second * 1000) if stamp is None else stamp for _, _, _, stamp, second in rows]
    columns = [list(column) for column in zip(*rows, strict=True)]
    if made[0].sent_ms() == made[-1].sent_ms() and not any(isinstance(one, FullDelivery) for one in made):
        times = [made[0].sent_ms()] * len(made)  # those between the first and the last are not looked at
    expected = partition.encode(columns[0], columns[1], times, columns[2], codec, STAMP)
    found = encode_records(partition, made, codec, stamp=STAMP)
    assert [raw(batch) for batch in found] == [raw(batch) for batch in expected]


def delivery(value: Any, key: Any, pairs: Any, stamp: int | None, second: float) -> Delivery:
    """As the producer makes it: with a time of its own, or headers, it is a full one."""
    if stamp is None:
        return new_delivery(value, key, pairs, second)
    full = FullDelivery()
    full.value, full.key, full.headers, full.stamp, full.timestamp_ms = value, key, pairs, second, stamp
    return full


def raw(batch: Any) -> tuple[Any, ...]:
    return (batch.parts if isinstance(batch.parts, bytes) else b"".join(batch.parts), *batch[1:])
