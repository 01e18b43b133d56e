"""Interrupt calls: at random moments by a real signal, or before one line after the other."""

from __future__ import annotations

import contextlib
import dis
import gc
import itertools
import linecache
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_ENOUGH = 20  # interrupts
_MOST_TIMES = 20  # as many rounds as usual: where others slow down the machine, fewer of them are interrupted


def typical_seconds(function: Callable[[], Any], calls: int) -> float:
    """Return how long the call takes: the median, which a machine that stands still for a while does not change."""
    ends = [time.perf_counter()]
    for _ in range(calls):
        function()
        ends.append(time.perf_counter())
    return statistics.median(end - start for start, end in itertools.pairwise(ends))


class Interrupter:
    """Calls things, and interrupts each call once, at a random moment."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._armed = False
        self.interrupted = 0
        print(f"seed {seed}")

    def on_alarm(self, signum: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise KeyboardInterrupt

    def call(self, function: Callable[[], Any], longest: float) -> tuple[Any, KeyboardInterrupt | None]:
        """Return what the call returned, or the interrupt that ended it; ``longest`` delay in seconds."""
        try:
            try:
                self._armed = True
                signal.setitimer(signal.ITIMER_REAL, self._random.uniform(1e-6, longest))
                return function(), None
            finally:
                self._armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt as interrupt:
            self.interrupted += 1
            return None, interrupt

    def rounds(self, usual: int) -> Iterator[int]:
        """Count the usual rounds, and more of them until enough calls were interrupted."""
        yield from range(usual)
        for number in range(usual, _MOST_TIMES * usual):
            if self.interrupted > _ENOUGH:
                return
            yield number
        assert self.interrupted > _ENOUGH, f"only {self.interrupted} calls were interrupted"


@contextlib.contextmanager
def interrupts(seed: int) -> Iterator[Interrupter]:
    """Let an interrupter have the alarm signal for as long as the block runs.

    What other tests left behind is kept from running within a call, where Python would swallow the interrupt: garbage
    with finalizers, and callbacks of the garbage collector, such as that by which Hypothesis measures it.
    """
    made = Interrupter(seed)
    gc.collect()
    gc.freeze()
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    before = signal.signal(signal.SIGALRM, made.on_alarm)
    try:
        yield made
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.callbacks += callbacks
        gc.unfreeze()


def open_files(directory: Path) -> list[str]:
    """Return the path of each descriptor that this process has open below the directory, deleted files too."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself, or another thread has closed it
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [name for name in found if name.startswith(f"{directory}/")]


def files_in_use(directory: Path) -> list[str]:
    """Return what this process has open, or ``mapped: ``, below the directory, deleted files too."""
    maps = Path("/proc/self/maps").read_text()
    mapped = [line.split(maxsplit=5)[5] for line in maps.splitlines() if "/" in line]
    return open_files(directory) + [f"mapped: {name}" for name in mapped if name.startswith(f"{directory}/")]


class _Unseen:
    """Tells the lines before which Python looks for no signal: ``lines``, and those that are none."""

    def __init__(self, lines: Collection[str]) -> None:
        self._lines = lines
        self.entered: set[tuple[FrameType, int]] = set()

    def __call__(self, frame: FrameType) -> bool:
        code = frame.f_code
        if code.co_code[frame.f_lasti] == dis.opmap["POP_EXCEPT"]:
            return True  # raised here, CPython would go on for ever as if it handled the exception from before
        line = linecache.getline(code.co_filename, frame.f_lineno).strip()
        if not line.startswith("with "):
            return line == "try:" or line in self._lines
        place = frame, frame.f_lineno
        if place in self.entered:  # on the way out of a ``with`` its line comes again
            return True
        self.entered.add(place)
        return False


def interrupted_before_line(
    number: int, call: Callable[[], Any], is_traced: Callable[[CodeType], bool], unseen: Collection[str] = ()
) -> str | None:
    """Run the call, interrupted before its line of this number; return where that was, None if there is no such.

    Counted are the lines of the code that ``is_traced``, but those before which Python looks for no signal: it does so
    behind calls, at the ends of loops and where a function begins. ``unseen`` are some of them.
    """
    where: list[str] = []
    try:
        called_before_line(number, call, is_traced, _interrupt, where, unseen)
    except KeyboardInterrupt:
        assert where
    assert sys.exc_info()[1] is None, f"left behind by an interrupt at {where}"
    return where[0] if where else None


def _interrupt() -> None:
    raise KeyboardInterrupt


def called_before_line(
    number: int,
    call: Callable[[], Any],
    is_traced: Callable[[CodeType], bool],
    action: Callable[[], Any],
    where: list[str],
    unseen: Collection[str] = (),
) -> None:
    """Run the call, and the action before its line of this number, as a signal handler would be run.

    ``where`` gets the place; it stays empty if there is no such line. Lines are counted as above.
    """
    left = number
    is_unseen = _Unseen(unseen)
    traced: dict[CodeType, bool] = {}

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if event == "line" and not where and not is_unseen(frame):
            left -= 1
            if left < 0:
                where.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}")
                action()
        return on_line

    def on_call(frame: FrameType, event: str, _: Any) -> Any:
        code, caller = frame.f_code, frame.f_back
        if code not in traced:
            traced[code] = is_traced(code)
        finalizes = "__del__" in (code.co_name, "" if caller is None else caller.f_code.co_name)
        return on_line if traced[code] and not finalizes else None  # a finalizer swallows what is raised in it

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        call()
    finally:
        sys.settrace(before)
        is_unseen.entered.clear()  # the frames, and all that they hold
