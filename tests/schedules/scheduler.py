"""Threads that take turns, one line of code after the other, as a strategy says: all that real ones may do, repeatable.

Each task is a thread, of which one runs at a time. Before each line of the code that is watched the strategy may give
the turn to another one, or kill the task's process. A task that has to wait for a lock gives up its turn and tries
again; what sleeps moves a clock of its own. When nothing moves any more, that is a hang.
"""

from __future__ import annotations

import contextlib
import fcntl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, Protocol

from eventlog.files.mutex import Mutex
from eventlog.storage import lock_wait, log_writer
from eventlog.testing.crash_filesystem import CrashFileSystem, SimulatedCrash

_PATIENCE = 120.0  # seconds of real time for the turns of all others
_STUCK = 600.0  # seconds of the tasks' own clock without a line
_MOST_LINES = 30_000  # of one task: it waits for something that never comes
_RETRY = 0.001  # seconds of that clock for each look at a lock that is taken

real_lock, real_sleep, real_monotonic, real_flock = threading.Lock, time.sleep, time.monotonic, fcntl.flock


def _taken_lock() -> Any:
    lock = real_lock()
    lock.acquire()
    return lock


class HangError(AssertionError):
    """No task can go on."""


class Strategy(Protocol):
    """Decides before each line: ``task`` goes on, or another one of ``others`` has its turn."""

    def next(self, task: Task, where: tuple[str, int], others: list[Task]) -> Task | None: ...

    def kills(self, task: Task, where: tuple[str, int]) -> bool: ...


class Task:
    """A thread of a process, whose files are ``process``."""

    def __init__(self, name: str, work: Callable[[], None], process: Callable[[], CrashFileSystem]) -> None:
        self.name = name
        self.lines = 0
        self.done = False
        self.waits = False
        self.error: BaseException | None = None
        self.process = process
        self._work = work
        self.turn = _taken_lock()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.scheduler: Scheduler

    def _run(self) -> None:
        self.turn.acquire()
        sys.settrace(self.scheduler.on_call)
        try:
            self._work()
        except SimulatedCrash:
            pass
        except BaseException as error:
            self.error = error
        finally:
            sys.settrace(None)
            self.done = True
            self.scheduler.pass_on(self)

    def check_alive(self) -> None:
        if self.scheduler.hung:
            raise HangError(f"{self.name}: {self.scheduler.trail[-5:]}")
        if self.process().crashed:
            raise SimulatedCrash(f"{self.name} is dead")


class Scheduler:
    """Runs tasks to their end. ``watched`` are the names of files."""

    def __init__(self, strategy: Strategy, watched: frozenset[str]) -> None:
        self.tasks: list[Task] = []
        self.hung = False
        self.trail: list[str] = []  # where turns were given up
        self._strategy = strategy
        self._watched = watched
        self._codes: dict[CodeType, bool] = {}
        self._by_thread: dict[int, Task] = {}
        self._clock = 0.0
        self._last_line = 0.0
        self._over = _taken_lock()

    def add(self, name: str, work: Callable[[], None], process: Callable[[], CrashFileSystem]) -> None:
        task = Task(name, work, process)
        task.scheduler = self
        self.tasks.append(task)

    def run(self) -> None:
        """Run all tasks, the first one first. Raises what a task has raised, and HangError."""
        for task in self.tasks:
            task.thread.start()
            self._by_thread[task.thread.ident or 0] = task
        self.tasks[0].turn.release()
        assert self._over.acquire(timeout=_PATIENCE), f"the scheduler itself is stuck: {self.trail[-20:]}"
        for task in self.tasks:
            task.thread.join(_PATIENCE)
            if task.error is not None:
                raise task.error

    # --- turns ---

    def current(self) -> Task | None:
        return self._by_thread.get(threading.get_ident())

    def pass_on(self, task: Task) -> None:
        """Give the turn of a task that has ended to another one."""
        others = [other for other in self.tasks if not other.done]
        if others:
            next((other for other in others if not other.waits), others[0]).turn.release()
        else:
            self._over.release()

    def _switch(self, task: Task, other: Task) -> None:
        other.turn.release()
        task.turn.acquire()

    def point(self, where: tuple[str, int]) -> None:
        """Before a line, or where the device takes its time: perhaps it is another one's turn."""
        task = self.current()
        if task is None:
            return
        task.check_alive()
        task.lines += 1
        if task.lines > _MOST_LINES:
            self.hung = True
            task.check_alive()
        task.waits = False
        self._last_line = self._clock
        if self._strategy.kills(task, where):
            self.trail.append(f"{task.name} is killed at {where[0]}:{where[1]}")
            task.process().kill()
            task.check_alive()
        others = [other for other in self.tasks if not other.done and other is not task]
        chosen = self._strategy.next(task, where, others) if others else None
        if chosen is not None:
            self.trail.append(f"{task.name} stops at {where[0]}:{where[1]} for {chosen.name}")
            self._switch(task, chosen)
            task.check_alive()

    def wait(self, task: Task, seconds: float = _RETRY) -> None:
        """The task cannot go on right now."""
        task.check_alive()
        self._clock += seconds
        if self._clock - self._last_line > _STUCK:
            self.hung = True
            task.check_alive()
        task.waits = True
        start = self.tasks.index(task)
        others = [other for other in self.tasks[start + 1 :] + self.tasks[:start] if not other.done]
        if others:
            self._switch(task, others[0])
            task.check_alive()

    def monotonic(self) -> float:
        return real_monotonic() if self.current() is None else self._clock

    def sleep(self, seconds: float) -> None:
        task = self.current()
        if task is None:
            real_sleep(seconds)
        else:
            self.wait(task, seconds)

    # --- tracing ---

    def on_call(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if code not in self._codes:
            name = code.co_filename.rsplit("/", 1)[-1]
            self._codes[code] = name in self._watched and "/eventlog/" in code.co_filename
        return self.on_line if self._codes[code] else None

    def on_line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self.point((frame.f_code.co_filename.rsplit("/", 1)[-1], frame.f_lineno))
        return self.on_line


class TurnLock:
    """A lock of which the waiting gives up the turn."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._real = real_lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        task = self._scheduler.current()
        if task is None or not blocking:
            return self._real.acquire(blocking, timeout) if blocking else self._real.acquire(False)
        deadline = self._scheduler.monotonic() + timeout
        while not self._real.acquire(False):
            if timeout >= 0 and self._scheduler.monotonic() >= deadline:
                return False
            self._scheduler.wait(task)
        return True

    def release(self) -> None:
        self._real.release()

    def locked(self) -> bool:
        return self._real.locked()

    def __enter__(self) -> TurnLock:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


@contextlib.contextmanager
def in_charge(scheduler: Scheduler) -> Iterator[None]:
    """Let locks, ``flock`` and sleeps within the block give up turns."""

    def flock(fd: Any, operation: int) -> None:
        task = scheduler.current()
        if task is None or operation & (fcntl.LOCK_UN | fcntl.LOCK_NB):
            return real_flock(fd, operation)
        while True:
            try:
                return real_flock(fd, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                scheduler.wait(task)

    def wait(mutex: Mutex) -> bool:
        task = scheduler.current()
        while not mutex.acquire(blocking=False):
            if task is None:
                real_sleep(_RETRY)
            else:
                scheduler.wait(task)
        return True

    def wait_on(words: Any, seconds: float) -> None:
        if scheduler.current() is None:
            real_wait_on(words, seconds)
        else:
            scheduler.sleep(seconds)

    real_wait, real_wait_on = Mutex.wait, lock_wait.wait
    lock_wait.wait = wait_on  # type: ignore[attr-defined]
    Mutex.wait = wait  # type: ignore[method-assign]
    threading.Lock = lambda: TurnLock(scheduler)  # type: ignore[assignment,misc]
    fcntl.flock = log_writer._flock = flock
    time.sleep, time.monotonic = scheduler.sleep, scheduler.monotonic
    try:
        yield
    finally:
        threading.Lock, Mutex.wait = real_lock, real_wait  # type: ignore[method-assign]
        lock_wait.wait = real_wait_on  # type: ignore[attr-defined]
        fcntl.flock = log_writer._flock = real_flock
        time.sleep, time.monotonic = real_sleep, real_monotonic
