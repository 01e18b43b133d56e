"""Cut the power under durable transactions, many times, and check what is on the disk afterwards.

Works as ``tests/crash/power_driver.py`` does, whose parts it uses: an ext4 image that is shut down without a flush.
Runs as root inside a mount namespace of its own (``unshare -m``).
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "crash"))

import harness
from harness import Pipe, child, run, status_of
from power_driver import Image, cut_power, main, take_until_cut

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.model import GroupMetadata

PLACES = [TopicPartition(topic, number) for topic in ("a", "b") for number in range(2)]
INPUT = TopicPartition("in", 0)
PLAIN = TopicPartition("a", 1)  # which others write to, too


def value_of(number: int, tp: TopicPartition) -> bytes:
    """Return the transaction's record for a partition: of different sizes, so that segments roll."""
    return b"%d:" % number + b"v" * (number * 37 % 300 + tp.partition)


def transact(producer: eventlog.Producer, number: int) -> None:
    """Commit the number everywhere, and the group's offset."""
    with producer.transaction():
        for tp in PLACES:
            producer.send(tp.topic, value_of(number, tp), partition=tp.partition)
        producer.send_offsets_to_transaction({INPUT: number}, GroupMetadata("g"))


def write(path: str, tell: Callable[[Any], None], stop: Callable[[], None], seed: int) -> None:
    """Commit durable transactions, abort some, begin anew now and then, with plain appends in between."""
    chance = random.Random(seed)
    with eventlog.open(path) as log:
        for topic in ("a", "b"):
            log.create_topic(topic, partitions=2, **harness.SMALL_SEGMENTS)
        log.create_topic("in").partitions[0].append([b"x"] * 2000, durability="disk")
        tell({"topics": True})
        producer = log.producer(transactional_id="t", durability="disk")
        for number in range(2000):
            if chance.random() < 0.1:
                producer = log.producer(transactional_id="t", durability="disk")
            if chance.random() < 0.2:
                log.topic(PLAIN.topic).partitions[PLAIN.partition].append([b"plain"])
            if chance.random() < 0.1:
                with producer.transaction():
                    producer.send("a", b"aborted", partition=0)
                    producer.abort_transaction()
            transact(producer, number)
            tell({"committed": number})
            stop()


def check(path: str, told: list[dict[str, Any]], late: list[dict[str, Any]]) -> None:
    """Every transaction that was acknowledged is whole, the one after it whole or absent, and transactions go on."""
    if not told:
        return
    least = max((message["committed"] for message in told if "committed" in message), default=-1)
    most = max((message["committed"] for message in late if "committed" in message), default=least)
    with eventlog.open(path) as log:
        last = last_of(log)
        assert least <= last <= most + 1, f"{last} is there, {least} was acknowledged, {most} when the power was gone"
        harness.check_clean(log)
        with log.producer(transactional_id="t", durability="disk") as producer:
            transact(producer, last + 1)
        assert last_of(log) == last + 1
    with eventlog.open(path) as log:
        assert last_of(log) == last + 1
        harness.check_clean(log)


def last_of(log: eventlog.EventLog) -> int:
    """Return the number of the last transaction; each up to it is whole in every partition, and so are offsets."""
    found = set()
    for tp in PLACES:
        values = [v for v, _ in harness.read_all(log.topic(tp.topic).partitions[tp.partition]) if v != b"plain"]
        assert values == [value_of(number, tp) for number in range(len(values))]
        found.add(len(values) - 1)
    assert len(found) == 1, f"partitions end at {found}"
    last = found.pop()
    with log.consumer(group="g") as consumer:
        assert consumer.committed(INPUT) == (OffsetAndMetadata(last) if last >= 0 else None)
    return last


# --- one cut, and many ---


def one(template: str, directory: str, kind: str, seed: int) -> dict[str, Any]:
    """Cut once: right after an acknowledgement (``step``), or from outside, at any moment (``load``)."""
    os.makedirs(directory)
    image = Image(template, directory)
    path = os.path.join(image.mount, "log")
    steps = random.Random(seed).randint(1, 60)
    told = Pipe()

    def put(message: dict[str, Any]) -> None:
        told.put(message | {"at": time.monotonic_ns()})

    def work() -> None:
        left = steps

        def stop() -> None:
            nonlocal left
            left -= 1
            if left == 0 and kind == "step":
                cut_power(image.mount)

        try:
            write(path, put, stop, seed)
        except (OSError, eventlog.EventLogError):
            os._exit(0)  # the power is gone

    pid = child(work)
    messages, late = take_until_cut(told, steps, image.mount) if kind == "load" else (told.take_all(), [])
    assert status_of(pid) == 0
    image.detach()
    image.attach()
    status = status_of(child(lambda: check(path, messages, late)))
    image.detach()
    shutil.rmtree(directory)
    return {"kind": kind, "seed": seed, "good": status == 0, "commits": sum("committed" in m for m in messages)}


if __name__ == "__main__":
    logging.getLogger("eventlog").setLevel(logging.ERROR)  # torn tails are what this is about
    run(lambda: main(one, json.loads(sys.argv[1])))
