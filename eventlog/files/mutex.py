"""Calls that find their own thread inside the library already.

A signal handler, a finalizer that the garbage collector runs, a logging handler: each may come between any two
bytecodes of a call, and call the library itself. What it interrupts cannot go on before it returns, so that it must not
wait for anything that the interrupted call holds. The rules:

1. Every lock between threads is a `Mutex`, which knows the thread that holds it. Who already holds it gets
   ReentrantCallError, at once.
2. Who has to wait for another thread looks, every now and then, whether that one may be waiting for what this thread
   holds further down the stack (`refuse_deadlock`): that is an error as well.
3. Locks between processes follow the same rules (`files/file_lock.py`).
4. ``close`` does not fail: a thread of its own goes on with it once the interrupted call is over (`deferred.py`).

Code of the caller's that the library calls on purpose, such as a delivery callback, is called without any lock, from a
function that says so: `calls_out`. It may wait.
"""

from __future__ import annotations

import _thread
import contextlib
import sys
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import TYPE_CHECKING, TypeVar

from eventlog.errors import ReentrantCallError

_LOOK_AROUND = 0.05  # seconds between two looks whether this wait can ever end
_OUTSIDE = ("eventlog.cli", "eventlog.testing")  # parts of the package that use the rest as any program does
_WITHIN_CALLS = {"contextlib", "functools"}  # whose frames lie between those of one call

_Function = TypeVar("_Function", bound=Callable[..., object])
_every_mutex: weakref.WeakValueDictionary[int, Mutex] = weakref.WeakValueDictionary()
_calling_out: set[CodeType] = set()
_HELD_ALREADY = contextlib.nullcontext()


if TYPE_CHECKING:

    class _OwnedLock:  # as it is, and as the stubs do not tell
        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
        def release(self) -> None: ...
        def _is_owned(self) -> bool: ...
        def __exit__(self, *exc: object) -> None: ...
else:
    _OwnedLock = _thread.RLock


class Mutex(_OwnedLock):
    """A lock between threads that knows its owner. Not to be taken twice: the second time is an error, and no wait.

    Used by ``with``: no interrupt comes between the taking and the end of the block. `take` and `take_if_free` are for
    who frees it elsewhere, and are to be called from within one bytecode: ``(taken,) = map(Mutex.take, (mutex,))``.
    """

    def __init__(self) -> None:
        _every_mutex[id(self)] = self

    def is_mine(self) -> bool:
        """Tell whether this thread holds it."""
        return self._is_owned()

    def again(self) -> contextlib.AbstractContextManager[object]:
        """Return what to hold where this thread may hold it already: for who finds everything whole at every moment."""
        return _HELD_ALREADY if self._is_owned() else self

    def refuse_reentry(self) -> None:
        """Raise ReentrantCallError when this thread holds it."""
        if self._is_owned():
            raise reentrant_call()

    def take(self) -> bool:
        """Wait for it, and return True. Raises ReentrantCallError when that would be for ever."""
        if self._is_owned():
            raise reentrant_call()
        try:
            return self.acquire(False) or self.wait()
        except BaseException:
            if self._is_owned():
                self.release()
            raise

    __enter__ = take

    def wait(self) -> bool:
        """Do the same for who frees it if an interrupt comes behind the taking."""
        while not self.acquire(timeout=_LOOK_AROUND):
            refuse_deadlock()
        return True

    def take_if_free(self) -> bool:
        """Take it, unless a thread holds it, be it this one; tell if it was taken."""
        if self._is_owned():
            return False
        try:
            return self.acquire(False)
        except BaseException:
            if self._is_owned():
                self.release()
            raise

    def locked(self) -> bool:
        """Tell whether a thread holds it, be it this one."""
        if self._is_owned():
            return True
        try:
            taken = self.acquire(False)
            if taken:
                self.release()
            return not taken
        except BaseException:
            if self._is_owned():
                self.release()
            raise


def reentrant_call() -> ReentrantCallError:
    """Return the error for who has interrupted a call of this thread that holds what is needed."""
    return ReentrantCallError(
        "this thread is in the middle of another call, which cannot go on before this one returns",
        hint="in a signal handler or a finalizer: note what is to be done, and do it when that call has returned; "
        "close() is possible",
    )


def holds_any() -> bool:
    """Tell whether this thread holds any mutex."""
    return any(mutex is not None and mutex.is_mine() for mutex in (ref() for ref in _every_mutex.valuerefs()))


def refuse_deadlock() -> None:
    """Raise ReentrantCallError when who is waited for may be waiting for what this thread holds further down."""
    if is_reentered() and holds_any():
        raise reentrant_call()


def is_reentered() -> bool:
    """Tell whether this call has come in the middle of another one, unasked."""
    return any(is_next and frame.f_code not in _calling_out for frame, is_next in frames_below())


def frames_below() -> Iterator[tuple[FrameType, bool]]:
    """Yield the library's frames further down the stack, under code that is not its own; and if that is right above."""
    frame: FrameType | None = sys._getframe(1)
    is_below = is_next = False
    while frame is not None:
        if is_inside(frame):
            if is_below:
                yield frame, is_next
            is_next = False
        elif _module(frame) not in _WITHIN_CALLS:
            is_below = is_next = True
        frame = frame.f_back


def calls_out(function: _Function) -> _Function:
    """Mark a function, of which the caller's own code is called without any lock."""
    _calling_out.add(function.__code__)
    return function


def is_inside(frame: FrameType) -> bool:
    """Tell whether a frame is the library's own."""
    module = _module(frame)
    return module.startswith("eventlog.") and not module.startswith(_OUTSIDE)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
