"""Interrupt calls: at random moments by a real signal, or before one line after the other."""

from __future__ import annotations

import dis
import linecache
import os
import random
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


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


def files_in_use(directory: Path) -> list[str]:
    """Return what this process has open or mapped below the directory, deleted files too."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        if os.path.lexists(f"/proc/self/fd/{fd}"):  # that of the listing itself is not
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    maps = Path("/proc/self/maps").read_text()
    found += [line.split(maxsplit=5)[5] for line in maps.splitlines() if "/" in line]
    return [name for name in found if name.startswith(f"{directory}/")]


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
    left, where = number, None
    is_unseen = _Unseen(unseen)
    traced: dict[CodeType, bool] = {}

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left, where
        if event == "line" and where is None and not is_unseen(frame):
            left -= 1
            if left < 0:
                where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"
                raise KeyboardInterrupt
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
    except KeyboardInterrupt:
        assert where is not None
    finally:
        sys.settrace(before)
        is_unseen.entered.clear()  # the frames, and all that they hold
    assert sys.exc_info()[1] is None, f"left behind by an interrupt at {where}"
    return where
