"""Event sourcing: the log is the truth, and a balance is what follows from it.

Nothing is ever overwritten. State is rebuilt by reading the events again, up to any point in time.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import eventlog


def deposit(producer: eventlog.Producer, account: str, amount: int, timestamp_ms: int) -> eventlog.RecordMetadata:
    """Record a deposit (or, with a negative amount, a withdrawal), and wait until it is on the device."""
    event = {"type": "deposited", "amount": amount}
    return producer.send("accounts", event, key=account, timestamp_ms=timestamp_ms).result()


def events(log: eventlog.EventLog) -> Iterator[eventlog.Record[str, dict[str, Any]]]:
    """Yield all events that are there now, each account's in order."""
    with log.consumer(
        "accounts", auto_offset_reset="earliest", key_deserializer="str", value_deserializer="json"
    ) as consumer:
        while records := consumer.poll():
            yield from records


def balances(log: eventlog.EventLog, before_ms: int | None = None) -> dict[str, int]:
    """Fold the events into balances: as of now, or as of a moment in the past."""
    totals: Counter[str] = Counter()
    for record in events(log):
        if before_ms is None or record.timestamp_ms < before_ms:
            totals[record.key] += record.value["amount"]
    return dict(sorted(totals.items()))


def main() -> None:
    """Book a few events, and look at two states."""
    with tempfile.TemporaryDirectory() as directory, eventlog.open(directory) as log:
        log.create_topic("accounts", partitions=4, durability="disk")
        with log.producer(key_serializer="str", value_serializer="json") as producer:
            deposit(producer, "ada", 100, timestamp_ms=1_000)
            deposit(producer, "grace", 50, timestamp_ms=2_000)
            metadata = deposit(producer, "ada", -30, timestamp_ms=3_000)
        print("on the device:", metadata.durable)
        print("before 3000:", balances(log, before_ms=3_000))
        print("now:", balances(log))


if __name__ == "__main__":
    main()
