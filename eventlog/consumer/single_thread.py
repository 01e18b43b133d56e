"""One consumer, one thread: a second one gets an error instead of waiting."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from eventlog.errors import ConcurrentAccessError, IllegalStateError
from eventlog.files.mutex import frames_below, reentrant_call
from eventlog.files.signal_handlers import is_in_handler

Held = contextlib.AbstractContextManager[object]


class SingleThread:
    """Hands out the lock to hold for one call."""

    def __init__(self) -> None:
        self._in_use = threading.Lock()
        self._in_callback = threading.Lock()  # for a call made from the caller's own code
        self._calling_back = 0  # the thread that holds the lock and runs the caller's own code now

    def held(self) -> Held:
        """Return what to hold for one call. Raises ConcurrentAccessError while another thread is in one, and
        ReentrantCallError while this thread is, and a signal handler has interrupted it.

        The lock itself, since no interrupt comes between taking it and entering a ``with`` on it; two threads that
        come at the very same moment have their turn one after the other.
        """
        if self._in_use.locked():
            if self._calling_back == threading.get_ident():
                return self._held_in_callback()
            if self.is_mine():
                raise reentrant_call()
            raise ConcurrentAccessError(
                "the consumer is in use by another thread",
                hint="one consumer a thread; only wakeup() may cross threads",
            )
        self._calling_back = 0  # an interrupt may have left it: who holds no lock runs nothing
        return self._in_use

    def _held_in_callback(self) -> Held:
        if self._in_callback.locked():  # by this thread
            raise reentrant_call()
        return self._in_callback

    def waiting(self) -> Held:
        """Return what to hold once the thread that is in a call now has left it."""
        return self._in_use

    def is_mine(self) -> bool:
        """Tell whether this thread is in a call."""
        return self._in_use.locked() and self._is_on_stack()

    def _is_on_stack(self) -> bool:
        # The stack says it: to note the thread with each call would cost more than all else that is done here.
        return any(getattr(frame.f_locals.get("self"), "_thread", None) is self for frame, _ in frames_below())

    def refuse_in_callback(self) -> None:
        """Raise IllegalStateError within the caller's own code, except in a signal handler that has interrupted it."""
        if self.is_calling_back and not is_in_handler():
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
