"""A descriptor that no interrupt can lose."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any

_NO_MORE = None


class ClosedFile:
    """What an `OpenFile` becomes: it has no finalizer, in which Python would swallow an interrupt."""

    fd = -1

    def close(self) -> None:
        """Do nothing: it is closed."""


class OpenFile(ClosedFile):
    """A file's descriptor, closed at the latest when nobody has the object any more.

    An interrupt may come between any two bytecodes, so also between ``os.open`` and the store of the number that it
    returned: the file would stay open for ever. So opening and closing are one bytecode each: `map` calls the
    operating system, and a list takes the number or has given it, all of it in C. Whatever an interrupt does to the
    object's owner, the last reference to it goes, and with it the descriptor.

    Where even that is too late, as for a lock, ``next(file.closing, None)`` closes it in place.
    """

    def __init__(
        self, opening: Callable[[str, int, int], int], closing: Callable[[int], Any], path: str, flags: int, mode: int
    ) -> None:
        """Open the file by calling ``opening``; ``closing`` will be called once. Raises OSError."""
        self._fds: list[int | None] = [_NO_MORE]
        self.closing = map(closing, iter(self._fds.pop, _NO_MORE))
        self._fds += map(opening, (path,), (flags,), (mode,))
        self.fd: int = self._fds[-1]  # type: ignore[assignment]  # ``opening`` raised, or gave a number

    def close(self) -> None:
        """Close the file; harmless when it is closed. Raises OSError."""
        self.fd = -1
        next(self.closing, None)
        self.__class__ = ClosedFile  # type: ignore[assignment]

    def __enter__(self) -> int:
        return self.fd

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # of an object whose making was interrupted
            next(self.closing, None)
