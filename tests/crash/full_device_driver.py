"""A device that is full for a moment, as the kernel sees it: what processes are told, and what is on it afterwards.

Runs as root inside a mount namespace of its own. The log lies on ext4, on a loop device, on a tmpfs that another file
fills up: write-backs fail with the kernel's own errors, and work again when that file is gone. At the end the power is
cut. Prints one line of JSON: what each append was told, and what the log holds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
from typing import Any

from power_driver import cut_power

import eventlog
from eventlog.files.filesystem import FileSystem

PATIENCE = 60.0  # seconds
BLOCK = 4096  # bytes
Answers = dict[str, Any]


def padded(name: str) -> bytes:
    """A record of more pages than removed files may have left, which have room on the device; it ends within one."""
    return name.encode().ljust(201_000, b".")


class Stopping(FileSystem):
    """Stops before a sync, or when one has failed, until it is told to go on."""

    def __init__(self, when: str) -> None:
        self.when = when
        self.stopped, self.go = threading.Event(), threading.Event()

    def _stop(self) -> None:
        self.stopped.set()
        assert self.go.wait(PATIENCE)

    def sync(self, fd: int) -> None:  # type: ignore[override]
        if self.when == "before":
            self._stop()
        try:
            os.fdatasync(fd)
        except OSError:
            if self.when == "told":
                self._stop()
            raise


def start(answers: Answers, partition: eventlog.Partition, name: str) -> threading.Thread:
    """Append durably in a thread."""

    def append() -> None:
        try:
            answers[name] = partition.append([padded(name)], durability="disk").base_offset
        except eventlog.EventLogError as error:
            answers[name] = type(error).__name__

    thread = threading.Thread(target=append)
    thread.start()
    return thread


def fill(path: str) -> None:
    """Take all space that is left."""
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def make_image(path: str) -> None:
    """Make a file system whose files alone need room on the device that lies below.

    Its journal and its tables have theirs: what is written there on a timer fails on no full device, which would end
    the story, as ext4 refuses everything from then on.
    """
    options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    with open(path, "wb") as file:
        file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-qF", f"-b{BLOCK}", "-Jsize=4", "-N400", "-E", options, path], check=True)
        os.posix_fallocate(file.fileno(), 0, 64 << 20)
    layout = subprocess.run(["dumpe2fs", path], check=True, capture_output=True, text=True).stdout
    (free,) = re.findall(r"^ +Free blocks: (.+)$", layout, re.MULTILINE)  # of the only group
    for first, last in re.findall(r"(\d+)-(\d+)", free):
        place = ["--offset", str(int(first) * BLOCK), "--length", str((int(last) + 1 - int(first)) * BLOCK)]
        subprocess.run(["fallocate", "--punch-hole", *place, path], check=True)


def mounted(image: str, mount: str) -> None:
    """Mount the image. It is written a page at a time: a loop device calls it a success to write the first of many."""
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    device = os.stat(mount).st_dev
    with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue/max_sectors_kb", "w") as file:
        file.write(str(BLOCK >> 10))


def recovered_by_another(root: str, filler: str, answers: Answers) -> None:
    """X waits for its sync; Y's fails, it opens the log again on a device that works, and appends."""
    fs = Stopping("never")
    x = eventlog.open(root, filesystem=fs).topic("t").partitions[0]
    x.append([padded("before")], durability="disk")
    fill(filler)
    fs.when = "before"
    threads = [start(answers, x, "x1")]
    assert fs.stopped.wait(PATIENCE)
    threads.append(start(answers, x, "x2"))
    while x.log_end_offset < 4:
        threading.Event().wait(0.001)
    log = eventlog.open(root)
    start(answers, log.topic("t").partitions[0], "y").join()
    with contextlib.suppress(eventlog.StorageError):
        log.close()
    os.unlink(filler)
    with contextlib.suppress(eventlog.StorageError):
        partition = eventlog.open(root).topic("t").partitions[0]
        for name in ("z1", "z2", "z3"):
            start(answers, partition, name).join()
    fs.when = "never"
    fs.go.set()
    for thread in threads:
        thread.join(PATIENCE)


def opened_when_another_was_told(root: str, filler: str, answers: Answers) -> None:
    """X has published; Y is told that its sync failed, and stops; X opens its descriptor, and flushes."""
    x = eventlog.open(root).topic("t").partitions[0]
    x.append([padded("x")])
    fs = Stopping("told")
    y = eventlog.open(root, filesystem=fs).topic("t").partitions[0]
    fill(filler)
    start(answers, y, "y")
    assert fs.stopped.wait(PATIENCE)
    os.unlink(filler)
    try:
        x.flush()
        answers["x"] = 1
    except eventlog.StorageError as error:
        answers["x"] = type(error).__name__


def recovered_while_another_reads(root: str, filler: str, answers: Answers) -> None:
    """X has read all records, so their pages stay. Y's sync fails, and it opens the log again, and appends."""
    reader = eventlog.open(root).topic("t").partitions[0]
    log = eventlog.open(root)
    y = log.topic("t").partitions[0]
    y.append([padded("y0")], durability="disk")
    y.append([padded("y1")])
    values = [value for batch in reader.read(0, 1 << 24) for value in batch.values()]
    assert len(values) == 3
    fill(filler)
    start(answers, y, "y2").join()
    values += [value for batch in reader.read(0, 1 << 24) for value in batch.values()]
    with contextlib.suppress(eventlog.StorageError):
        log.close()
    os.unlink(filler)
    partition = eventlog.open(root).topic("t").partitions[0]
    for name in ("z1", "z2", "z3"):
        start(answers, partition, name).join()
    values += [value for batch in reader.read(0, 1 << 24) for value in batch.values()]
    assert len(values) == 3 + 4 + 7  # each time from the first one on


KINDS = {
    function.__name__: function
    for function in (recovered_by_another, opened_when_another_was_told, recovered_while_another_reads)
}


def run(base: str, kind: str) -> None:
    """Play one of the stories, cut the power, and tell."""
    mount, image = f"{base}/mnt", f"{base}/image"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "none", base], check=True)
    os.mkdir(mount)
    make_image(image)
    mounted(image, mount)
    answers: Answers = {}
    child = os.fork()  # who has nothing mapped can unmount
    if not child:
        with eventlog.open(f"{mount}/log") as log:
            log.create_topic("t").partitions[0].append([padded("first")], durability="disk")
        os.sync()
        KINDS[kind](f"{mount}/log", f"{base}/filler", answers)
        with open(f"{base}/answers", "w") as file:
            json.dump(answers, file)
        cut_power(mount)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    subprocess.run(["umount", mount], check=True)
    mounted(image, mount)
    with eventlog.open(f"{mount}/log") as log:
        batches = log.topic("t").partitions[0].read(0, 1 << 24)
        held = [value.rstrip(b".").decode() for batch in batches for value in batch.values()]
    with open(f"{base}/answers") as file:
        print(json.dumps({"told": json.load(file), "held": held}))
    subprocess.run(["umount", "-l", mount], check=True)


if __name__ == "__main__":
    logging.getLogger("eventlog").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as directory:
        try:
            run(directory, sys.argv[1])
        finally:
            subprocess.run(["umount", "-l", directory], check=False)
