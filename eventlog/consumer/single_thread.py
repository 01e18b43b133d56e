"""One consumer, one thread: a second one gets an error instead of waiting."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from eventlog.errors import ConcurrentAccessError, IllegalStateError

Held = contextlib.AbstractContextManager[object]
_HELD_ALREADY: Held = contextlib.nullcontext()


class SingleThread:
    """Hands out the lock to hold for one call."""

    def __init__(self) -> None:
        self._in_use = threading.Lock()
        self._calling_back = 0  # the thread that holds the lock and runs the caller's own code now

    def held(self) -> Held:
        """Return what to hold for one call. Raises ConcurrentAccessError while another thread is in one.

        The lock itself, since no interrupt comes between taking it and entering a ``with`` on it; two threads that
        come at the very same moment have their turn one after the other.
        """
        if self._in_use.locked():
            if self._calling_back == threading.get_ident():
                return _HELD_ALREADY
            raise ConcurrentAccessError(
                "the consumer is in use by another thread",
                hint="one consumer a thread; only wakeup() may cross threads",
            )
        self._calling_back = 0  # an interrupt may have left it: who holds no lock runs nothing
        return self._in_use

    def waiting(self) -> Held:
        """Return what to hold once the thread that is in a call now has left it."""
        return _HELD_ALREADY if self.is_calling_back else self._in_use

    def refuse_in_callback(self) -> None:
        """Raise IllegalStateError within the caller's own code."""
        if self.is_calling_back:
            raise IllegalStateError("not within a listener or a callback", hint="call it when poll() has returned")

    @contextlib.contextmanager
    def calling_back(self) -> Iterator[None]:
        """Let the caller's own code, run within a call, make calls."""
        before, self._calling_back = self._calling_back, threading.get_ident()
        try:
            yield
        finally:
            self._calling_back = before

    @property
    def is_calling_back(self) -> bool:
        """Tell whether this thread runs the caller's own code within a call."""
        return self._calling_back == threading.get_ident() and self._in_use.locked()
