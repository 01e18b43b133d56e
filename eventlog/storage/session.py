"""A session: the time during which at least one process has the log open.

While someone has it open, no power cut can have come between, so the page cache is whole and every head that was made
true in this session can be trusted. Each process holds a shared ``flock`` on ``session.lock``. Who gets it exclusively
is alone, and begins a new session: a fresh random number, so that no number that a power cut brings back is ever
taken for the present one. Under the root lock:

1. Try the exclusive lock. Alone: raise an old log's format (``log_format.py``), then write a new number into the
   control page. A crash here leaves a number that no head has.
2. Take the shared lock, then read the number: if another process came in between, it may have written a newer one.
3. Show, on the control page, that this process is there. A crash takes that back.

A process that may only read takes no lock, and holds no session open: a writer that joined it would trust heads from
before a power cut. It asks whether anyone is there, and then reads the number, which was written first. If nobody is,
it takes no part. What it has mapped stays true while writers come and go: they recover it in place.
"""

from __future__ import annotations

import os
import secrets
import weakref

import numpy as np

from eventlog.errors import StorageError
from eventlog.files.file_lock import DEFAULT_LOCK_TIMEOUT, FileLock
from eventlog.files.filesystem import FileSystem
from eventlog.files.mapping import Bytes
from eventlog.files.notify import Words
from eventlog.files.page import PAGE_BYTES, create_page, open_page
from eventlog.files.presence import Presence, is_someone_present
from eventlog.files.signal_handlers import suppress
from eventlog.format import layouts as L
from eventlog.format.filenames import CONTROL, ROOT_LOCK, SESSION_LOCK
from eventlog.storage.log_format import raise_format, refuse_old_format

_every_session: weakref.WeakSet[Session] = weakref.WeakSet()


class Session:
    """This process's share in the session. ``number`` is 0 for a reader who is alone: it must trust no head."""

    is_first = True

    def __init__(
        self, fs: FileSystem, root: str, *, readonly: bool, lock_timeout: float = DEFAULT_LOCK_TIMEOUT
    ) -> None:
        """Raises LockTimeoutError when another process holds a lock for longer than ``lock_timeout`` seconds."""
        self._lock = FileLock(fs, os.path.join(root, SESSION_LOCK), timeout=lock_timeout)
        self._root_lock = FileLock(fs, os.path.join(root, ROOT_LOCK), timeout=lock_timeout)
        self._fs = fs
        self._page_path = os.path.join(root, CONTROL)
        self._presence = Presence(fs, self._page_path)
        self._readonly = readonly
        if readonly:
            self._words = self._watch()
        else:
            try:
                self._words = self._join(fs).view(np.uint64)
            except BaseException:
                self.close()
                raise
            finally:
                self._root_lock.close()
        self.number = 0 if readonly and self.is_first else self.latest_number()
        _every_session.add(self)

    def _join(self, fs: FileSystem) -> Bytes:
        """Take part, as the one who begins the session or as one more; see the module's docstring."""
        with self._root_lock:
            self.is_first = self._lock.acquire(blocking=False)
            self._meet_format(fs)
            page = open_page(fs, self._page_path, L.CONTROL_MAGIC, writable=True)
            if self.is_first:
                page = page if page is not None else create_page(fs, self._page_path, L.CONTROL_MAGIC)
                page.view(np.uint64)[L.CONTROL_SESSION] = secrets.randbits(63) | 1
            self._lock.acquire(shared=True)
            if page is None or page.view(np.uint64).item(L.CONTROL_SESSION) == 0:  # no session has that number
                raise StorageError(
                    "the control page is missing, or tells no session", path=self._page_path,
                    hint="close the log everywhere, then open it",
                )  # fmt: skip
            with suppress(OSError):  # a file system without such locks: readers do not follow there
                self._presence.show()
        return page

    def _meet_format(self, fs: FileSystem) -> None:
        root = os.path.dirname(self._page_path)
        if self.is_first:
            raise_format(fs, root)
        else:
            refuse_old_format(fs, root)

    def _watch(self) -> Words:
        """Read along with the writers of a session; without any, leave no trace and trust nothing but the segments."""
        self.is_first = not is_someone_present(self._fs, self._page_path)
        page = open_page(self._fs, self._page_path, L.CONTROL_MAGIC, writable=False)
        return (np.zeros(PAGE_BYTES, dtype=np.uint8) if page is None else page).view(np.uint64)

    def latest_number(self) -> int:
        """Return the number of the session that began last, be it over or not."""
        return self._words.item(L.CONTROL_SESSION)

    @property
    def metadata_version(self) -> int:
        """Changes whenever a topic is created, changed or deleted by any process."""
        return self._words.item(L.CONTROL_METADATA)

    def bump_metadata(self) -> None:
        """Tell everyone that topics changed. The caller holds the log's root lock."""
        self._words[L.CONTROL_METADATA] = (self._words.item(L.CONTROL_METADATA) + 1) & (2**63 - 1)

    def look_again(self) -> int:
        """Return the number; who may only read looks whether writers are there by now."""
        if self._readonly:
            self._words = self._watch()
            self.number = 0 if self.is_first else self.latest_number()
        return self.number

    def close(self) -> None:
        """Leave the session."""
        self._presence.close()
        self._lock.close()
        _every_session.discard(self)

    def after_fork(self) -> None:
        """Hold an own share in a forked child, so that the session lives as long as the child does."""
        if not self._readonly:
            self._lock.acquire(shared=True)


def _after_fork_in_child() -> None:
    for session in list(_every_session):
        session.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
