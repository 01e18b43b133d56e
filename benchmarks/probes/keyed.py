"""What a key, headers or a transaction cost a record that is sent, in processor time of all threads; by turns."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import eventlog
from benchmarks.contestants.keyed import (
    send_all,
    send_all_with_headers,
    send_in_transactions,
    send_lists,
    send_plain,
)
from benchmarks.contestants.ours import TOPIC, topic
from benchmarks.contestants.raw import ONE_RECORD_BYTES
from benchmarks.probes import by_turns
from benchmarks.workloads import (
    DISTINCT_KEYS,
    FEW_KEYS,
    HEADERS,
    MANY_PARTITIONS,
    PARTITIONS,
    calls,
    keys,
    values,
)

PLAIN = "plain"
PASSES = 30
UNCOUNTED = 3
AT_ONCE = 20  # durable records a pass

Works = dict[str, Callable[[], object]]


def _figures(works: Works, amount: int) -> dict[str, float]:
    """Nanoseconds of processor time a record for each work, and each one's share of the plain one's, in per cent."""
    names, taken = list(works), []
    for number in range(UNCOUNTED + PASSES):
        first = number % len(names)
        taken.append({name: _cpu_ns(works[name], amount) for name in names[first:] + names[:first]})
    counted = taken[UNCOUNTED:]
    figures = {f"{name}_ns": statistics.median(one[name] for one in counted) for name in names}
    for name in names:
        if name != PLAIN:
            figures[f"{name}_percent"] = statistics.median(100 * one[name] / one[PLAIN] for one in counted)
    return figures


def _cpu_ns(work: Callable[[], object], amount: int) -> float:
    start = time.process_time_ns()
    work()
    return (time.process_time_ns() - start) / amount


@contextmanager
def _log(directory: Path, partitions: int = PARTITIONS) -> Iterator[eventlog.EventLog]:
    directory.mkdir(parents=True, exist_ok=True)
    with topic(directory, partitions=partitions) as (log, _):
        yield log


class _OwnKeys:
    """Keys that no record had before, as many a pass as there are records."""

    def __init__(self, amount: int) -> None:
        total = amount * (UNCOUNTED + PASSES)
        self._left = iter([list(part) for part in _parts(keys(total, total), amount)])

    def __call__(self) -> list[bytes]:
        return next(self._left)


def _parts(items: tuple[bytes, ...], size: int) -> list[tuple[bytes, ...]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def sends(directory: Path, amount: int) -> dict[str, float]:
    """``send`` one by one with a key, over 4 partitions, and of plain values."""
    items, own = values(amount), _OwnKeys(amount)
    many, few = keys(amount, DISTINCT_KEYS), keys(amount, FEW_KEYS)
    text = [key.decode() for key in many]
    with _log(directory) as log, log.producer() as producer, log.producer(key_serializer="str") as of_text:
        works: Works = {
            PLAIN: lambda: send_plain(producer, items),
            "keyed": lambda: send_all(producer, items, many),
            "few_keys": lambda: send_all(producer, items, few),
            "own_keys": lambda: send_all(producer, items, own()),
            "str_keys": lambda: send_all(of_text, items, text),
        }
        return _figures(works, amount)


def headers(directory: Path, amount: int) -> dict[str, float]:
    """``send`` with headers, with a key as well, and of plain values."""
    items, many = values(amount), keys(amount, DISTINCT_KEYS)

    def send_headers(producer: eventlog.Producer) -> None:
        for value in items:
            producer.send(TOPIC, value, headers=HEADERS)
        producer.flush()

    with _log(directory) as log, log.producer() as producer:
        works: Works = {
            PLAIN: lambda: send_plain(producer, items),
            "headers": lambda: send_headers(producer),
            "keyed_headers": lambda: send_all_with_headers(producer, items, many),
        }
        return _figures(works, amount)


def many_partitions(directory: Path, amount: int) -> dict[str, float]:
    """``send`` one by one with a key, over 12 partitions, and of plain values."""
    items, many = values(amount), keys(amount, DISTINCT_KEYS)
    with _log(directory, MANY_PARTITIONS) as log, log.producer() as producer:
        works: Works = {
            PLAIN: lambda: send_plain(producer, items),
            "keyed": lambda: send_all(producer, items, many),
        }
        return _figures(works, amount)


def lists(directory: Path, amount: int) -> dict[str, float]:
    """``send_many`` of 1,000, with keys over 4 partitions, and without keys."""
    batches, own = calls(values(amount)), _OwnKeys(amount)
    many, few = calls(keys(amount, DISTINCT_KEYS)), calls(keys(amount, FEW_KEYS))
    with _log(directory) as log, log.producer() as producer:
        works: Works = {
            PLAIN: lambda: send_lists(producer, batches, None),
            "keyed": lambda: send_lists(producer, batches, many),
            "few_keys": lambda: send_lists(producer, batches, few),
            "own_keys": lambda: send_lists(producer, batches, calls(own())),
        }
        return _figures(works, amount)


def transactions(directory: Path, amount: int) -> dict[str, float]:
    """``send`` in transactions of 1,000, with keys and without, and plain values in none."""
    items = values(amount)
    batches, many = calls(items), calls(keys(amount, DISTINCT_KEYS))
    with _log(directory) as log, log.producer() as producer, log.producer(transactional_id=TOPIC) as in_transactions:
        works: Works = {
            PLAIN: lambda: send_plain(producer, items),
            "keyed": lambda: send_in_transactions(in_transactions, batches, many),
            "unkeyed": lambda: send_in_transactions(in_transactions, batches, None),
        }
        return _figures(works, amount)


def durable(directory: Path, amount: int) -> dict[str, float]:
    """``send(...).result()`` on the device, and the bare write of as many bytes, by turns."""
    item = values(1)[0]
    record = item.ljust(ONE_RECORD_BYTES, b"\0")
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "file", os.O_CREAT | os.O_RDWR | os.O_APPEND)

    def write() -> None:
        for _ in range(AT_ONCE):
            os.write(descriptor, record)
            os.fdatasync(descriptor)

    with topic(directory) as (log, _), log.producer(linger_ms=0, durability="disk") as producer:

        def send() -> None:
            for _ in range(AT_ONCE):
                producer.send(TOPIC, item).result()

        taken = by_turns.passes_ns(send, write, AT_ONCE, max(1, amount // AT_ONCE))
    os.close(descriptor)
    ours, bare = (statistics.median(column) / 1e3 for column in zip(*taken, strict=True))
    return {"send_us": ours, "bare_us": bare, "rate_percent": by_turns.relative_rate(taken)}
