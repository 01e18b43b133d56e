"""The topics of a log: created, found, changed and deleted by any process at any time.

Every change happens under the log's root lock, becomes visible by one rename, and then bumps the metadata version in
the control page, which everyone compares before trusting what it knows.

Creating: 1. finish the deletion of an earlier topic of this name; 2. build ``~new-<id>`` with a synced ``topic.json``;
3. rename it to the topic's name; 4. sync the directory. A crash before 3 leaves a staged directory, which the next
opening removes; after it the topic exists.

Deleting: 1. rename the topic to ``~gone-<name>`` and sync the directory: from here on it is gone; 2. mark each
partition's head under its lock, so that whoever has it open gets UnknownTopicError; 3. remove the files. A crash after
1 leaves work that the next opening finishes, or the next topic of this name: it appears when nobody is in the middle
of an append to the old one, whose paths lead into the new one.

Adding partitions: replace ``topic.json``. A partition's directory appears when it is first used.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import uuid
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from eventlog.config import TopicConfig
from eventlog.errors import (
    ClosedError,
    CorruptMetadataError,
    ForeignFileError,
    InvalidPartitionsError,
    InvalidTopicError,
    ReadOnlyLogError,
    TopicExistsError,
    UnknownTopicError,
)
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import translated
from eventlog.files.mutex import Mutex
from eventlog.files.notify import wake
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format import layouts as L
from eventlog.format.filenames import DELETED, HEAD, LOCK, ROOT_LOCK, STAGED, TOPICS
from eventlog.model import TopicPartition
from eventlog.quantities import is_legal_name
from eventlog.storage.context import LogContext
from eventlog.storage.head import Head
from eventlog.storage.session import Session
from eventlog.texts import plain, shown
from eventlog.topics.internal import is_internal, refuse_reserved
from eventlog.topics.topic import Topic
from eventlog.topics.topic_files import MAX_PARTITIONS, TopicFiles

logger = logging.getLogger("eventlog")
_Answer = TypeVar("_Answer")
_MOST_COMPARED = 1000  # names, which takes some milliseconds


def check_topic_name(name: object) -> str:
    """Return the name if it is legal, as Kafka defines it. Raises InvalidTopicError."""
    if is_legal_name(name):
        return plain(name)
    raise InvalidTopicError(
        f"{shown(name)} is no legal topic name",
        topic=name if isinstance(name, str) else shown(name),
        hint="use 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', but neither '.' nor '..'",
    )


def check_names(topics: tuple[object, ...]) -> None:
    """Raise InvalidTopicError for what is no string."""
    for topic in topics:
        if not isinstance(topic, str):
            raise InvalidTopicError(
                f"{shown(topic)} is a {type(topic).__name__}, not a topic's name", topic=topic,
                hint='give names: consumer("t"), or consumer("t", "u") for several',
            )  # fmt: skip


class TopicRegistry:
    """The topics under ``<root>/topics``, by name."""

    def __init__(self, context: LogContext, root: str, session: Session) -> None:
        self._context = context
        self._fs = context.fs
        self.root = context.root
        self._session = session
        self._directory = os.path.join(root, TOPICS)
        self._root_lock = FileLock(context.fs, os.path.join(root, ROOT_LOCK), timeout=context.lock_timeout)
        self._change = Mutex()  # held while the root lock is waited for, when others here only look
        self._mutex = Mutex()
        self._known: dict[str, Topic] = {}
        self._known_version = session.metadata_version
        self._told_of: set[str] = set()  # topics that cannot be used

    # --- finding ---

    def get(self, name: str) -> Topic:
        """Return the topic. Raises UnknownTopicError when there is none, InvalidTopicError for an illegal name."""
        if self._known_version != self._session.metadata_version:
            self._look_again()
        if type(name) is not str:
            name = check_topic_name(name)
        topic = self._known.get(name)
        return topic if topic is not None else self._find(name)

    def to_write(self, name: str) -> Topic:
        """Return a topic that callers may write to; raises InvalidTopicError for what only the log itself does."""
        if type(name) is not str:
            name = check_topic_name(name)
        refuse_reserved(name)
        return self.get(name)

    def names(self) -> list[str]:
        """Return the names of all topics, sorted; also of those that cannot be used, which `get` tells."""
        self.root.check()
        try:
            names = self._fs.list_but_files(self._directory)
        except FileNotFoundError as error:
            pass_on_handlers(error)
            return []
        return sorted(filter(is_legal_name, names))

    def visible_names(self) -> list[str]:
        """Return the same without internal ones."""
        return [name for name in self.names() if not is_internal(name)]

    def partitions_of(self, name: str) -> list[TopicPartition]:
        """Return the partitions of a topic; raises as `get` does."""
        return [TopicPartition(name, number) for number in range(len(self.get(name).partitions))]

    def partition_counts(self, names: Iterable[str]) -> dict[str, int]:
        """Return how many partitions each of these topics has; those that do not exist are left out.

        Raises CorruptMetadataError for one that cannot be used.
        """
        counts = {}
        for name in names:
            with contextlib.suppress(UnknownTopicError):
                counts[name] = len(self.get(name).partitions)
        return counts

    def usable_partition_counts(self, names: Iterable[str]) -> dict[str, int]:
        """Return the same without those that cannot be used: for who reads others as well, it is a warning."""
        counts = {}
        for name in names:
            try:
                counts.update(self.partition_counts([name]))
            except CorruptMetadataError as error:
                pass_on_handlers(error)
                if name not in self._told_of:
                    self._told_of.add(name)
                    logger.warning("the topic %s is left out: %s", name, error)
        return counts

    def _find(self, name: str) -> Topic:
        check_topic_name(name)
        with self._mutex.again():
            found = self._known.get(name)
            return found if found is not None else self._known.setdefault(name, Topic(self, self._read(name)))

    def _read(self, name: str) -> TopicFiles:
        try:
            return TopicFiles.read(self._context, os.path.join(self._directory, name), name)
        except UnknownTopicError as error:
            near = self._near(name)
            if near is not None:
                error.hint = f"did you mean {near!r}? If not, {error.hint}"
            raise

    def _near(self, name: str) -> str | None:
        """Return the name of a topic that this one may be a misspelling of."""
        with suppress(OSError):
            names = self._fs.list_but_files(self._directory)
            near = difflib.get_close_matches(name, filter(is_legal_name, names[:_MOST_COMPARED]), n=1)
            return near[0] if near else None
        return None

    def _look_again(self) -> None:
        """Some topic changed: drop those that are gone or were made anew, and learn of new partitions."""
        with self._mutex.again():
            version = self._session.metadata_version
            for topic in list(self._known.values()):
                self._look_again_at(topic)
            self._known_version = version

    def _look_again_at(self, topic: Topic) -> None:
        try:
            files = self._read(topic.name)
            is_same = files.topic_id == topic.topic_id
        except (UnknownTopicError, CorruptMetadataError) as error:  # whoever asks for a damaged one is told
            pass_on_handlers(error)
            is_same = False
        if is_same:
            topic.files.partition_count = files.partition_count
        else:
            self._known.pop(topic.name, topic)
            topic.tell_users()
            topic.release()

    # --- changing ---

    def _while_held(self, path: str, change: Callable[[], _Answer]) -> _Answer:
        """Call with the log's root lock, in the log that was opened. Errors of the operating system tell of ``path``.

        No context manager: those that are generators keep what they hold when an interrupt comes on the way in or out.
        """
        self.root.check()  # first: the lock's file would be made in another log
        with self._change, translated(path), self._root_lock, self._mutex:
            self.root.check()
            return change()

    def create(
        self, name: str, partitions: int, config: TopicConfig, *, exist_ok: bool, given: Collection[str] = ()
    ) -> Topic:
        """Create the topic; see the module's docstring for the crash cases.

        With ``exist_ok`` a topic that is there must fit: the settings in ``given``, and at least so many partitions.
        """
        name = check_topic_name(name)
        _check_count(partitions, name)
        self.refuse_readonly()
        directory = os.path.join(self._directory, name)
        files = TopicFiles(self._context, directory, name, uuid.uuid4().hex, partitions, config)

        def create() -> Topic:
            if not self._fs.has_directory(directory):
                return self._create(name, files)
            if not exist_ok:
                raise TopicExistsError("the topic exists already", topic=name, hint="pass exist_ok=True to accept it")
            topic = self.get(name)
            _check_fit(topic, partitions, config, given)
            return topic

        return self._while_held(directory, create)

    def _create(self, name: str, files: TopicFiles) -> Topic:
        self._refuse_collision(name)
        self._finish_deletion(name)
        staged = os.path.join(self._directory, STAGED + files.topic_id)
        try:
            self._fs.mkdir(staged)
            files.write(staged)
            self.root.check()
            self._fs.rename(staged, files.directory)
        except BaseException:
            with suppress(OSError):
                self._fs.remove_tree(staged)
            raise
        self._fs.sync_directory(self._directory)
        self._session.bump_metadata()
        return self.get(name)

    def _refuse_collision(self, name: str) -> None:
        """Raise InvalidTopicError for ``a_b`` beside ``a.b``: Kafka's metrics are named with a ``_`` for both."""
        alike = name.replace(".", "_")
        if "_" not in alike:
            return
        for other in self.names():
            if other.replace(".", "_") == alike:
                raise InvalidTopicError(
                    f"the name collides with that of the topic {other}, as in Kafka", topic=name,
                    hint="use either '.' or '_' in names, not both",
                )  # fmt: skip

    def delete(self, name: str) -> None:
        """Delete the topic and all its records; see the module's docstring for the crash cases."""
        name = check_topic_name(name)
        self.refuse_readonly()
        topic = self._while_held(self._directory, lambda: self._delete(name))
        if topic is not None:
            topic.tell_users()
            topic.close()

    def _delete(self, name: str) -> Topic | None:
        files = self._read(name)
        self._fs.rename(files.directory, os.path.join(self._directory, DELETED + name))
        self._fs.sync_directory(self._directory)
        self._session.bump_metadata()
        self._finish_deletion(name)
        return self._known.pop(name, None)

    def add_partitions(self, name: str, total: int) -> None:
        """Grow the topic to ``total`` partitions."""
        check_topic_name(name)
        _check_count(total, name)
        self.refuse_readonly()
        self._while_held(self._directory, lambda: self._grow(name, total))

    def _grow(self, name: str, total: int) -> None:
        files = self._read(name)
        if total < files.partition_count:
            raise InvalidPartitionsError(
                f"{name} has {files.partition_count} partitions, and they cannot be removed", topic=name,
                hint="their records would be lost and every key would move; copy into a new topic instead",
            )  # fmt: skip
        files.partition_count = total
        files.write()
        self._session.bump_metadata()
        topic = self._known.get(name)
        if topic is not None and topic.topic_id == files.topic_id:
            topic.files.partition_count = total  # known at once to whoever holds the topic here

    def sweep(self) -> None:
        """Finish what a crashed process began. Called by the first process of a session."""
        self._while_held(self._directory, lambda: list(map(self._try_to_finish, self._fs.listdir(self._directory))))

    def _try_to_finish(self, name: str) -> None:
        try:
            self._finish(name)
        except OSError as error:  # what cannot be removed is in nobody's way
            pass_on_handlers(error)
            logger.warning("%s: %s", os.path.join(self._directory, name), error)

    def _finish(self, name: str) -> None:
        if name.startswith(STAGED):
            self._fs.remove_tree(os.path.join(self._directory, name))
        elif name.startswith(DELETED):
            self._finish_deletion(name.removeprefix(DELETED))

    def _finish_deletion(self, name: str) -> None:
        """Steps 2 and 3 of a deletion, if its first one was done."""
        doomed = os.path.join(self._directory, DELETED + name)
        if not self._fs.is_directory(doomed):
            if self._fs.exists(doomed):
                self._fs.unlink(doomed)  # a link, and not what it leads to
            return
        for number in self._fs.listdir(doomed):
            if number.isdigit():
                with contextlib.suppress(ForeignFileError):  # no process has that for its partition
                    self._mark_deleted(os.path.join(doomed, number))
        self._fs.remove_tree(doomed)

    def _mark_deleted(self, directory: str) -> None:
        head = Head.open(self._fs, os.path.join(directory, HEAD), writable=True)
        if head is None:
            return
        lock = FileLock(self._fs, os.path.join(directory, LOCK), timeout=self._context.lock_timeout)
        try:
            with lock:
                head.mark_deleted()
        finally:
            lock.close()
        wake(head.words, L.HEAD_END)

    def refuse_readonly(self) -> None:
        """Raise ReadOnlyLogError when the log may only be read, ClosedError when it is closed."""
        if self._context.closed:
            raise ClosedError("the log is closed", path=self._directory, hint="open it again")
        if self._context.readonly:
            raise ReadOnlyLogError(
                "the log was opened for reading only", path=self._directory,
                hint="open it where its directory can be written",
            )  # fmt: skip

    # --- closing ---

    def used_topics(self) -> list[Topic]:
        """Return the topics that this process used."""
        return list(self._known.values())

    def close(self) -> None:
        """Close all topics that were used."""
        for topic in self.used_topics():
            topic.close()
        self._root_lock.close()

    def after_fork(self) -> None:
        """Start with free locks in a forked child."""
        self._mutex, self._change = Mutex(), Mutex()
        for topic in self.used_topics():
            topic.partitions.after_fork()


def _check_fit(topic: Topic, partitions: int, config: TopicConfig, given: Collection[str]) -> None:
    count = len(topic.partitions)
    if count < partitions:
        raise TopicExistsError(
            f"the topic exists, with {count} partitions, not {partitions}", topic=topic.name,
            hint=f"to make it larger: log.topic({topic.name!r}).add_partitions({partitions})",
        )  # fmt: skip
    for setting in given:
        there, asked = getattr(topic.config, setting), getattr(config, setting)
        if there != asked:
            raise TopicExistsError(
                f"the topic exists, with {setting}={there!r}, not {shown(asked)}", topic=topic.name,
                hint=f"leave out {setting} to take the topic as it is, or choose another name",
            )  # fmt: skip


def _check_count(partitions: object, name: str) -> None:
    if type(partitions) is not int or not 1 <= partitions <= MAX_PARTITIONS:
        raise InvalidPartitionsError(
            f"{shown(partitions)} partitions", topic=name, hint=f"give a whole number from 1 to {MAX_PARTITIONS}"
        )
