"""The clock as a seam: tests turn time by hand."""

from __future__ import annotations

import time
from typing import Protocol


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
