"""A transactional id's files, under ``<root>/transactions/<id>/``.

::

    lock            flock: held exclusively to change anything here, and while a transaction is being committed
    state.json      producer id and epoch (KIP-98); replaced as a whole, on the device before anyone uses them
    control         a mapped page: the epoch in force, and what the producer is doing, for those who look
    owner           flock: held by the producer for as long as it lives

A producer that begins here takes the next epoch, which fences whoever had the one before: it may have been killed, or
stopped and about to go on. Beginning, step by step, under the lock:

1. Write the next epoch to ``state.json``, on the device. A crash behind it skips an epoch.
2. Store it in the control page. From here on the producer before is refused: it looks there before each commit, under
   the same lock.

The page counts within one session: after a power cut no producer is left whom it could fence.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote

import numpy as np

from eventlog.clock import wall_ms
from eventlog.coordination.directory_name import directory_name, is_directory_name
from eventlog.errors import InvalidConfigError, ProducerFencedError
from eventlog.files.checkpoint import read_checkpoint, write_checkpoint
from eventlog.files.file_lock import FileLock, is_locked
from eventlog.files.filesystem import FileSystem, translated
from eventlog.files.notify import Words
from eventlog.files.page import create_page, open_page
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format import layouts as L
from eventlog.format.filenames import CONTROL, LOCK, TRANSACTION_OWNER, TRANSACTIONAL_STATE, TRANSACTIONS
from eventlog.format.producer_stamp import LAST_EPOCH
from eventlog.storage.context import LogContext

_Answer = TypeVar("_Answer")
_SHOWN = 40  # characters of an id in an error


def transactional_ids(fs: FileSystem, root: str) -> list[str]:
    """Return all transactional ids that were ever used, sorted."""
    try:
        entries = fs.listdir(os.path.join(root, TRANSACTIONS))
    except FileNotFoundError as error:
        pass_on_handlers(error)
        return []
    return sorted(unquote(entry) for entry in entries if is_directory_name(entry))


def who_began(producer_id: int, epoch: int) -> memoryview:
    """Return what a page's `TransactionalId.fence` is equal to if this producer was the last to begin."""
    return np.array([producer_id, epoch], np.int64).view(np.uint64).data


class TransactionalId:
    """The files of one transactional id, and this process's hold on them."""

    def __init__(self, context: LogContext, root: str, transactional_id: str) -> None:
        """Raises InvalidConfigError for a text that cannot be one."""
        try:
            name = directory_name(transactional_id)
        except ValueError as error:
            reason = f"transactional_id={transactional_id[:_SHOWN]!r} is not possible: {error}"
            raise InvalidConfigError(reason, hint="choose another") from error
        self.transactional_id = transactional_id
        self.path = os.path.join(root, TRANSACTIONS, name)
        self._fs = fs = context.fs
        self._clock = context.clock
        self._root = context.root
        self._lock = FileLock(fs, os.path.join(self.path, LOCK))
        self._owner = FileLock(fs, os.path.join(self.path, TRANSACTION_OWNER))
        self._page: Words | None = None
        self._is_owner = False

    # --- the producer ---

    def begin(self, patience: float, timeout_ms: int) -> tuple[int, int]:
        """Take the next epoch, and return the producer id and it; fences the producer that had the one before.

        Raises LockTimeoutError when another process holds the lock for longer than ``patience`` seconds.
        """
        self._root.check()  # before anything is made in another log
        with translated(self.path):
            for path in (os.path.dirname(self.path), self.path):
                with suppress(FileExistsError):
                    self._fs.mkdir(path)
                    self._fs.sync_directory(os.path.dirname(path))
            return self.while_locked(lambda: self._begin(timeout_ms), patience)

    def _begin(self, timeout_ms: int) -> tuple[int, int]:
        producer_id, epoch = self._next(self.read())
        path = os.path.join(self.path, TRANSACTIONAL_STATE)
        fields = {"transactional_id": self.transactional_id, "producer_id": producer_id, "epoch": epoch}
        write_checkpoint(self._fs, path, "transactional id", fields)
        words = self._own_page()
        words[L.TX_PRODUCER_ID], words[L.TX_EPOCH], words[L.TX_TIMEOUT] = producer_id, epoch, timeout_ms
        words[L.TX_PROCESS] = os.getpid()
        self.note(L.STATUS_EMPTY)
        self._own()
        return producer_id, epoch

    def _own(self) -> None:
        """Show that this producer lives, unless one that it has fenced still holds the id: then with a later call."""
        if not self._is_owner:
            self._is_owner = self._owner.acquire(blocking=False)

    def _disown(self) -> None:
        self._is_owner = False
        self._owner.close()

    def _next(self, known: tuple[int, int] | None) -> tuple[int, int]:
        if known is None or known[1] >= LAST_EPOCH - 1:  # Kafka keeps the last epoch for fencing
            return secrets.randbits(63), 0
        return known[0], known[1] + 1

    def read(self) -> tuple[int, int] | None:
        """Return producer id and epoch, or None before the first producer. Raises CorruptMetadataError."""
        try:
            fields = read_checkpoint(self._fs, os.path.join(self.path, TRANSACTIONAL_STATE), "transactional id")
        except FileNotFoundError as error:
            pass_on_handlers(error)
            return None
        if fields.get("transactional_id") != self.transactional_id:
            fields.wrong("transactional_id", f"{self.transactional_id!r}, as its directory")
        return fields.whole("producer_id", 0, 2**63 - 1), fields.whole("epoch", 0, LAST_EPOCH)

    def while_locked(self, call: Callable[[], _Answer], patience: float) -> _Answer:
        """Call with the lock. Raises LockTimeoutError when it is not free within ``patience`` seconds."""

        def call_in_place() -> _Answer:
            self._root.check()
            return call()

        what = f"the lock of transactional_id={self.transactional_id!r}"
        return self._lock.while_held(call_in_place, patience, lambda: self._lock.timeout_error(patience, what))

    def fence(self) -> memoryview:
        """Return the words of the producer's page that say who began here last; they count until `close`."""
        return who_began(0, 0) if self._page is None else self._page[L.TX_PRODUCER_ID : L.TX_EPOCH + 1].data

    def refuse_fenced(self, producer_id: int, epoch: int) -> None:
        """Raise ProducerFencedError when another producer has begun here since."""
        words = self._page
        if words is None or words.item(L.TX_EPOCH) != epoch or words.item(L.TX_PRODUCER_ID) != producer_id:
            self._disown()
            raise ProducerFencedError(
                f"another producer has begun with transactional_id={self.transactional_id!r}", path=self.path,
                hint="close this one: the other goes on in its place, and what this one had not committed is gone",
            )  # fmt: skip

    # --- for those who look ---

    def note(self, status: int) -> None:
        """Tell what the producer is doing."""
        words = self._page
        if words is not None:
            words[L.TX_CHANGED] = wall_ms(self._clock.time())
            words[L.TX_STATUS] = status

    def note_begin(self, started_ms: int) -> None:
        """Tell that a transaction is open; its outcome will have the same time."""
        words = self._page
        if words is not None:
            words[L.TX_STARTED] = started_ms
            self._own()
            self.note(L.STATUS_ONGOING)

    def note_commit(self, journal_offset: int) -> None:
        """Tell that a transaction is being committed, whose outcome will stand in the journal from there on."""
        words = self._page
        if words is not None:
            words[L.TX_JOURNAL] = journal_offset
            self.note(L.STATUS_PREPARE_COMMIT)

    def words(self) -> Words | None:
        """Return the control page's words, or None when there is no page."""
        page = open_page(self._fs, os.path.join(self.path, CONTROL), L.TRANSACTIONAL_MAGIC, writable=False)
        return None if page is None else page.view(np.uint64)

    def is_alive(self) -> bool:
        """Tell whether the producer lives, or one that it has fenced."""
        return is_locked(self._fs, os.path.join(self.path, TRANSACTION_OWNER))

    def _own_page(self) -> Words:
        if self._page is None:
            path = os.path.join(self.path, CONTROL)
            page = open_page(self._fs, path, L.TRANSACTIONAL_MAGIC, writable=True)
            if page is None:
                page = create_page(self._fs, path, L.TRANSACTIONAL_MAGIC)
            self._page = page.view(np.uint64)
        return self._page

    def close(self) -> None:
        """Give back descriptors and mappings, and the hold on the id."""
        self._lock.close()
        self._disown()
        self._page = None
