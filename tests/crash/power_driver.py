"""Cut the power under a log, many times, and check what is on the disk afterwards.

Runs as root inside a mount namespace of its own (``unshare -m``). The log lies on an ext4 image; the cut is
EXT4_IOC_SHUTDOWN without a flush: whatever the kernel has not written by then never reaches the image. Then the
image is mounted anew, its journal replayed, and a process that never saw the log opens it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import harness
from harness import Pipe, child, record, run, status_of

import eventlog

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
NO_FLUSH = struct.pack("I", 2)
IMAGE_BYTES = 32 << 20
TOPICS = {"durable": {"durability": "disk"}, "lazy": {"durability": "os"}, "mixed": {"flush_messages": 5}}


def cut_power(mount: str) -> None:
    """Shut the file system down; every later write to it fails."""
    fd = os.open(mount, os.O_RDONLY)
    fcntl.ioctl(fd, SHUTDOWN, NO_FLUSH)
    os.close(fd)


class Image:
    """A fresh copy of an empty ext4 image, mounted."""

    def __init__(self, template: str, directory: str) -> None:
        self.path = os.path.join(directory, "image")
        self.mount = os.path.join(directory, "mount")
        os.makedirs(self.mount, exist_ok=True)
        subprocess.run(["cp", "--sparse=always", template, self.path], check=True)
        self.attach()

    def attach(self) -> None:
        """Mount it."""
        subprocess.run(["mount", "-o", "loop", self.path, self.mount], check=True)

    def detach(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", self.mount], check=True)


def take_until_cut(told: Pipe, steps: int, mount: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cut the power while the writer is in the middle of something; return what it told before, and what later.

    Without power it would have been gone as well. Here it goes on for a moment, and a sync that is under way while the
    file system shuts down may return as if all were well. Each message says when it happened, in monotonic ns.
    """
    messages = told.take(steps)
    went = time.monotonic_ns()
    cut_power(mount)
    messages += told.take_all()
    late = [message for message in messages if message["at"] > went]
    return [message for message in messages if message["at"] <= went], late


# --- writers: each tells what was acknowledged to it, and cuts the power itself or is cut off ---


def write(path: str, tell: Callable[[Any], None], stop: Callable[[], None], seed: int) -> None:
    """Append to all three kinds of topics, create one more now and then, and roll small segments all the time."""
    chance = random.Random(seed)
    with eventlog.open(path) as log:
        tell({"log": True})
        partitions = {}
        for name, config in TOPICS.items():
            topic = log.create_topic(name, partitions=1, **harness.SMALL_SEGMENTS, **config)
            partitions[name] = topic.partitions[0]
            tell({"topic": name})
            stop()
        counts = dict.fromkeys(TOPICS, 0)
        for step in range(10_000):
            name = chance.choices(list(TOPICS), [5, 3, 2])[0]
            durability = "disk" if name == "lazy" and chance.random() < 0.1 else None
            values, keys = zip(*(record(counts[name] + n) for n in range(chance.randint(1, 3))), strict=True)
            result = partitions[name].append(list(values), list(keys), durability=durability)
            counts[name] += len(values)
            tell({"append": name, "end": result.last_offset + 1, "durable": result.durable})
            stop()
            if step % 23 == 22:
                log.create_topic(f"extra-{step}", partitions=1 + step % 3)
                tell({"topic": f"extra-{step}"})
                stop()


def write_until_roll(path: str, tell: Callable[[Any], None], cut: Callable[[], None], seed: int) -> None:
    """Append durably until a new segment appears; the power goes right after that acknowledgement."""
    with eventlog.open(path) as log:
        partition = log.create_topic("durable", durability="disk", **harness.SMALL_SEGMENTS).partitions[0]
        tell({"topic": "durable"})
        directory = os.path.join(path, "topics", "durable", "0")
        rolls = 1 + seed % 4
        for number in range(1000):
            value, key = record(number)
            result = partition.append([value], [key])
            tell({"append": "durable", "end": result.last_offset + 1, "durable": result.durable})
            if sum(name.endswith(".log") for name in os.listdir(directory)) > rolls:
                cut()
                return


# --- what must be there ---


def check(path: str, told: list[dict[str, Any]]) -> None:
    """Everything that was acknowledged as durable is there, nothing is corrupt, and every topic goes on."""
    if not any("log" in message or "topic" in message for message in told):
        return
    durable = dict.fromkeys(TOPICS, 0)
    appended = dict.fromkeys(TOPICS, 0)
    for message in told:
        if "append" in message:
            appended[message["append"]] = message["end"]
            if message["durable"]:
                durable[message["append"]] = message["end"]
    with eventlog.open(path) as log:
        missing = {message["topic"] for message in told if "topic" in message} - set(log.topics())
        assert not missing, f"topics are missing: {missing}"
        for name in log.topics():
            for partition in log.topic(name).partitions:
                check_partition(partition, durable.get(name, 0), appended.get(name, 0))
    with eventlog.open(path) as log:
        for name in log.topics():
            partition = log.topic(name).partitions[0]
            (batch,) = partition.read(partition.log_end_offset - 1)
            assert batch.values() == [b"after the cut"]


def check_partition(partition: eventlog.Partition, durable: int, appended: int) -> None:
    """Read up to the end; damage may begin only behind what was durable."""
    offset, lost = 0, None
    while offset < partition.log_end_offset:
        try:
            batches = partition.read(offset)
        except eventlog.CorruptSegmentError as error:
            lost = offset if lost is None else lost
            assert error.next_offset is not None and error.next_offset > offset, error
            offset = error.next_offset
            continue
        for batch in batches:
            assert batch.base_offset == offset
            for number, found in enumerate(zip(batch.values(), batch.keys(), strict=True), offset):
                assert found == record(number), f"{partition}: record {number} is {found}"
            offset = batch.last_offset + 1
    whole = offset if lost is None else lost
    assert whole >= durable, f"{partition}: {whole} records are left, {durable} were acknowledged as durable"
    assert offset <= appended + 3  # one append more, whose acknowledgement was on its way
    report = partition.verify()
    assert not report.problems, report
    assert all(damage.base_offset >= durable for damage in report.damaged), report
    assert partition.append([b"after the cut"]).base_offset == partition.log_end_offset - 1


# --- one cut, and many ---


def one(template: str, directory: str, kind: str, seed: int) -> dict[str, Any]:
    """Cut once; ``kind`` says when."""
    os.makedirs(directory)
    image = Image(template, directory)
    path = os.path.join(image.mount, "log")
    chance = random.Random(seed)
    steps = chance.randint(1, 8) if kind == "creating" else chance.randint(1, 120)
    told = Pipe()

    def put(message: dict[str, Any]) -> None:
        told.put(message | {"at": time.monotonic_ns()})

    def work() -> None:
        left = steps

        def stop() -> None:
            nonlocal left
            left -= 1
            if left == 0 and kind != "load":
                cut_power(image.mount)

        try:
            if kind == "roll":
                write_until_roll(path, put, lambda: cut_power(image.mount), seed)
            else:
                write(path, put, stop, seed)
        except (OSError, eventlog.EventLogError):
            os._exit(0)  # the power is gone

    pid = child(work)
    messages: list[dict[str, Any]] = []
    if kind == "load":  # from outside, while the writer is in the middle of something
        messages, late = take_until_cut(told, steps, image.mount)
        messages += [message | {"durable": False} for message in late if "append" in message]
    else:
        messages = told.take_all()
    assert status_of(pid) == 0
    image.detach()
    image.attach()
    status = status_of(child(lambda: check(path, messages)))
    image.detach()
    shutil.rmtree(directory)
    ends = [message["end"] for message in messages if "append" in message]
    return {"kind": kind, "seed": seed, "good": status == 0, "appends": len(ends)}


def main(one: Callable[[str, str, str, int], dict[str, Any]], seeds: dict[str, list[int]]) -> None:
    """Cut the power once for each seed of each kind, on an image of its own, and print what became of it."""
    with tempfile.TemporaryDirectory() as base:
        template = os.path.join(base, "template")
        with open(template, "wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", template], check=True)
        for kind, numbers in seeds.items():
            for seed in numbers:
                print(json.dumps(one(template, os.path.join(base, f"{kind}-{seed}"), kind, seed)), flush=True)


if __name__ == "__main__":
    logging.getLogger("eventlog").setLevel(logging.ERROR)  # torn tails are what this is about
    run(lambda: main(one, json.loads(sys.argv[1])))
