"""Fill a small file system up to the last page, in every amount of room, and use a log on it.

Runs as root inside a mount namespace of its own (``unshare -m``). All work is done by children, so that a SIGBUS
shows as the status of one of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable

import harness
from harness import Pipe, check_clean, child, read_all, run, status_of

import eventlog

PAGE = 4096
SEGMENT = {"segment_bytes": 16 * 1024, "index_interval_bytes": 512}
Found = list[tuple[bytes | None, bytes | None]]


def fill(directory: str, pages: int) -> None:
    """Leave this many pages of room."""
    path = os.path.join(directory, "ballast")
    size = 0
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    for step in (64 * PAGE, PAGE):
        try:
            while True:
                size += os.pwrite(fd, b"b" * step, size)
        except OSError:
            os.sync()
    os.ftruncate(fd, size - pages * PAGE)
    os.close(fd)
    os.sync()


def attempt(work: Callable[[], object]) -> bool:
    """Do it; a full disk is the one thing that may come between."""
    try:
        work()
    except eventlog.LogFullError:
        return False
    return True


def prepare(path: str) -> None:
    with eventlog.open(path) as log:
        partition = log.create_topic(harness.TOPIC, partitions=2, **SEGMENT).partitions[0]
        for number in range(6):
            partition.append([b"before %d" % number + b"." * 1500])


def use(path: str, tell: Callable[[object], None]) -> None:
    """Append until the disk is full, in every way there is, then do everything else that wants room."""
    with eventlog.open(path) as log:
        topic = log.topic(harness.TOPIC)
        partition = topic.partitions[0]
        found = read_all(partition)
        failures = 0
        for number in range(40):
            value = b"%d " % number + b"x" * (700 * (number % 7))
            before = partition.log_end_offset
            durability = "disk" if number % 5 == 0 else None
            if attempt(lambda value=value, durability=durability: partition.append([value], durability=durability)):
                found.append((value, None))
            else:
                failures += 1
                assert partition.log_end_offset == before
        failures += produce(log, partition, found)
        assert read_all(partition) == found
        assert attempt(lambda: topic.partitions[1].append([b"first use"])) or read_nothing(topic.partitions[1])
        for name in ("new-a", "new-b"):
            created = attempt(lambda name=name: log.create_topic(name, partitions=3))
            assert (name in log.topics()) == created
        before = len(topic.partitions)
        grown = attempt(lambda: topic.add_partitions(before + 1))
        assert len(log.topic(harness.TOPIC).partitions) == before + grown
        assert read_all(partition) == found
        check_partition(partition)
        tell({"found": [value.decode() for value, _ in found if value is not None], "failures": failures})


def produce(log: eventlog.EventLog, partition: eventlog.Partition, found: Found) -> int:
    """Send records of many sizes: each one that failed is not there, each other one is where its delivery says."""
    producer = log.producer(linger_ms=1000, retries=0)
    failures = 0
    for size in (10, 20_000, 3_000, 100):
        values = [b"sent %d %d " % (size, place) + b"y" * size for place in range(2)]
        deliveries = [producer.send(harness.TOPIC, value, partition=0) for value in values]
        producer.flush()
        errors = [delivery.exception() for delivery in deliveries]
        assert all(error is None or isinstance(error, eventlog.LogFullError) for error in errors), errors
        failures += sum(error is not None for error in errors)
        for delivery, value, error in zip(deliveries, values, errors, strict=True):
            if error is None:
                assert delivery.result().offset == len(found)
                found.append((value, None))
    many = producer.send_many(harness.TOPIC, [b"many"] * 3, partition=0)
    if many.exception() is None:
        found += [(b"many", None)] * 3
    producer.close()
    return failures


def read_nothing(partition: eventlog.Partition) -> bool:
    """The partition has no record, or cannot even be made, which says so."""
    return not attempt(lambda: read_all(partition)) or read_all(partition) == []


def check_partition(partition: eventlog.Partition) -> None:
    report = partition.verify()
    assert report.ok, report


def reopen_full(path: str, expected: Found) -> None:
    """A log on a full disk opens, and gives back what it holds."""
    with eventlog.open(path) as log:
        partition = log.topic(harness.TOPIC).partitions[0]
        assert read_all(partition) == expected
        check_partition(partition)
        consumer = log.consumer(auto_offset_reset="earliest")
        consumer.assign([eventlog.TopicPartition(harness.TOPIC, 0)])
        seen: list[bytes | None] = []
        while records := consumer.poll():
            seen += [record.value for record in records]
        assert seen == [value for value, _ in expected]


def go_on(path: str, expected: Found) -> None:
    """With room again, everything works."""
    for turn in range(2):
        with eventlog.open(path) as log:
            partition = log.topic(harness.TOPIC).partitions[0]
            assert read_all(partition) == expected
            for number in range(8):
                value = b"after %d %d" % (turn, number) + b"z" * 3000
                partition.append([value])
                expected.append((value, None))
            log.topic(harness.TOPIC).partitions[1].append([b"again"])
            log.create_topic(f"again-{turn}").partitions[0].append([b"again"])
            assert read_all(partition) == expected
            check_clean(log)


def tear(directory: str) -> None:
    """Leave half a batch at the end, as a writer does that dies in a write; the last page may have room for it."""
    last = max(name for name in os.listdir(directory) if name.endswith(".log"))
    with contextlib.suppress(OSError), open(os.path.join(directory, last), "ab", buffering=0) as file:
        file.write(b"half a batch")


def one(directory: str, pages: int, die: bool) -> dict[str, object]:
    """Use a log with this much room; ``die``: the writer is killed instead of closing."""
    path = os.path.join(directory, "log")
    run(lambda: prepare(path))
    fill(directory, pages)
    told = Pipe()

    def work() -> None:
        def tell(message: object) -> None:
            told.put(message)
            if die:
                tear(os.path.join(path, "topics", harness.TOPIC, "0"))
                harness.kill_self()

        use(path, tell)

    statuses = [status_of(child(work))]
    messages = told.take_all()
    failures = -1
    if messages:
        failures = messages[0]["failures"]
        expected: Found = [(value.encode(), None) for value in messages[0]["found"]]
        statuses.append(status_of(child(lambda: reopen_full(path, expected))))
        os.unlink(os.path.join(directory, "ballast"))
        os.sync()
        statuses.append(status_of(child(lambda: go_on(path, expected))))
    shutil.rmtree(path)
    return {"pages": pages, "statuses": statuses, "failures": failures}


def main(kind: str, pages: int, die: bool) -> None:
    with tempfile.TemporaryDirectory() as base:
        mount = os.path.join(base, "mount")
        os.mkdir(mount)
        if kind == "tmpfs":
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], check=True)
        else:
            image = os.path.join(base, "image")
            with open(image, "wb") as file:
                file.truncate(16 << 20)
            subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-m", "0", image], check=True)
            subprocess.run(["mount", "-o", "loop", image, mount], check=True)
        try:
            for room in range(pages):
                print(json.dumps(one(mount, room, die)), flush=True)
                if os.path.exists(os.path.join(mount, "ballast")):
                    os.unlink(os.path.join(mount, "ballast"))
        finally:
            subprocess.run(["umount", mount], check=True)


if __name__ == "__main__":
    logging.getLogger("eventlog").setLevel(logging.ERROR)
    run(lambda: main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "die"))
