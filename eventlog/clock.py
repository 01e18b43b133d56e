"""The clock as a seam: tests turn time by hand."""

from __future__ import annotations

import time
from typing import Protocol

_LATEST_MS = 2**63 - 1


def wall_ms(seconds: float) -> int:
    """Return a clock's seconds since 1970 in milliseconds, for what the log notes for itself: 0 or more, in 63 bits.

    A machine may start with any time. That refuses its records, which keep their timestamps for ever; it must not be in
    the way of a commit, or of an outcome, whose time is only shown.

    >>> wall_ms(1.5), wall_ms(-1.0), wall_ms(float("nan"))
    (1500, 0, 0)
    """
    if not seconds > 0:  # nor is NaN
        return 0
    return int(seconds * 1000) if seconds < _LATEST_MS // 1000 else _LATEST_MS


class Clock(Protocol):
    """Two readings: wall-clock time for timestamps, monotonic time for waiting."""

    def time(self) -> float:
        """Return seconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        ...


class SystemClock:
    """The machine's clock. The methods are the C functions themselves: a send reads the time once a record."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)  # last: the name hides the module from here on

    def __repr__(self) -> str:
        return "SystemClock()"


class ManualClock:
    """A clock that moves only when told to.

    >>> clock = ManualClock(start=1_700_000_000.0)
    >>> clock.advance(0.25)
    >>> clock.time()
    1700000000.25
    """

    def __init__(self, start: float = 0.0) -> None:
        self._wall = start
        self._elapsed = 0.0

    def time(self) -> float:
        """Return the wall-clock time as set by hand, in seconds."""
        return self._wall

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by ``seconds``."""
        self._wall += seconds
        self._elapsed += seconds

    def __repr__(self) -> str:
        return f"<ManualClock at {self._wall}>"
