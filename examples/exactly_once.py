"""Exactly once: workers are killed in the middle of their work, and each order still gets one invoice.

A worker reads orders as a member of a group, and writes invoices. What it writes and how far it has come are one
transaction: the worker that comes after a dead one goes on where the last transaction ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

import eventlog

ORDERS, DEATHS = 1_000, 3


def worker(directory: str, *, dies: bool) -> None:
    """Bill orders until the tombstone that says there are no more; or die before the second commit."""
    with (
        eventlog.open(directory) as log,
        log.consumer(
            "orders", group="billing", auto_offset_reset="earliest", enable_auto_commit=False, value_deserializer="json"
        ) as consumer,
        log.producer(transactional_id="billing-0", value_serializer="json") as producer,
    ):
        transactions, is_done = 0, False
        while not is_done:
            records = consumer.poll(timeout=1.0, max_records=100)
            with producer.transaction():
                for record in records:
                    if record.value is None:
                        is_done = True
                    else:
                        producer.send("invoices", {"order": record.value, "total": 10 * record.value})
                positions = {tp: consumer.position(tp) for tp in consumer.assignment()}
                producer.send_offsets_to_transaction(positions, consumer.group_metadata())
                transactions += bool(records)
                if dies and transactions == 2:
                    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Write orders, have them billed, and count the invoices."""
    with tempfile.TemporaryDirectory() as directory, eventlog.open(directory) as log:
        log.create_topic("orders")
        log.create_topic("invoices")
        with log.producer(value_serializer="json") as producer:
            producer.send_many("orders", list(range(ORDERS)))
            producer.send("orders", None)
        for attempt in range(DEATHS + 1):
            dies = "dies" if attempt < DEATHS else "stays"
            status = subprocess.run([sys.executable, __file__, directory, dies], check=False).returncode
            assert status == (-signal.SIGKILL if dies == "dies" else 0)
        with log.consumer("invoices", auto_offset_reset="earliest", value_deserializer="json") as consumer:
            invoices = []
            while records := consumer.poll():
                invoices += [record.value["order"] for record in records]
        print(f"{DEATHS} workers died, {len(invoices)} invoices for {len(set(invoices))} of {ORDERS} orders")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        worker(sys.argv[1], dies=sys.argv[2] == "dies")
    else:
        main()
