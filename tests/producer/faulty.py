"""A file system whose calls fail when they are told to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from eventlog.files.filesystem import FileSystem


class FaultyFileSystem(FileSystem):
    """Real files; ``fault`` is asked before each write, open and sync, by the call's name and the path."""

    def __init__(self) -> None:
        self.paths: dict[int, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], None] = lambda call, path: None
        self.open = self._open  # type: ignore[method-assign]
        self.pwrite = self._pwrite  # type: ignore[method-assign]
        self.pwritev = self._pwritev  # type: ignore[method-assign]
        self.sync = self._sync  # type: ignore[method-assign]

    def _ask(self, call: str, path: str) -> None:
        self.calls.append((call, path))
        self.fault(call, path)

    def _open(self, path: str, *args: Any) -> int:
        self._ask("open", path)
        fd = os.open(path, *args)
        self.paths[fd] = path
        return fd

    def _pwrite(self, fd: int, data: Any, position: int) -> int:
        self._ask("write", self.paths.get(fd, ""))
        return os.pwrite(fd, data, position)

    def _pwritev(self, fd: int, data: Any, position: int) -> int:
        self._ask("write", self.paths.get(fd, ""))
        return os.pwritev(fd, data, position)

    def _sync(self, fd: int) -> None:
        self._ask("sync", self.paths.get(fd, ""))
        os.fdatasync(fd)

    def fail(
        self, error: int | BaseException, *, times: int = 1 << 60, call: str = "write", end: str = ".log"
    ) -> Fault:
        """Fail calls of this kind on paths of this end, with an errno or any exception, so many times or until told."""
        fault = Fault(error, times, call, end)
        self.fault = fault
        return fault


class Fault:
    """Fails the calls that it is about."""

    def __init__(self, error: int | BaseException, times: int, call: str, end: str) -> None:
        self.left = times
        self.met = threading.Event()
        self._error, self._call, self._end = error, call, end

    def __call__(self, call: str, path: str) -> None:
        if call == self._call and path.endswith(self._end) and self.left > 0:
            self.left -= 1
            self.met.set()
            raise OSError(self._error, os.strerror(self._error), path) if isinstance(self._error, int) else self._error
