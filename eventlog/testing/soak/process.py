"""A worker's process: a fork of the one that runs the soak, which itself never opens the log."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

_LOOK_EVERY = 0.01  # seconds
_KILLED_WITHIN = 60.0  # seconds: it may have to finish a system call
_PR_SET_PDEATHSIG = 1


class ForkedProcess:
    """Runs ``work`` in a child, whose standard error goes into a file. Only ever ended by its own id."""

    def __init__(self, name: str, work: Callable[[], None], errors: Path) -> None:
        self.name = name
        self.errors = errors
        self.status: int | None = None  # as `os.waitstatus_to_exitcode` has it
        self.continues_at: float | None = None  # monotonic seconds, while stopped
        self.was_killed = False
        self._was_asked_to_end = False
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():  # numpy's idle threads do not matter: the child runs code of this package only
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if not self.pid:
            _run_child(work, errors)

    def is_running(self) -> bool:
        """Tell whether it has not ended yet."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; False when it has not within ``seconds``."""
        deadline = time.monotonic() + seconds
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            threading.Event().wait(_LOOK_EVERY)
        return True

    def kill(self) -> None:
        """End it here and now."""
        if self.is_running():
            self.was_killed = True
            self._send(signal.SIGKILL)
            self.wait(_KILLED_WITHIN)

    def stop(self, seconds: float) -> None:
        """Keep it from running until `go_on`, which is due in ``seconds``."""
        self._send(signal.SIGSTOP)
        self.continues_at = time.monotonic() + seconds

    def go_on(self) -> None:
        """Let it run on."""
        self.continues_at = None
        self._send(signal.SIGCONT)

    def end(self) -> None:
        """Ask it to finish; a stopped one runs on for that."""
        self._was_asked_to_end = True
        self._send(signal.SIGTERM)
        if self.continues_at is not None:
            self.go_on()

    @property
    def has_died(self) -> bool:
        """Tell whether it came to an end that was not meant; one that was asked to end may not have begun."""
        expected = (0, None, -signal.SIGTERM) if self._was_asked_to_end else (0, None)
        return not self.was_killed and self.status not in expected

    def show_stacks(self) -> None:
        """Have it write where its threads are into the file of its errors."""
        self._send(signal.SIGUSR1)

    def _send(self, number: signal.Signals) -> None:
        if self.is_running():
            os.kill(self.pid, number)


def _run_child(work: Callable[[], None], errors: Path) -> None:
    """Run the work, and end this process without a way back into the parent's code."""
    status = 1
    try:
        fd = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(fd, 2)
        sys.stderr = os.fdopen(2, "w")  # whatever it was: a test runner may have replaced it
        _arm_signals()
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _arm_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends its children
    if sys.platform == "linux":  # elsewhere a worker looks for its parent itself, between two steps
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
