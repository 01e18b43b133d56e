"""A log with all its clients, and every public call of them: for tests in which one call comes within another."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import eventlog
from eventlog import TopicPartition

APPEND_TO_ALL = """
import eventlog
with eventlog.open(ARGS[0]) as log:
    for name in log.topics():
        log.topic(name).partitions[0].append([b"from another process"], durability="disk")
    log.create_topic("another")
    with log.consumer("t", group="g") as consumer:
        consumer.poll(), consumer.commit()
    producer = log.producer(transactional_id="x")
    producer.init_transactions()
    with producer.transaction():
        producer.send("t", b"in a transaction")
    answer(sorted(log.topics()))
"""


class World:
    """A log and its clients. What a call has closed is there again for the next one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = eventlog.open(path)
        self.log.create_topic("t", exist_ok=True, segment_bytes=4096)
        self.log.create_topic("u", exist_ok=True)
        self.accepted: dict[bytes, eventlog.Delivery] = {}
        self.numbers = iter(range(1_000_000))
        self.renew()

    def renew(self) -> None:
        """Have clients that are not closed."""
        log = self.log
        self.partition = log.topic("t").partitions[0]
        self.producer = log.producer(linger_ms=0)
        self.lingering = log.producer(linger_ms=1000, batch_size=200)
        self.delivery = self.lingering.send("t", b"waits")
        self.consumer = log.consumer("t", group="g", enable_auto_commit=False)
        self.consumer.poll()
        self.reader = log.consumer("t")
        self.transactional = log.producer(transactional_id="x")
        self.transactional.init_transactions()

    def value(self) -> bytes:
        return b"%d" % next(self.numbers)

    def send(self, producer: eventlog.Producer) -> None:
        value = self.value()
        self.accepted[value] = producer.send("t", value)

    def transact(self) -> None:
        with self.transactional.transaction():
            self.transactional.send("t", self.value())
            self.transactional.send("u", self.value())

    def commit(self) -> None:
        self.consumer.commit({TopicPartition("t", 0): 0})

    def create(self) -> None:
        name = f"made-{next(self.numbers)}"
        self.log.create_topic(name).partitions[0].append([b"x"])
        self.log.delete_topic(name)

    def close_clients(self) -> None:
        self.producer.close()
        self.lingering.close(timeout=20)
        self.consumer.close()
        self.transactional.close()


CALLS: dict[str, Callable[[World], Any]] = {
    "append": lambda world: world.partition.append([world.value()]),
    "append to disk": lambda world: world.partition.append([world.value()] * 3, durability="disk"),
    "send": lambda world: world.send(world.producer),
    "send, lingering": lambda world: world.send(world.lingering),
    "result": lambda world: world.producer.send("t", world.value()).result(timeout=20),
    "send_many": lambda world: world.producer.send_many("t", [world.value()] * 3),
    "flush": lambda world: (world.send(world.lingering), world.lingering.flush(timeout=20)),
    "log.flush": lambda world: world.log.flush(),
    "transaction": World.transact,
    "poll": lambda world: world.consumer.poll(),
    "poll without a group": lambda world: world.reader.poll(),
    "commit": World.commit,
    "create and delete": World.create,
    "log.consumer": lambda world: world.log.consumer("t", group="g").close(),
    "group": lambda world: world.log.group("g"),
    "read": lambda world: world.partition.read(max(0, world.partition.log_end_offset - 10)),
    "close clients": World.close_clients,
}
# What a call may say that came in the middle of another one, of the same objects, or behind one that has closed them.
ALLOWED = (
    eventlog.ReentrantCallError, eventlog.ClosedError, eventlog.IllegalStateError, eventlog.CommitFailedError,
)  # fmt: skip


def allowed(call: Callable[[], Any]) -> None:
    with contextlib.suppress(*ALLOWED):
        call()


def every_batch(partition: eventlog.Partition) -> Iterator[eventlog.RecordBatch]:
    offset = 0
    while batches := partition.read(offset):
        yield from batches
        offset = batches[-1].last_offset + 1


def check(world: World, run_python: Any) -> None:
    """Nothing is held, other processes go on at once, and each record that was accepted is there once."""
    assert not world.partition.log.writer._mutex.locked()
    assert run_python(APPEND_TO_ALL, world.path, timeout=60)
    world.close_clients()
    offsets = [delivery.result(timeout=20).offset for delivery in world.accepted.values()]
    values = [value for batch in every_batch(world.partition) for value in batch.values()]
    assert len(values) == world.partition.log_end_offset
    assert [values[offset] for offset in offsets] == list(world.accepted)
    counted = Counter(value for value in values if value in world.accepted)
    assert set(counted.values()) <= {1}
    world.log.close()
