"""The directory of an open log, and what tells it from another one at the same path.

A path is no identity. While a log is open, its directory may be removed, moved (``mv log log.1``), made again, or a
symlink in its path may lead elsewhere. What a process holds open and mapped stays the old log; what it opens by path
from then on belongs to another one. So each open log keeps ``eventlog.json`` open: no other file can have its device
and inode while it is open. Another file at its path is another log, unless it is the same with a newer format: an old
log's number is raised once (``log_format.py``), while others may be reading it.

Who looks, and when:

* whoever opens, makes, lists or removes something by path: each time (`check`);
* a flush that has something to bring to the device;
* an append into a partition that is open, a commit, the sync that makes it durable, and a poll: at most every
  `LOOK_INTERVAL` (`look`), since a look costs about as much as the append itself. One look serves all partitions. An
  append that begins that long after the log was removed or moved is refused.

A log that comes back to its path goes on as before.
"""

from __future__ import annotations

import os
import time

from eventlog.errors import LogMovedError
from eventlog.files.filesystem import FileSystem, translated
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.filenames import LOG_META
from eventlog.storage.log_format import was_raised

LOOK_INTERVAL = (
    100e-6  # seconds: a look takes 1 to 2 us, so it costs the busiest writer 2%; removing a log takes longer
)

_monotonic = time.monotonic


class NoRoot:
    """The root of a partition that belongs to no log."""

    def check(self) -> None:
        """Do nothing."""

    def look(self) -> float:
        """Return until when that holds: for the usual time."""
        return _monotonic() + LOOK_INTERVAL


class LogRoot(NoRoot):
    """Knows the log that was opened at ``path`` again, and refuses to take another one for it."""

    def __init__(self, fs: FileSystem, path: str, real_path: str) -> None:
        """``real_path`` is where ``path``, which may lead through links, led when the log was opened."""
        self.path = path
        self._fs = fs
        self._meta = os.path.join(path, LOG_META)
        with translated(self._meta):
            self._file = fs.opened(os.path.join(real_path, LOG_META), os.O_RDONLY).kept()
        self._identity = self._file.status.st_dev, self._file.status.st_ino
        self._look_at = 0.0

    def check(self) -> None:
        """Raise LogMovedError unless the path still leads to the log that was opened."""
        began = _monotonic()
        try:
            found = self._fs.identity_of(self._meta)
        except (FileNotFoundError, NotADirectoryError) as error:
            pass_on_handlers(error)
            raise LogMovedError(
                "the log was removed or moved while it was open: there is none at its path now", path=self.path,
                hint="close this one, and open the log where it lies now",
            ) from None  # fmt: skip
        except OSError as error:  # as without the permission to enter a directory: nothing new can be opened then
            pass_on_handlers(error)
            found = self._identity
        if found != self._identity:
            self._compare(found)
        self._look_at = began + LOOK_INTERVAL

    def look(self) -> float:
        """Do the same, unless that was done a moment ago; return when it is to be done again (monotonic seconds)."""
        if _monotonic() >= self._look_at:
            self.check()
        return self._look_at

    def _compare(self, found: tuple[int, int]) -> None:
        """Tell a file that has another number now, as after a copy-up of overlayfs, from another file."""
        try:
            identity = self._fs.identity(self._file.fd)
        except OSError as error:  # somebody closed the descriptor
            pass_on_handlers(error)
            identity = self._identity
        if identity != found and not was_raised(self._fs, self._file.fd, self._meta):
            raise LogMovedError(
                "the log was removed or moved while it was open: another one lies at its path now", path=self.path,
                hint="close this one, and open the other one, or this one where it lies now",
            )  # fmt: skip
        if identity != found:
            self._file = self._fs.opened(self._meta, os.O_RDONLY)
        self._identity = found

    def close(self) -> None:
        """Give back the descriptor."""
        self._file.close()
