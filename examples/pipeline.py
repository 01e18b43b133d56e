"""A pipeline over two processes: one writes readings, another squares them into a second topic, live.

Neither waits for the other. The directory is all that they share; there is no server in between.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

import eventlog

COUNT = 1_000


def worker(directory: str) -> None:
    """Read numbers as they come, and write their squares; the tombstone at the end says that no more will come."""
    with (
        eventlog.open(directory) as log,
        log.consumer("numbers", auto_offset_reset="earliest", value_deserializer="json") as consumer,
        log.producer(value_serializer="json") as producer,
    ):
        for record in consumer:
            if record.value is None:
                return
            producer.send("squares", record.value**2)


def main() -> None:
    """Start the worker, feed it, and add up what it makes."""
    with tempfile.TemporaryDirectory() as directory, eventlog.open(directory) as log:
        log.create_topic("numbers")
        log.create_topic("squares")
        with subprocess.Popen([sys.executable, __file__, directory]) as other:
            with log.producer(value_serializer="json") as producer:
                for number in range(COUNT):
                    producer.send("numbers", number)
                producer.send("numbers", None)
            total = seen = 0
            with log.consumer("squares", auto_offset_reset="earliest", value_deserializer="json") as consumer:
                while seen < COUNT:
                    for record in consumer.poll(timeout=10.0):
                        total += record.value
                        seen += 1
            other.wait()
        print(f"{seen} squares, sum {total}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        worker(sys.argv[1])
    else:
        main()
