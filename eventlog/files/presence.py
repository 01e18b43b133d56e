"""Shows that a process is there to those who may only read: they ask, and hold nothing.

A lock on a file can be taken by all who may open it. So the locks that writers wait for are closed to mere readers
(`FileLock`), who could stop everyone otherwise; and whether a writer is there, they ask by another kind of lock. On
Linux that is an open file description lock (``fcntl(2)``): it is taken for reading, so no two are ever in each other's
way, and ``F_OFD_GETLK`` asks for it without taking one. Elsewhere it is a shared ``flock``, and who asks takes one for
a moment.

The kernel takes it back when the process ends, and the forked children that have its descriptor.
"""

from __future__ import annotations

import fcntl
import os
import struct

from eventlog.files.filesystem import FileSystem
from eventlog.files.open_file import OpenFile
from eventlog.files.signal_handlers import pass_on_handlers

_ASKS = hasattr(fcntl, "F_OFD_GETLK")
_LOCK = struct.Struct("hhqqi0q")  # struct flock: type, whence, start, length (0: to the end), process (0: of the file)


class Presence:
    """This process's sign on one file, which must be there."""

    def __init__(self, fs: FileSystem, path: str) -> None:
        self._fs = fs
        self._path = path
        self._file: OpenFile | None = None

    def show(self) -> None:
        """Show that this process is there, until `close`. Nothing can keep it from that."""
        self._file = self._fs.opened(self._path, os.O_RDONLY).kept()
        if _ASKS:
            fcntl.fcntl(self._file.fd, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
        else:
            fcntl.flock(self._file.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def close(self) -> None:
        """Take the sign back."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def is_someone_present(fs: FileSystem, path: str) -> bool:
    """Tell whether any process shows its presence on this file; False when there is no such file."""
    try:
        opened = fs.opened(path, os.O_RDONLY)
    except FileNotFoundError as error:
        pass_on_handlers(error)
        return False
    with opened as fd:
        if _ASKS:
            asked = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            return bool(_LOCK.unpack(asked)[0] != fcntl.F_UNLCK)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pass_on_handlers(error)
            return True
        return False
