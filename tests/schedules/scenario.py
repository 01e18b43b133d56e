"""Several processes that append durably to one partition of a device that fails, and what may never come of it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import eventlog
from eventlog.testing.simulated_disk import SimulatedDirectory, SimulatedFile
from tests.schedules.kernel import FailingFileSystem, Kernel
from tests.schedules.scheduler import Scheduler, Strategy, in_charge

WATCHED = frozenset({
    "flusher.py", "head.py", "marked_sync.py", "sync_marks.py", "write_again.py", "writer_lives.py", "log_end.py",
    "writer_files.py", "log_writer.py", "recovery.py", "attachment.py", "partition_log.py",
})  # fmt: skip
_MOST_OPENED = 4  # times that a process opens the log, until it gives up


class Process:
    """One process: it opens the log, and again after each failed sync, as the error says."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.fs = world.first.another_process()
        self._world = world
        self.log = eventlog.open(world.root, filesystem=self.fs)
        self.opened = 1

    @property
    def partition(self) -> eventlog.Partition:
        return self.log.topic("t").partitions[0]

    def append(self, value: bytes, durability: str = "disk") -> None:
        """Append a record; what it is told is noted."""
        result = self.partition.append([value], durability=durability)
        if durability == "disk":
            self._world.acknowledged(result.base_offset, value, self.name)

    def append_and_flush(self, value: bytes) -> None:
        """Append a record, and flush: if both succeed, it is as good as one that was appended durably."""
        partition = self.partition  # of one log: another thread may open it again in between, which loses the record
        offset = partition.append([value]).base_offset
        partition.flush()
        self._world.acknowledged(offset, value, self.name)

    def reopen(self) -> None:
        """Close the log, which may say that records are lost, and open it."""
        with contextlib.suppress(eventlog.EventLogError):
            self.log.close()
        self.opened += 1
        self.log = eventlog.open(self._world.root, filesystem=self.fs)

    def work(self, steps: list[Callable[[], None]]) -> Callable[[], None]:
        """Return what does these steps; after an error it opens the log again, and goes on with the next one."""

        def run() -> None:
            for step in steps:
                try:
                    step()
                except (eventlog.ClosedError, eventlog.LockTimeoutError):
                    continue  # another thread opens it again, or stands still
                except eventlog.StorageError:
                    if self.opened < _MOST_OPENED:
                        with contextlib.suppress(eventlog.StorageError, eventlog.LockTimeoutError):
                            self.reopen()

        return run


class World:
    """A log on a device that fails, and the acknowledgements that its processes were given."""

    def __init__(
        self, path: Path, strategy: Strategy, failing: set[int], *, drops: bool, watched: frozenset[str] = WATCHED
    ) -> None:
        self.path, self.root = path, path / "log"
        self.kernel = Kernel(failing, drops=drops)
        self.scheduler = Scheduler(strategy, watched)
        self.acks: list[tuple[int, bytes, str]] = []
        self.processes: list[Process] = []
        self.first = FailingFileSystem.first(self.root, self.kernel)

    def acknowledged(self, offset: int, value: bytes, name: str) -> None:
        """Note an acknowledgement as durable: a power cut at this very moment would leave the record."""
        directory = self.first.disk.find(str(self.root / "topics" / "t" / "0"))
        assert isinstance(directory, SimulatedDirectory)
        segments = [file for at, file in directory.names.items() if at.endswith(".log")]
        on_medium = any(isinstance(file, SimulatedFile) and value in file.durable for file in segments)
        assert on_medium, f"{value!r} was acknowledged to {name} at {offset}, and is not on the medium"
        self.acks.append((offset, value, name))

    def run(self, build: Callable[[World], None]) -> None:
        """Let the processes that ``build`` makes do their work, and check what they were told."""
        with in_charge(self.scheduler):
            failing, self.kernel.failing = self.kernel.failing, set()
            with eventlog.open(self.root, filesystem=self.first) as log:
                log.create_topic("t").partitions[0].append([b"first record"], durability="disk")
            build(self)
            self.acknowledged(0, b"first record", "setup")
            self.kernel.failing = {number + self.kernel.write_backs for number in failing}
            self.kernel.point = self.scheduler.point
            self.scheduler.run()
            self.kernel.point = lambda where: None
            self.kernel.failing = set()
            self._check_living()
        self._check_cut()

    def process(self, name: str) -> Process:
        made = Process(self, name)
        self.processes.append(made)
        return made

    def start(self, process: Process, steps: list[Callable[[], None]], name: str = "") -> None:
        self.scheduler.add(name or process.name, process.work(steps), lambda: process.fs)

    def _check_living(self) -> None:
        offsets = [offset for offset, *_ in self.acks]
        assert len(set(offsets)) == len(offsets), f"one offset was acknowledged twice: {self.acks}"
        reader = self.first.another_process()
        with eventlog.open(self.root, filesystem=reader) as log:
            self._check(log, "live")
            assert log.topic("t").partitions[0].append([b"last"], durability="disk").durable

    def _check_cut(self) -> None:
        loses_most = lambda n: n - 1  # noqa: E731  # what `PowerCut` asks
        for number, choose in enumerate((loses_most, random.Random(len(self.acks)).randrange)):
            target = self.path / f"cut{number}"
            self.first.after_power_cut(target, choose)
            with eventlog.open(target) as log:
                self._check(log, f"power cut {number}")

    def _check(self, log: eventlog.EventLog, when: str) -> None:
        partition = log.topic("t").partitions[0]
        for offset, value, name in self.acks:
            try:
                held = partition.read(offset, 1)[0].values() if offset < partition.log_end_offset else [None]
            except eventlog.EventLogError as error:
                held = [str(error).encode()]
            assert held[0] == value, (
                f"{when}: {value!r} was acknowledged to {name} at {offset}, which holds {held[0]!r}"
            )

    def close(self) -> None:
        """Give back what the dead processes had."""
        for process in self.processes:
            process.fs.kill()
        self.first.kill()
