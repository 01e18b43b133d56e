"""What idempotence costs a record that is sent, and a transaction those that are in it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import eventlog
from benchmarks.contestants.ours import TOPIC, records, send_parts, send_transaction, topic
from benchmarks.probes import by_turns
from benchmarks.workloads import PARTITIONS, expect, transactions, values
from eventlog.files.filesystem import FileSystem

Send = Callable[[eventlog.Producer, list[list[bytes]]], None]


def idempotence(directory: Path, amount: int) -> dict[str, float]:
    """Nanoseconds a record of ``send`` with a ``flush`` at the end: with ``enable_idempotence``, and without it."""
    items = values(amount)

    def send(producer: eventlog.Producer, name: str) -> None:
        for value in items:
            producer.send(name, value)
        producer.flush()

    directory.mkdir(parents=True, exist_ok=True)
    with (
        eventlog.open(directory / "log") as log,
        log.producer(enable_idempotence=True) as idempotent,
        log.producer(enable_idempotence=False) as plain,
    ):
        made = [log.create_topic("idempotent"), log.create_topic("plain")]
        taken = by_turns.passes_ns(lambda: send(idempotent, "idempotent"), lambda: send(plain, "plain"), amount)
        expect(records(made[0]), records(made[1]))
    return _figures("idempotent", taken)


def transaction(directory: Path, amount: int) -> dict[str, float]:
    """Nanoseconds a record of ``send_many`` into each of 4 partitions: in transactions of 1,000, and without."""
    return _transaction(directory, amount, "os")


def transaction_durable(directory: Path, amount: int) -> dict[str, float]:
    """The same on the device."""
    return _transaction(directory, amount, "disk")


def _transaction(directory: Path, amount: int, durability: str) -> dict[str, float]:
    all_parts = transactions(values(amount))

    def write(send: Send, producer: eventlog.Producer) -> None:
        for parts in all_parts:
            send(producer, parts)

    with producers(directory, durability) as (made, in_transactions, plain):
        taken = by_turns.passes_ns(
            lambda: write(send_transaction, in_transactions), lambda: write(send_parts, plain), amount
        )
        expect(records(made), 2 * (by_turns.UNCOUNTED + by_turns.PASSES) * amount)
    return _figures("transaction", taken)


def _figures(name: str, taken: list[tuple[float, float]]) -> dict[str, float]:
    ours, plain = (statistics.median(column) for column in zip(*taken, strict=True))
    return {f"{name}_ns": ours, "plain_ns": plain, "rate_percent": by_turns.relative_rate(taken)}


@contextmanager
def producers(
    directory: Path, durability: str, filesystem: FileSystem | None = None
) -> Iterator[tuple[eventlog.Topic, eventlog.Producer, eventlog.Producer]]:
    """A topic of 4 partitions, a producer of transactions, and one without."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
        topic(directory, filesystem, partitions=PARTITIONS) as (log, made),
        log.producer(transactional_id=TOPIC, durability=durability) as in_transactions,
        log.producer(durability=durability) as plain,
    ):
        yield made, in_transactions, plain


class _CountsSyncs(FileSystem):
    """The real file system; ``syncs`` counts what goes to the device, files and directories."""

    def __init__(self) -> None:
        self.syncs = 0

    def sync(self, fd: int) -> None:
        self.syncs += 1
        super().sync(fd)

    def sync_directory(self, path: str) -> None:
        self.syncs += 1
        super().sync_directory(path)


def device_syncs(directory: Path, amount: int) -> dict[str, float]:
    """How often a transaction syncs, at most, and how often an append to each of its partitions does, at least.

    Not counted is the first time of each, when files are new and their directories are synced as well.
    """
    fs = _CountsSyncs()
    all_parts = transactions(values(amount))

    def syncs(send: Send, producer: eventlog.Producer) -> list[int]:
        counted = []
        for parts in all_parts[:1] + all_parts:
            before = fs.syncs
            send(producer, parts)
            counted.append(fs.syncs - before)
        return counted[1:]

    with producers(directory, "disk", fs) as (_, in_transactions, plain):
        taken = syncs(send_transaction, in_transactions)
        appends = syncs(send_parts, plain)
    return {"transaction_syncs": max(taken), "appends_syncs": min(appends)}
