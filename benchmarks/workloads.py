"""Values, sizes and the shape of a case, shared by every contestant."""

from __future__ import annotations

import gc
import mmap
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import attrs

VALUE_BYTES = 100
PER_CALL = 1_000  # records in one send_many, one transaction, one consume
PARTITIONS = 4  # that keyed records are spread over, and a transaction over several; tables, in a database
MANY_PARTITIONS = 12
DISTINCT_KEYS = 10_000
FEW_KEYS = 16
HEADERS = [("trace", b"0123456789abcdef"), ("kind", b"order")]

# Touched before the clock starts: enough for values, indexes, journals and copies of what is written.
TOUCHED_PER_VALUE = 4
BLOCK = bytes(1 << 20)
TOUCHED_BYTES = (64 << 20, 2 << 30)  # never less, never more

Work = Callable[[], int]  # does the work and returns how much: records, or bytes
Case = Callable[[Path, int], AbstractContextManager[Work]]
Probe = Callable[[Path, int], dict[str, float]]


class NotMeasurableError(Exception):
    """The measurement is not possible here; the message says why."""


@attrs.frozen
class Scale:
    """How much of each work is done: records, unless the contest counts something else."""

    name: str
    send: int = 500_000
    send_many: int = 1_000_000
    read: int = 1_000_000
    poll: int = 1_000_000
    scan: int = 2_000_000
    append: int = 50_000
    disk: int = 2_000
    group_commit: int = 8_000
    wake_up: int = 5_000
    open: int = 40_000_000
    recovery: int = 10_000_000
    seek: int = 10_000_000
    memory: int = 40_000_000
    group_poll: int = 200_000
    commit: int = 20_000
    rebalance: int = 100
    offsets_start: int = 1_000_000
    group_size: int = 100
    transaction: int = 1_000_000
    transaction_disk: int = 200_000
    idempotence: int = 50_000
    send_keyed: int = 200_000
    send_headers: int = 200_000
    send_json: int = 200_000
    send_partitions: int = 200_000
    send_many_keyed: int = 400_000
    transaction_send: int = 200_000
    disk_send: int = 2_000


QUICK = Scale(
    name="quick",
    send=2_000,
    send_many=5_000,
    read=5_000,
    poll=5_000,
    scan=5_000,
    append=200,
    disk=40,
    group_commit=80,
    wake_up=100,
    open=20_000,
    recovery=20_000,
    seek=20_000,
    memory=20_000,
    group_poll=5_000,
    commit=100,
    rebalance=2,
    offsets_start=5_000,
    group_size=8,
    transaction=5_000,
    transaction_disk=4_000,
    idempotence=500,
    send_keyed=2_000,
    send_headers=2_000,
    send_json=2_000,
    send_partitions=2_000,
    send_many_keyed=4_000,
    transaction_send=2_000,
    disk_send=40,
)
NORMAL = Scale(name="normal")
FULL = Scale(name="full", open=100_000_000)


def timed(function: Callable[[Path, int], Iterator[Work]]) -> Case:
    """Make a case of a generator that prepares, yields the work to be timed, then checks and cleans up."""
    case: Any = contextmanager(function)
    case.is_timed = True
    return case


def is_timed(function: Any) -> bool:
    return getattr(function, "is_timed", False)


def rate(case: Case, directory: Path, amount: int) -> dict[str, float]:
    """Time the case's work once. Garbage collection stays on, as it does in the programs this stands for."""
    directory.mkdir(parents=True)
    with case(directory, amount) as work:
        gc.collect()
        touch_memory(amount * VALUE_BYTES * TOUCHED_PER_VALUE)
        start = time.perf_counter()
        done = work()
        seconds = time.perf_counter() - start
    return {"rate": done / seconds, "seconds": seconds}


def times_us(amount: int, call: Callable[[int], object], before: Callable[[], object] = int) -> dict[str, float]:
    """Median and 99th percentile of a call in microseconds. ``before`` runs ahead of each one, and is not counted."""
    clock = time.perf_counter_ns
    taken = []
    for number in range(amount):
        before()
        start = clock()
        call(number)
        taken.append((clock() - start) / 1e3)
    return {"median_us": statistics.median(taken), "p99_us": statistics.quantiles(taken, n=100)[98]}


def touch_memory(size: int) -> None:
    """Use as much free memory as the work will, and give it back at once.

    A virtual machine may hand free pages back to its host within seconds; the next use of each then costs
    several times what writing to it costs, and whichever contestant comes upon such pages pays for it.
    """
    low, high = TOUCHED_BYTES
    blocks = min(max(size, low), high) // len(BLOCK)
    with mmap.mmap(-1, blocks * len(BLOCK)) as memory:
        for _ in range(blocks):
            memory.write(BLOCK)


def values(count: int) -> tuple[bytes, ...]:
    """Distinct values of 100 bytes: a counter, and bytes of every kind behind it.

    A tuple, because garbage collections need not walk through a tuple of bytes. No program holds a million values
    ready: walking through them takes tens of milliseconds, and only contestants that make objects would pay.
    """
    tail = bytes(range(256))[-(VALUE_BYTES - 12) :]
    return tuple([b"%012d" % number + tail for number in range(count)])


def keys(count: int, distinct: int) -> tuple[bytes, ...]:
    """Keys of 15 bytes, ``distinct`` different ones; each an object of its own, as in a program that receives them."""
    step = 7_919  # a prime: neighbours differ
    return tuple([b"customer-%06d" % (number * step % distinct) for number in range(count)])


def objects(count: int) -> list[dict[str, Any]]:
    """Objects that make about 100 bytes of JSON."""
    return [
        {"id": number, "name": "Ada Lovelace", "amount": number / 4, "tags": ["new", "paid"]} for number in range(count)
    ]


def calls(items: Sequence[Any]) -> list[list[Any]]:
    """Cut into the lists that one call or one transaction takes."""
    return [list(items[start : start + PER_CALL]) for start in range(0, len(items), PER_CALL)]


def transactions(items: Sequence[Any]) -> list[list[list[Any]]]:
    """The same, each cut again into what one transaction writes to each partition."""
    return [[call[number::PARTITIONS] for number in range(PARTITIONS)] for call in calls(items)]


def expect(done: int, amount: int) -> None:
    """A contestant that did less than asked has no rate."""
    if done != amount:
        raise AssertionError(f"{done:,} done of {amount:,}")
