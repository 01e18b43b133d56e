"""A session: the time during which at least one process has the log open.

While someone has it open, no power cut can have come between, so the page cache is whole and every head that was made
true in this session can be trusted. Each process holds a shared ``flock`` on ``session.lock``. Who gets it exclusively
is alone, and begins a new session: a fresh random number, so that no number that a power cut brings back is ever
taken for the present one.

1. Try the exclusive lock. Alone: raise an old log's format (``log_format.py``), then write a new number into the
   control page. A crash here leaves a number that no head has.
2. Take the shared lock, then read the number: if another process came in between, it may have written a newer one.

A process that may only read never holds a session open by itself: a writer that joined it would trust heads from
before a power cut. It looks, under the root lock, whether others have the log open; if nobody has, it takes no part.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import weakref
from typing import NoReturn

import numpy as np

from eventlog.errors import StorageError
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import FileSystem
from eventlog.files.mapping import Bytes
from eventlog.files.page import PAGE_BYTES, create_page, open_page
from eventlog.files.signal_handlers import suppress
from eventlog.format import layouts as L
from eventlog.format.filenames import CONTROL, ROOT_LOCK, SESSION_LOCK
from eventlog.storage.log_format import raise_format, refuse_old_format

_every_session: weakref.WeakSet[Session] = weakref.WeakSet()


class Session:
    """This process's share in the session. ``number`` is 0 for a reader who is alone: it must trust no head."""

    is_first = True

    def __init__(self, fs: FileSystem, root: str, *, readonly: bool) -> None:
        self._lock = FileLock(fs, os.path.join(root, SESSION_LOCK), readonly=readonly)
        self._root_lock = FileLock(fs, os.path.join(root, ROOT_LOCK), readonly=readonly)
        self._fs = fs
        self._page_path = os.path.join(root, CONTROL)
        try:
            page = self._watch(fs) if readonly else self._join(fs)
        finally:
            self._root_lock.close()
        self._words = page.view(np.uint64)
        self.number = 0 if readonly and self.is_first else self._words.item(L.CONTROL_SESSION)
        self._holds_share = not (readonly and self.is_first)
        _every_session.add(self)

    def _join(self, fs: FileSystem) -> Bytes:
        """Take part, as the one who begins the session or as one more; see the module's docstring."""
        with self._root_lock:  # a reader who looks whether anybody is there must not be taken for somebody
            self.is_first = self._lock.acquire(blocking=False)
            self._meet_format(fs)
            page = open_page(fs, self._page_path, L.CONTROL_MAGIC, writable=True)
            if self.is_first:
                page = page if page is not None else create_page(fs, self._page_path, L.CONTROL_MAGIC)
                page.view(np.uint64)[L.CONTROL_SESSION] = secrets.randbits(63) | 1
            self._lock.acquire(shared=True)
        return page if page is not None else self._page_missing()

    def _meet_format(self, fs: FileSystem) -> None:
        root = os.path.dirname(self._page_path)
        try:
            if self.is_first:
                raise_format(fs, root)
            else:
                refuse_old_format(fs, root)
        except BaseException:
            self._lock.close()
            raise

    def _watch(self, fs: FileSystem) -> Bytes:
        """Read along with the writers of a session; without any, leave no trace and trust nothing but the segments."""
        with contextlib.ExitStack() as held, suppress(FileNotFoundError):
            held.enter_context(self._root_lock)
            self.is_first = self._lock.acquire(blocking=False)
            if self.is_first:
                self._lock.release()
            else:
                self._lock.acquire(shared=True)
        page = open_page(fs, self._page_path, L.CONTROL_MAGIC, writable=False)
        if page is None and self.is_first:
            return np.zeros(PAGE_BYTES, dtype=np.uint8)
        return page if page is not None else self._page_missing()

    def _page_missing(self) -> NoReturn:
        self._lock.close()
        raise StorageError(
            "the control page is missing", path=self._page_path, hint="close the log everywhere, then open it"
        )

    @property
    def metadata_version(self) -> int:
        """Changes whenever a topic is created, changed or deleted by any process."""
        return self._words.item(L.CONTROL_METADATA)

    def bump_metadata(self) -> None:
        """Tell everyone that topics changed. The caller holds the log's root lock."""
        self._words[L.CONTROL_METADATA] = (self._words.item(L.CONTROL_METADATA) + 1) & (2**63 - 1)

    def look_again(self) -> int:
        """Return the number; a reader who was alone joins if writers have come meanwhile."""
        if not self._holds_share:
            try:
                page = self._watch(self._fs)
            finally:
                self._root_lock.close()
            if not self.is_first:
                self._words = page.view(np.uint64)
                self.number, self._holds_share = self._words.item(L.CONTROL_SESSION), True
        return self.number

    def close(self) -> None:
        """Leave the session."""
        self._lock.close()
        _every_session.discard(self)

    def after_fork(self) -> None:
        """Hold an own share in a forked child, so that the session lives as long as the child does."""
        if self._holds_share:
            self._lock.acquire(shared=True)


def _after_fork_in_child() -> None:
    for session in list(_every_session):
        session.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
