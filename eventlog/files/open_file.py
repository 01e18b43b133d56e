"""A descriptor that no interrupt can lose."""

from __future__ import annotations

import errno
import itertools
import operator
import os
import secrets
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any

from eventlog.files.file_identity import identities
from eventlog.files.signal_handlers import pass_on_handlers, suppress

_NO_MORE = None
_PLACE_BITS = 31  # every file system can go as far, though nothing is there
_HERE = os.SEEK_CUR

_numbers = itertools.count()
_finalizers: dict[int, weakref.ref[OpenFile]] = {}  # kept here: one that dies with its object is not called
_is_descriptor: Callable[[Any], bool] = (-1).__lt__
_lseek = os.lseek
_is_there = partial(operator.is_not, _NO_MORE)


class OpenFile:
    """A file's descriptor, closed at the latest when nobody has the object any more.

    An interrupt may come between any two bytecodes, so also between ``os.open`` and the store of the number that it
    returned: the file would stay open for ever. So opening and closing are one bytecode each: `map` calls the
    operating system, and a list takes the number or has given it, all of it in C. Whatever an interrupt does to the
    object's owner, the last reference to it goes, and with it the descriptor: by a weak reference whose callback is C
    as well, since ``__del__`` could be interrupted on its way, and Python would swallow that. (``zip_longest``, since a
    ``zip`` that ends early keeps the weak reference in a tuple that the garbage collector may not know of.)

    Where even that is too late, as for a lock, ``next(file.closing, None)`` closes it in place.

    ``status`` is what ``os.fstat`` has told of the file, once whoever opened it has asked.
    """

    status = os.stat_result(range(10))
    _place = -1

    def __init__(self, opening: Callable[..., int], closing: Callable[[int], Any], *arguments: Any) -> None:
        """Open the file by calling ``opening``; ``closing`` will be called once. Raises OSError.

        An ``opening`` that returns a negative number has failed: ``fd`` is -1 then, and nothing will be closed.
        """
        self._fds: list[int | None] = [_NO_MORE]
        self._close = closing
        self._number = number = next(_numbers)
        self.closing = map(closing, iter(self._fds.pop, _NO_MORE))
        forgetting = map(_finalizers.pop, (number,))
        _finalizers[number] = weakref.ref(self, partial(next, itertools.zip_longest(forgetting, self.closing)))
        self._fds += filter(_is_descriptor, map(opening, *zip(arguments, strict=False)))
        fd = self._fds[-1]
        self.fd: int = -1 if fd is None else fd

    def kept(self) -> OpenFile:
        """Return the same file, which will stay open for long: closing looks first whether it is still this one.

        Other code of the process may close every descriptor, as daemons do, and the number then is another file's.
        The number is taken from the list after that: where the look can be interrupted, a second try can follow.
        """
        numbers: Iterator[Any] = itertools.takewhile(_is_there, map(self._fds.__getitem__, itertools.repeat(-1)))
        known = next(identities(iter((self.fd,))), None)  # None when other code has closed it by now: it is lost
        is_same = itertools.takewhile(bool, map(operator.eq, identities(numbers), itertools.repeat(known)))
        pairs = zip(is_same, iter(self._fds.pop, _NO_MORE), strict=False)
        self.closing = map(self._close, map(operator.itemgetter(1), pairs))
        forgetting = map(_finalizers.pop, (self._number,))
        _finalizers[self._number] = weakref.ref(self, partial(next, itertools.zip_longest(forgetting, self.closing)))
        self._place = secrets.randbits(_PLACE_BITS)
        with suppress(OSError):  # it is lost
            os.lseek(self.fd, self._place, os.SEEK_SET)
        return self

    def is_lost(self) -> bool:
        """Tell, of a file that is `kept`, whether other code has closed its descriptor.

        The library reads and writes at positions that it names, so the one that the open file has of its own is free:
        `kept` has set it to a random place, by which the open file is known again. To ask for it takes a sixth of the
        time of ``os.fstat``.
        """
        try:
            return _lseek(self.fd, 0, _HERE) != self._place
        except OSError as error:
            pass_on_handlers(error)
            return True

    def detach(self) -> int:
        """Return the descriptor, which is the caller's from now on."""
        return next(iter(self._fds.pop, _NO_MORE))

    def close(self) -> None:
        """Close the file; harmless when it is closed, also by other code. Raises OSError."""
        self.fd = -1
        try:
            next(self.closing, None)
        except OSError as error:
            pass_on_handlers(error)
            if error.errno != errno.EBADF:
                raise
        self._fds[:] = [_NO_MORE]  # also of one that is lost: this file, opened again, may get the number again

    def __enter__(self) -> int:
        return self.fd

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
