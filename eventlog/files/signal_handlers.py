"""Tell an error of the operating system from one that a signal handler has raised in the same place.

A handler may run behind any call, and raise what it likes: ``TimeoutError`` is an OSError, too. Where the library takes
an OSError for an answer of the system, as that a sync has failed or that a file is not there, a handler's must go
through to the caller as it is. Its traceback shows it: a handler is a function that was called with the frame which it
has interrupted, and that is the frame it was called from.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType

from eventlog.errors import ReentrantCallError
from eventlog.files.mutex import is_inside


def is_from_handler(error: BaseException) -> bool:
    """Tell whether a signal handler has raised this error, which was just caught."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if not is_inside(trace.tb_frame) and _is_handler(trace.tb_frame):
            return True
        trace = trace.tb_next
    return False


def is_in_handler() -> bool:
    """Tell whether a signal handler has called."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not is_inside(frame) and _is_handler(frame):
            return True
        frame = frame.f_back
    return False


def pass_on_handlers(error: BaseException) -> None:
    """Raise the error again if a signal handler has raised it: to be called first wherever an OSError is caught."""
    if is_from_handler(error):
        raise error


def unless_reentrant(call: Callable[[], bool]) -> bool:
    """Return what the call returns, or False when it cannot be made within the one that was interrupted."""
    try:
        return call()
    except ReentrantCallError as error:
        pass_on_handlers(error)
        return False


class suppress:  # noqa: N801  # as contextlib.suppress
    """Let a block end with one of these errors if the system has raised it, as ``contextlib.suppress`` does."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return isinstance(error, self._kinds) and not is_from_handler(error)


def _is_handler(frame: FrameType) -> bool:
    if threading.get_ident() != threading.main_thread().ident:
        return False  # they run nowhere else
    return _was_given_its_caller(frame) or frame.f_code in _installed()


def _was_given_its_caller(frame: FrameType) -> bool:
    caller = frame.f_back
    if caller is None:
        return False
    for value in frame.f_locals.values():
        if value is caller or (type(value) is tuple and any(item is caller for item in value)):
            return True
    return False


def _installed() -> set[CodeType]:
    """Return the code of the handlers of now: one may have forgotten its arguments."""
    return {code for number in signal.valid_signals() if (code := _code_of(signal.getsignal(number))) is not None}


def _code_of(handler: object) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    if code is None:
        code = getattr(getattr(type(handler), "__call__", None), "__code__", None)  # noqa: B004  # its code is meant
    return code if isinstance(code, CodeType) else None
