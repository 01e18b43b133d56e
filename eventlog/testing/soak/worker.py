"""What all workers share: they open the log, do one step after the other until they are asked to end, and start over
when a fault has thrown them out.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import attrs

import eventlog
from eventlog.model import Record, TopicPartition
from eventlog.testing.history import Poll, Recorder
from eventlog.testing.soak.assignment_notes import AssignmentNotes
from eventlog.testing.soak.failing_filesystem import FailingFileSystem
from eventlog.testing.soak.fencing import Init, note_init
from eventlog.testing.soak.value import name_of
from eventlog.testing.soak.volume import Volume

FAULTS = "faults.jsonl"  # where everybody notes what was done to whom
# What a broken or a full disk is to a program, and a delivery that it has kept waiting for too long.
TROUBLE = (eventlog.StorageError, eventlog.LogFullError, eventlog.DeliveryTimeoutError)
_PAUSE_AFTER_TROUBLE = 0.05  # seconds
_DELIVERY_TIMEOUT_MS = 4000
_TRANSACTION_TIMEOUTS_MS = (1500, 60_000)  # one is shorter than the longest stop


@attrs.frozen
class Post:
    """Where a worker works, and as what. ``number`` is that of its place, ``name`` its own in the history."""

    name: str
    number: int
    seed: str
    volume: Volume
    journals: Path  # a directory that the faults do not touch
    has_io_errors: bool
    may_lose_power: bool


class Worker:
    """One process of the workload. Subclasses do one `step` after the other, with what `begin` has made."""

    places = 1  # how many of them run at a time
    group: str | None = None  # in which it reads
    is_source = False  # makes records of its own: is ended first when the rest is to run dry
    filesystem = FailingFileSystem
    may_have_a_double = False  # who takes its place while it is stopped fences it, and it ends by itself

    def __init__(self, post: Post) -> None:
        self.post = post
        self.rng = random.Random(f"{post.seed} {post.name}")
        self.recorder = Recorder(post.journals / f"{post.name}.jsonl", post.name)
        self.is_ending = False
        self._parent = os.getppid()
        self._sent = 0

    def run(self) -> None:
        """Work until SIGTERM; a worker whose parent is gone ends by itself."""
        signal.signal(signal.SIGTERM, self._end)
        while self.goes_on():
            try:
                with contextlib.ExitStack() as held:
                    self.begin(held.enter_context(self.opened_log()), held)
                    while self.goes_on():
                        self.step()
            except eventlog.ProducerFencedError:  # someone else has this place by now
                self._note_fault("fenced")
                self.is_ending = True
            except TROUBLE:
                self.recorder.info("crash")
                self.pause(_PAUSE_AFTER_TROUBLE)
        self.recorder.close()

    def goes_on(self) -> bool:
        """Tell whether there is more to do."""
        return not self.is_ending and os.getppid() == self._parent

    def begin(self, log: eventlog.EventLog, held: contextlib.ExitStack) -> None:
        """Make producers and consumers; what ``held`` closes is closed before the log."""
        raise NotImplementedError

    def step(self) -> None:
        """Do a little."""
        raise NotImplementedError

    # --- helpers ---

    def opened_log(self) -> eventlog.EventLog:
        """Open the log on a file system that fails as the post says."""
        note = (lambda call: self._note_fault("eio", call)) if self.post.has_io_errors else None
        failing = self.filesystem(random.Random(self.rng.random()), note, self.post.volume.is_full)
        return eventlog.open(self.post.volume.log_path, filesystem=failing)

    def new_name(self) -> str:
        """Return the name of a value that nobody has sent yet."""
        self._sent += 1
        return f"{self.post.name}:{self._sent}"

    def chance(self, probability: float) -> bool:
        """Tell whether something happens that does so in this part of all cases."""
        return self.rng.random() < probability

    def pause(self, seconds: float) -> None:
        """Leave the processor to the others; nothing waits for this."""
        threading.Event().wait(seconds)

    def durability(self) -> str:
        """Return what the producer asks for: the device, where the power may be cut."""
        return "disk" if self.post.may_lose_power or self.chance(0.3) else "os"

    def poll(self, consumer: eventlog.Consumer, notes: AssignmentNotes, timeout: float, count: int) -> list[Record]:
        """Poll; what a power cut has damaged, of records that were not on the device yet, is jumped over."""
        try:
            return consumer.poll(timeout, count)
        except eventlog.CorruptSegmentError as error:
            if not self.post.may_lose_power or error.next_offset is None:
                raise
            consumer.seek(TopicPartition(str(error.topic), error.partition or 0), error.next_offset)
            notes.note()
            return []

    def producer_settings(self) -> dict[str, Any]:
        """Return a producer's settings: drawn, as far as any may do."""
        return {
            "linger_ms": self.rng.choice([0, 1, 5]),
            "batch_size": self.rng.choice([256, 4096, 65536]),
            "durability": self.durability(),
            "delivery_timeout_ms": _DELIVERY_TIMEOUT_MS,
        }

    def transactional_producer(
        self, log: eventlog.EventLog, held: contextlib.ExitStack, transactional_id: str
    ) -> eventlog.Producer:
        """Return a producer with this id, which fences the one that had it before."""
        settings = {**self.producer_settings(), "transaction_timeout_ms": self.rng.choice(_TRANSACTION_TIMEOUTS_MS)}
        producer = held.enter_context(log.producer(transactional_id=transactional_id, **settings))
        began = time.monotonic_ns()
        producer.init_transactions()
        note_init(self.post.journals, transactional_id, Init(began, time.monotonic_ns(), self.post.name))
        return producer

    def _note_fault(self, kind: str, *details: str) -> None:
        with Recorder(self.post.journals / FAULTS, " ".join((kind, self.post.name, *details))) as recorder:
            recorder.info("fault")

    def _end(self, *signal_and_frame: object) -> None:
        self.is_ending = True


def polled(records: list[Record]) -> Poll:
    """Return what a history says of these records."""
    found: dict[TopicPartition, list[tuple[int, str]]] = {}
    for record in records:
        place = TopicPartition(record.topic, record.partition)
        found.setdefault(place, []).append((record.offset, name_of(record.value)))
    return Poll(found)
