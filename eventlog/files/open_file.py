"""A descriptor that no interrupt can lose."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

_NO_MORE = None

_numbers = itertools.count()
_finalizers: dict[int, weakref.ref[OpenFile]] = {}  # kept here: one that dies with its object is not called


class OpenFile:
    """A file's descriptor, closed at the latest when nobody has the object any more.

    An interrupt may come between any two bytecodes, so also between ``os.open`` and the store of the number that it
    returned: the file would stay open for ever. So opening and closing are one bytecode each: `map` calls the
    operating system, and a list takes the number or has given it, all of it in C. Whatever an interrupt does to the
    object's owner, the last reference to it goes, and with it the descriptor: by a weak reference whose callback is C
    as well, since ``__del__`` could be interrupted on its way, and Python would swallow that.

    Where even that is too late, as for a lock, ``next(file.closing, None)`` closes it in place.
    """

    def __init__(
        self, opening: Callable[[str, int, int], int], closing: Callable[[int], Any], path: str, flags: int, mode: int
    ) -> None:
        """Open the file by calling ``opening``; ``closing`` will be called once. Raises OSError."""
        fds: list[int | None] = [_NO_MORE]
        self.closing = map(closing, iter(fds.pop, _NO_MORE))
        number = next(_numbers)
        forgetting = map(_finalizers.pop, (number,))
        _finalizers[number] = weakref.ref(self, partial(next, zip(forgetting, self.closing, strict=False)))
        fds += map(opening, (path,), (flags,), (mode,))
        self.fd: int = fds[-1]  # type: ignore[assignment]  # ``opening`` raised, or gave a number

    def close(self) -> None:
        """Close the file; harmless when it is closed. Raises OSError."""
        self.fd = -1
        next(self.closing, None)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
