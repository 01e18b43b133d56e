"""A group's files, under ``<root>/groups/<group>/``.

::

    lock            flock: held exclusively for every change of the state, shared for every commit
    state.json      the group's state (`GroupState`); replaced as a whole
    control         a mapped page: generation, version of the state, number of members, time of the last look around
    members/<id>    a mapped page for each member, which holds a flock on it for as long as it lives
    name.json       the group's name, if it is too long for a directory's; written once, before ``members`` is made

The kernel frees a member's lock when it dies, which is how the others learn of it. A member's page has a word that
changes when it should look at the state, so that a poll costs no system call.

Nothing here must survive a power cut, which ends all members: files are replaced without a sync. A state that is
missing or damaged while members live is made anew, with those as strangers (see `GroupState`): each finds out when it
looks, and joins again. Committed offsets lie elsewhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from eventlog.coordination.directory_name import short_directory_name, whole_name
from eventlog.coordination.group_state import GroupState
from eventlog.errors import (
    CommitFailedError,
    CorruptMetadataError,
    ForeignFileError,
    InvalidGroupError,
    RetriableCommitFailedError,
)
from eventlog.files.checkpoint import read_checkpoint, write_checkpoint
from eventlog.files.file_lock import FileLock, is_locked
from eventlog.files.filesystem import FileSystem, translated
from eventlog.files.notify import Words, wake
from eventlog.files.page import create_page, open_page
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format import layouts as L
from eventlog.format.filenames import CONTROL, GROUP_NAME, GROUP_STATE, GROUPS, LOCK, MEMBERS
from eventlog.quantities import is_blank
from eventlog.storage.log_root import NoRoot
from eventlog.texts import plain, shown

logger = logging.getLogger("eventlog")
_POSSIBLE = 2**62 - 1  # generations and versions: a damaged page may say more, and counting on must not overflow
_Answer = TypeVar("_Answer")
_SHOWN = 40  # characters of a name in an error
PATIENCE = 0.02  # seconds to wait for the lock in a poll: it is held for microseconds, unless its holder was stopped
PATIENCE_AT_LAST = 0.5  # seconds to wait for the lock in order to leave, when no poll comes that could try again


_NO_ROOT = NoRoot()


class GroupBusy(Exception):  # noqa: N818  # no error: whoever polls goes on with what there is, and tries again
    """A process holds the group's lock and does not go on. Internal."""


def group_directory_name(group: object) -> str:
    """Return the name of a group's directory. Raises InvalidGroupError for what is no group's name.

    >>> group_directory_name("billing/eu")
    'billing%2Feu'
    """
    if not isinstance(group, str) or is_blank(plain(group)):
        raise InvalidGroupError(
            f"{shown(group)} is no group's name", group=group, hint="give a text, such as 'billing'"
        )
    try:
        return short_directory_name(plain(group))
    except ValueError as error:
        short = group if len(group) <= _SHOWN else f"{group[:_SHOWN]}..."
        raise InvalidGroupError(f"not a possible group's name: {error}", group=short, hint="choose another") from error


def group_names(fs: FileSystem, root: str) -> list[str]:
    """Return the names of all groups that ever had a member, sorted."""
    directory = os.path.join(root, GROUPS)
    try:
        entries = fs.listdir(directory)
    except FileNotFoundError as error:
        pass_on_handlers(error)
        return []
    names = (whole_name(entry) or _long_name(fs, os.path.join(directory, entry)) for entry in entries)
    return sorted(name for name in names if name is not None)


def _long_name(fs: FileSystem, path: str) -> str | None:
    """Return what `GroupDirectory.prepare` has written; None where it has not, or that is damaged."""
    try:
        name = read_checkpoint(fs, os.path.join(path, GROUP_NAME), "group name").get("group")
        return name if group_directory_name(name) == os.path.basename(path) else None
    except (FileNotFoundError, NotADirectoryError, CorruptMetadataError, InvalidGroupError) as error:
        pass_on_handlers(error)
        return None


class GroupDirectory:
    """The files of one group. ``path`` and ``group`` tell which."""

    def __init__(self, fs: FileSystem, log_path: str, group: str, *, root: NoRoot = _NO_ROOT) -> None:
        """``root`` tells whether the log is still at ``log_path``."""
        self.path = os.path.join(log_path, GROUPS, group_directory_name(group))
        self.group = plain(group)
        self.root = root
        self.lock = FileLock(fs, os.path.join(self.path, LOCK))
        self._fs = fs
        self._words: Words | None = None
        self._pages: dict[str, Words] = {}

    # --- the directory ---

    def prepare(self) -> None:
        """Make the directory, if it is not there. Raises LogMovedError."""
        self.root.check()
        members = os.path.join(self.path, MEMBERS)
        if self._fs.exists(members):
            return
        with translated(self.path):
            for path in (os.path.dirname(self.path), self.path):
                with suppress(FileExistsError):
                    self._fs.mkdir(path)
            if whole_name(os.path.basename(self.path)) is None:
                path = os.path.join(self.path, GROUP_NAME)
                write_checkpoint(self._fs, path, "group name", {"group": self.group})
            with suppress(FileExistsError):
                self._fs.mkdir(members)

    @property
    def words(self) -> Words:
        """The control page's words. Who has the lock makes the page if need be."""
        if self._words is None:
            path = os.path.join(self.path, CONTROL)
            page = open_page(self._fs, path, L.GROUP_MAGIC, writable=True)
            if page is None:
                page = create_page(self._fs, path, L.GROUP_MAGIC)
            self._words = page.view(np.uint64)
        return self._words

    def close(self) -> None:
        """Give back descriptors and mappings."""
        self.lock.close()
        self._words = None
        self._pages.clear()

    # --- the state ---

    def read(self) -> GroupState:
        """Return the state. The caller has the lock, and writes what it makes of it."""
        try:
            return self._read()
        except FileNotFoundError as error:
            pass_on_handlers(error)
        except CorruptMetadataError as error:
            pass_on_handlers(error)
            logger.warning("made again: %s", error)
            self._fs.put_aside(os.path.join(self.path, GROUP_STATE))
        strangers = frozenset(member_id for member_id in self.member_files() if self.is_alive(member_id))
        state = GroupState(generation=self.words.item(L.GROUP_GENERATION) & _POSSIBLE, strangers=strangers)
        self.notify(strangers)
        return state

    def _read(self) -> GroupState:
        path = os.path.join(self.path, GROUP_STATE)
        return GroupState.from_fields(read_checkpoint(self._fs, path, "group"), path)

    def peek(self) -> GroupState | None:
        """Return the state without the lock, which may be a moment old; None when there is none, or a damaged one."""
        try:
            return self._read()
        except (FileNotFoundError, CorruptMetadataError) as error:
            pass_on_handlers(error)
            return None

    def write(self, state: GroupState) -> None:
        """Replace the state; everyone who has something to do wakes. The caller has the lock.

        1. Tell those who have something to do. They wait for the lock; if the writer dies here, they looked in vain.
        2. Make the version odd: nobody relies on a state read from now on. It stays so if the writer dies.
        3. Replace the file. If the writer dies behind it, which may just have left, all who must know do already.
        4. Make the version even, and another one than before.
        """
        self.notify(state.waiting())
        words = self.words
        version = words.item(L.GROUP_VERSION) & _POSSIBLE | 1
        words[L.GROUP_VERSION] = version
        path = os.path.join(self.path, GROUP_STATE)
        write_checkpoint(self._fs, path, "group", state.to_fields(), durable=False)
        words[L.GROUP_GENERATION] = state.generation
        words[L.GROUP_MEMBERS] = len(state.members) + len(state.strangers)
        words[L.GROUP_VERSION] = version + 1

    # --- members ---

    def member_path(self, member_id: str) -> str:
        """Return the path of a member's page."""
        return os.path.join(self.path, MEMBERS, member_id)

    def member_files(self) -> list[str]:
        """Return the ids of all members that have a page, living or dead."""
        return [name for name in self._fs.listdir(os.path.join(self.path, MEMBERS)) if not name.endswith(".tmp")]

    def create_member(self, member_id: str) -> tuple[Words, FileLock]:
        """Make a member's page, and hold its lock. The caller has the group's lock."""
        path = self.member_path(member_id)
        page = create_page(self._fs, path, L.MEMBER_MAGIC)
        life = FileLock(self._fs, path)
        life.acquire()
        return page.view(np.uint64), life

    def remove_member(self, member_id: str) -> None:
        """Remove the page of a member that is gone."""
        self._pages.pop(member_id, None)
        with suppress(FileNotFoundError, ForeignFileError):
            self._fs.unlink(self.member_path(member_id))

    def tidy(self, state: GroupState, gone: Iterable[str]) -> None:
        """Remove the pages of who was taken out, and what was left by those who died before they were in the state.

        Once the state is written, not before: who is in it without a page could not be told that it was removed. The
        caller has the lock, under which all is written: a file that is half written is nobody's.
        """
        for member_id in gone:
            self.remove_member(member_id)
        for member_id in self.member_files():
            known = member_id in state.members or member_id in state.strangers
            if not known and not self.is_alive(member_id):
                self.remove_member(member_id)
        for directory in (self.path, os.path.join(self.path, MEMBERS)):
            for name in self._fs.listdir(directory):
                if name.endswith(".tmp"):
                    self._fs.unlink(os.path.join(directory, name))

    def is_alive(self, member_id: str) -> bool:
        """Tell whether the member's process lives."""
        return is_locked(self._fs, self.member_path(member_id))

    def last_poll(self, member_id: str) -> int | None:
        """Return when the member polled last, in milliseconds of the monotonic clock; None when it has no page."""
        page = self._page(member_id)
        return None if page is None else page.item(L.MEMBER_LAST_POLL)

    def notify(self, member_ids: Iterable[str]) -> None:
        """Tell members to look at the state: awake ones with their next poll, sleeping ones now.

        Someone may have removed or damaged the page of one that lives: then all are told.
        """
        for member_id in member_ids:
            page = self._page(member_id)
            if page is None:
                _count_on(self.words, L.GROUP_LOOK)
            else:
                _count_on(page, L.MEMBER_LOOK)
                wake(page, L.MEMBER_LOOK)

    def _page(self, member_id: str) -> Words | None:
        page = self._pages.get(member_id)
        if page is None:
            found = open_page(self._fs, self.member_path(member_id), L.MEMBER_MAGIC, writable=True)
            if found is not None:
                page = self._pages[member_id] = found.view(np.uint64)
        return page

    def while_locked(self, call: Callable[[GroupState], _Answer], patience: float = PATIENCE) -> _Answer:
        """Call with the lock, and the state. Raises GroupBusy when it is not free within ``patience`` seconds."""

        def call_in_place() -> _Answer:
            self.root.check()
            return call(self.read())

        self.prepare()
        with translated(self.path):
            return self.lock.while_held(call_in_place, patience, GroupBusy)

    def acquire_to_commit(self, patience: float) -> None:
        """Take the lock, shared with other commits. Raises RetriableCommitFailedError after ``patience`` seconds."""
        if not self.lock.acquire_within(patience, shared=True):
            raise RetriableCommitFailedError(
                f"another process has held the group's lock for {patience} s", group=self.group,
                hint="nothing was committed. Is a member stopped? Let it go on, or kill it, and commit again",
            )  # fmt: skip

    def commit_alone(self, write: Callable[[], None], patience: float) -> None:
        """Call ``write`` for a consumer that chose its partitions itself, unless the group has living members.

        Raises CommitFailedError then, as Kafka does: nothing else would keep it from undoing their commits; and
        RetriableCommitFailedError when the lock is not free within ``patience`` seconds.
        """
        self.prepare()
        try:
            self.acquire_to_commit(patience)
            self.refuse_members()
            write()
            self.lock.release()
        except BaseException:
            self.lock.release()
            raise

    def refuse_members(self) -> None:
        """Raise CommitFailedError when the group has living members. The caller has the lock."""
        state = self.peek()
        members = self.member_files() if state is None else [*state.members, *state.strangers]
        if any(map(self.is_alive, members)):
            raise CommitFailedError(
                "the group has members, and this consumer is none of them", group=self.group,
                hint="subscribe() to be one, or use another group",
            )  # fmt: skip


def _count_on(words: Words, place: int) -> None:
    words[place] = (words.item(place) + 1) & _POSSIBLE
