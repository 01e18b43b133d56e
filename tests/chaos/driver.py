"""Starts, stops, continues and kills members at random, while a producer writes; then lets the group finish."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import attrs

import eventlog
from eventlog import TopicPartition
from tests.chaos import checker
from tests.chaos.checker import History, read_journal

ROOT = Path(__file__).resolve().parents[2]
MEMBER = Path(__file__).with_name("member.py")
GROUP, TOPIC, PARTITIONS = "billing", "orders", 6
MAX_POLL_INTERVAL_MS = 1500
MOST_MEMBERS = 5
STRATEGIES = ("cooperative-sticky", "cooperative-sticky,range", "range,cooperative-sticky")  # one in common
INSTANCES = ("", "", "", "till-1", "till-2")


@attrs.define
class Running:
    """A member's process; times are monotonic nanoseconds."""

    process: subprocess.Popen[bytes]
    journal: Path
    instance: str
    stops: list[tuple[int, int]] = attrs.Factory(list)
    stopped_at: int = 0
    continues_at: int = 0
    ended: int = 0


class Chaos:
    """One run over a log of its own. ``histories`` are whole once `run` has returned."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.path = directory / "log"
        self.log = eventlog.open(self.path)
        self.log.create_topic(TOPIC, partitions=PARTITIONS)
        self.members: list[Running] = []
        self.counts = dict.fromkeys(("start", "leave", "kill", "stop", "continue"), 0)
        self._rng = random.Random(seed)
        self._done = threading.Event()

    def run(self, seconds: float) -> None:
        """Keep the group busy, then end all disturbances and wait until everything has been read and committed."""
        producer = threading.Thread(target=self._produce)
        producer.start()
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                self._act()
                self._continue_those_due()
                self._done.wait(self._rng.uniform(0.02, 0.4))  # the pace of the disturbances, nothing waits for it
        finally:
            self._done.set()
            producer.join()
        self._finish()

    def _produce(self) -> None:
        rng = random.Random(self._rng.random())
        with self.log.producer(linger_ms=1) as producer:
            while not self._done.wait(0.005):
                for _ in range(rng.randrange(60)):
                    producer.send(TOPIC, b"%d" % rng.randrange(10**9), partition=rng.randrange(PARTITIONS))

    # --- disturbances ---

    def _act(self) -> None:
        running = [member for member in self.members if not member.ended]
        free = [member for member in running if not member.stopped_at]
        actions = ["start"] * (len(running) < MOST_MEMBERS) * 2
        actions += (["leave", "kill", "stop"] if len(free) > 1 else []) or ["start"] * (not running)
        if not actions:
            return
        action = self._rng.choice(actions)
        self.counts[action] += 1
        if action == "start":
            self.start()
        else:
            getattr(self, action)(self._rng.choice(free))

    def start(self) -> None:
        number = len(self.members)
        journal = self.directory / f"member-{number}.jsonl"
        taken = {member.instance for member in self.members if not member.ended}
        instance = self._rng.choice([name for name in INSTANCES if not name or name not in taken])
        command = [
            sys.executable, str(MEMBER), str(self.path), str(journal), self._rng.choice(STRATEGIES),
            str(MAX_POLL_INTERVAL_MS), str(self._rng.randrange(2**32)), instance,
        ]  # fmt: skip
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.members.append(Running(process, journal, instance))

    def leave(self, member: Running) -> None:
        member.process.terminate()
        self._wait(member)
        member.ended = time.monotonic_ns()

    def kill(self, member: Running) -> None:
        member.ended = time.monotonic_ns()  # it does nothing from here on; others may see that before this process does
        member.process.kill()
        self._wait(member)

    def _wait(self, member: Running) -> None:
        """Until it is gone. Others may be stopped with a lock that it needs: they go on when their time has come."""
        while True:
            try:
                status = member.process.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                self._continue_those_due()
        assert status in (0, -signal.SIGKILL, -signal.SIGTERM), f"{member.journal.name} ended with {status}"

    def stop(self, member: Running) -> None:
        member.stopped_at = time.monotonic_ns()
        pause = self._rng.choice([0.05, 0.3, MAX_POLL_INTERVAL_MS / 1000 * 2])
        member.continues_at = member.stopped_at + int(pause * 1e9)
        member.process.send_signal(signal.SIGSTOP)

    def _continue_those_due(self, *, all_of_them: bool = False) -> None:
        now = time.monotonic_ns()
        for member in self.members:
            if member.stopped_at and not member.ended and (all_of_them or member.continues_at <= now):
                member.process.send_signal(signal.SIGCONT)
                member.stops.append((member.stopped_at, time.monotonic_ns()))
                member.stopped_at = 0
                self.counts["continue"] += 1

    # --- the end ---

    def _finish(self) -> None:
        self._continue_those_due(all_of_them=True)
        if all(member.ended for member in self.members):
            self.start()
        for member in self.members:
            if not member.ended:
                self._wait_for_no_lag()
                self.leave(member)

    def _wait_for_no_lag(self) -> None:
        """Until those that are left have read everything; who reads without committing commits as it leaves."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._positions() != self.ends():
            threading.Event().wait(0.05)

    def _positions(self) -> dict[int, int]:
        """Return where the members that are left read on, by their journals."""
        positions = {}
        for member in self.members:
            if not member.ended and member.journal.exists():
                positions.update(checker.positions(read_journal(member.journal)))
        return positions

    def ends(self) -> dict[int, int]:
        """Return each partition's log end offset."""
        return {number: self.log.topic(TOPIC).partitions[number].log_end_offset for number in range(PARTITIONS)}

    def committed(self) -> dict[int, int]:
        """Return the group's committed offsets."""
        found = {}
        with self.log.consumer(group=GROUP) as consumer:
            for number in range(PARTITIONS):
                offset = consumer.committed(TopicPartition(TOPIC, number))
                found[number] = 0 if offset is None else offset.offset
        return found

    def histories(self) -> list[History]:
        """Return what every member has done."""
        return [
            History(member.journal.stem, read_journal(member.journal), member.ended, member.stops)
            for member in self.members
            if member.journal.exists()
        ]

    def close(self) -> None:
        """End what still runs, by its id."""
        for member in self.members:
            if member.process.poll() is None:
                member.process.kill()
                member.process.wait()
        self.log.close()
