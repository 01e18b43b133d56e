"""From an append in one process to the return of ``poll`` in another, at 1,000 events a second.

Run as a program it is the process that waits.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import eventlog
from benchmarks import process
from benchmarks.contestants.ours import TOPIC
from benchmarks.workloads import VALUE_BYTES

INTERVAL_NS = 1_000_000
POLL_SECONDS = 0.5
SECONDS = 120.0
IDLE_SECONDS = 3.0
STAMP_BYTES = 8


def across_processes(directory: Path, amount: int) -> dict[str, float]:
    """``partition.append`` here, ``poll`` there; first the waiting process sits idle for a while."""
    directory.mkdir(parents=True, exist_ok=True)
    with eventlog.open(directory / "log") as log:
        partition = log.create_topic(TOPIC).partitions[0]
        with _waiting("poll", directory, amount) as child:
            _pace(amount, lambda stamp: partition.append([stamp]))
            return process.answer(process.finish(child, SECONDS))


def through_a_pipe(directory: Path, amount: int) -> dict[str, float]:
    """The floor: one ``write`` and one blocking ``read`` on a pipe between the same two processes."""
    receiving, sending = os.pipe()
    with _waiting("pipe", directory, amount, stdin=receiving) as child:
        os.close(receiving)
        _pace(amount, lambda stamp: os.write(sending, stamp))
        figures = process.answer(process.finish(child, SECONDS))
    os.close(sending)
    return figures


@contextmanager
def _waiting(how: str, *arguments: object, **options: int) -> Iterator[subprocess.Popen[str]]:
    """The process that waits, once it says that it does."""
    child = process.start(__name__, how, *arguments, stderr=subprocess.PIPE, **options)
    try:
        if child.stdout is None or child.stdout.readline() != "ready\n":
            process.finish(child, SECONDS)
            raise process.ChildError("the waiting process did not get ready")
        yield child
    finally:
        process.kill(child)


def _pace(amount: int, append: Callable[[bytes], object]) -> None:
    """One event a millisecond, each carrying the time just before it was appended."""
    padding = b"." * (VALUE_BYTES - STAMP_BYTES)
    due = time.monotonic_ns()
    for _ in range(amount):
        due += INTERVAL_NS
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        append(time.monotonic_ns().to_bytes(STAMP_BYTES, "little") + padding)


def _report(latencies_us: list[float], **more: float) -> None:
    percentiles = statistics.quantiles(latencies_us, n=100)
    print(json.dumps({"p50_us": percentiles[49], "p99_us": percentiles[98], **more}), flush=True)


def _latency_us(value: bytes) -> float:
    return (time.monotonic_ns() - int.from_bytes(value[:STAMP_BYTES], "little")) / 1e3


def _wait_idle(consumer: eventlog.Consumer, seconds: float) -> float:
    """The share of a core that polling an idle partition takes, in per cent."""
    end, used, start = time.monotonic() + seconds, time.process_time(), time.monotonic()
    while time.monotonic() < end:
        consumer.poll(POLL_SECONDS)
    return 100 * (time.process_time() - used) / (time.monotonic() - start)


def _poll(directory: Path, amount: int) -> None:
    here = eventlog.TopicPartition(TOPIC, 0)
    with eventlog.open(directory / "log") as log, log.consumer() as consumer:
        consumer.assign([here])
        consumer.seek_to_beginning(here)
        consumer.poll(0.0)
        idle = _wait_idle(consumer, min(IDLE_SECONDS, amount / 500))
        print("ready", flush=True)
        latencies: list[float] = []
        used, start = time.process_time(), time.monotonic()
        while len(latencies) < amount and time.monotonic() < start + SECONDS:
            latencies += [_latency_us(record.value) for record in consumer.poll(POLL_SECONDS)]
        busy = 100 * (time.process_time() - used) / (time.monotonic() - start)
    _report(latencies, idle_percent=idle, busy_percent=busy)


def _read_pipe(amount: int) -> None:
    print("ready", flush=True)
    _report([_latency_us(os.read(sys.stdin.fileno(), VALUE_BYTES)) for _ in range(amount)])


if __name__ == "__main__":
    if sys.argv[1] == "poll":
        _poll(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        _read_pipe(int(sys.argv[3]))
