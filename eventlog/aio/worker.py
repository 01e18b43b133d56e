"""A thread of its own, for what must not block the event loop."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from eventlog.errors import ClosedError


class Job(Protocol):
    """Something to be done by a worker."""

    def run(self) -> None:
        """Do it. Raises nothing."""

    def refuse(self) -> None:
        """It will not be done: the worker has ended."""


class JobQueue:
    """Jobs in order. Whatever is put in is either taken out or refused, also when it comes as the queue is shut."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # may be put into by a finalizer
        self._is_shut = False

    def put(self, job: Job) -> None:
        """Append a job."""
        self._jobs.put(job)
        if self._is_shut:
            self.shut()

    def end(self) -> None:
        """Let who takes the jobs out find None behind those that are here now."""
        self._jobs.put(None)

    def get(self, timeout: float | None = None) -> Job | None:
        """Take out the next job, None for the end. Raises queue.Empty when the time is over."""
        return self._jobs.get(timeout=timeout)

    def shut(self) -> None:
        """Refuse what is here, and what comes later."""
        self._is_shut = True
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                job.refuse()


class Worker:
    """Does jobs one after the other, in a thread that begins with the first one and ends with `stop`.

    ``finish`` is the last thing that the thread does. Not the default executor of the loop, whose threads may all be
    taken by calls that wait for each other. The thread is a daemon: it holds up no interpreter that ends.
    """

    def __init__(self, name: str, finish: Callable[[], None]) -> None:
        self._name = name
        self._finish = finish
        self._jobs = JobQueue()
        self._thread: threading.Thread | None = None
        self._pid = 0

    @property
    def is_started(self) -> bool:
        """Tell whether there is, or was, a thread."""
        return self._thread is not None

    @property
    def is_forked(self) -> bool:
        """Tell whether the thread is that of the parent process, where it stays."""
        return self._thread is not None and self._pid != os.getpid()

    def refuse_forked(self) -> None:
        """Raise ClosedError in a forked child."""
        if self.is_forked:
            raise ClosedError("this belongs to the parent process", hint="make a new one in the forked child")

    def put(self, job: Job) -> None:
        """Have a job done."""
        if self._thread is None:
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def stop(self) -> None:
        """End when the jobs so far are done. Takes no lock: a finalizer may call it."""
        self._jobs.end()

    def join(self) -> None:
        """Wait for the end of the thread."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._do_jobs()
        finally:
            self._jobs.shut()
            self._finish()

    def _do_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job  # which may hold what keeps this thread's owner alive
