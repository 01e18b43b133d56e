"""A worker's file system: fails single writes and syncs, drawn from a seed, and is full when it is told so."""

from __future__ import annotations

import errno
import math
import os
import random
from collections.abc import Callable, Sequence
from typing import NoReturn

from eventlog.files.filesystem import Buffer, FileSystem

_FEWEST_CALLS, _MOST_CALLS = 4, 1500  # between two failures of one worker


class FailingFileSystem(FileSystem):
    """Fails one call in some hundred with EIO; a write may have reached the file up to its middle by then.

    ``note`` is told of each failure. ``is_full`` tells whether the disk is full: then files cannot grow, and none
    can be made. Both are None where they are not wanted.
    """

    def __init__(
        self,
        rng: random.Random,
        note: Callable[[str], None] | None = None,
        is_full: Callable[[], bool] | None = None,
    ) -> None:
        self._rng = rng
        self._note = note
        self._is_full = is_full
        self._calls_left = self._drawn()

    def _drawn(self) -> int:
        """Draw how many calls there are up to the next failure: often few, or a worker on a slow machine met none."""
        return int(math.exp(self._rng.uniform(math.log(_FEWEST_CALLS), math.log(_MOST_CALLS))))

    def _is_due(self) -> bool:
        if self._note is None:
            return False
        self._calls_left -= 1
        if self._calls_left > 0:
            return False
        self._calls_left = self._drawn()
        return True

    def _fail(self, call: str) -> NoReturn:
        if self._note is not None:
            self._note(call)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _refuse_growth(self, size: int, needed: int) -> None:
        if needed > size and self._is_full is not None and self._is_full():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        """Open a file; on a full disk, none that is not there."""
        if flags & os.O_CREAT and not self.exists(path):
            self._refuse_growth(0, 1)
        return super().open(path, flags, mode)

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        """Make a directory."""
        self._refuse_growth(0, 1)
        super().mkdir(path, mode)

    def pwrite(self, fd: int, data: Buffer, position: int) -> int:
        """Write, or write half and fail."""
        return self.pwritev(fd, [data], position)

    def pwritev(self, fd: int, parts: Sequence[Buffer], position: int) -> int:  # type: ignore[override]
        """Write, or write half and fail."""
        if self._is_due():
            whole = b"".join(map(bytes, parts))
            os.pwrite(fd, whole[: self._rng.randrange(len(whole) + 1)], position)
            self._fail("write")
        self._refuse_growth(os.fstat(fd).st_size, position + sum(memoryview(part).nbytes for part in parts))
        return os.pwritev(fd, parts, position)

    def sync(self, fd: int) -> None:  # type: ignore[override]
        """Sync, or fail."""
        if self._is_due():
            self._fail("sync")
        super().sync(fd)

    def sync_directory(self, path: str) -> None:
        """Sync, or fail."""
        if self._is_due():
            self._fail("sync of a directory")
        super().sync_directory(path)
