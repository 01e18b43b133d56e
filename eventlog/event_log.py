"""The log: one directory, its topics, and the producers and consumers that use them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from typing import Any, Unpack

from eventlog.aio.consumer_thread import ConsumerThread
from eventlog.clients import Clients
from eventlog.clock import Clock, SystemClock
from eventlog.config import NEVER, TopicConfig, configure
from eventlog.consumer.consumer import Consumer
from eventlog.coordination.offset_store import OffsetStore
from eventlog.coordination.transaction_coordinator import TransactionCoordinator
from eventlog.coordination.transaction_records import TransactionOutcome
from eventlog.errors import (
    ClosedError,
    InvalidConfigError,
    LogMovedError,
)
from eventlog.files.deferred import ClosesLater
from eventlog.files.file_lock import DEFAULT_LOCK_TIMEOUT
from eventlog.files.filesystem import FileSystem, translated
from eventlog.files.mutex import is_reentered
from eventlog.files.paths import real_path
from eventlog.files.signal_handlers import suppress
from eventlog.monitoring.group_description import GroupDescription
from eventlog.monitoring.group_monitor import GroupMonitor
from eventlog.monitoring.transaction_description import TransactionDescription
from eventlog.monitoring.transaction_monitor import TransactionMonitor
from eventlog.monitoring.transaction_verification import TransactionsReport, verify_transactions
from eventlog.notebooks import table
from eventlog.producer.linger_thread import join_finishing
from eventlog.quantities import LONGEST
from eventlog.settings import TopicSettings
from eventlog.storage.context import LogContext
from eventlog.storage.log_directory import prepare
from eventlog.storage.log_root import LogRoot
from eventlog.storage.open_files import OpenFiles
from eventlog.storage.session import Session
from eventlog.storage.sync_slots import SyncSlots
from eventlog.texts import shown, shown_whole
from eventlog.topics.internal import refuse_reserved
from eventlog.topics.partition import Partition
from eventlog.topics.registry import TopicRegistry, check_topic_name
from eventlog.topics.topic import Topic

MAX_OPEN_PARTITIONS = 128  # each holds up to five descriptors; the usual limit of a process is 1024
LOCK_TIMEOUT_MS = int(DEFAULT_LOCK_TIMEOUT * 1000)
OFFSETS_RETENTION_MINUTES = 7 * 24 * 60  # Kafka's offsets.retention.minutes

_every_log: weakref.WeakSet[EventLog] = weakref.WeakSet()


class EventLog(Clients):
    """An open log. Any number of threads and processes may have the same directory open.

    Use `eventlog.open`. A context manager; closing it flushes what this process wrote, so that the next opening has
    nothing to recover.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        parents: bool = False,
        readonly: bool = False,
        max_open_partitions: int = MAX_OPEN_PARTITIONS,
        offsets_retention_minutes: int = OFFSETS_RETENTION_MINUTES,
        lock_timeout_ms: int = LOCK_TIMEOUT_MS,
        clock: Clock | None = None,
        filesystem: FileSystem | None = None,
    ) -> None:
        _check_count("max_open_partitions", max_open_partitions)
        _check_count("offsets_retention_minutes", offsets_retention_minutes)
        _check_count("lock_timeout_ms", lock_timeout_ms)
        lock_timeout = min(lock_timeout_ms / 1000, LONGEST)
        self.path = os.path.abspath(os.fsdecode(path))
        self._options: dict[str, Any] = {
            "readonly": readonly, "max_open_partitions": max_open_partitions, "clock": clock, "filesystem": filesystem,
            "offsets_retention_minutes": offsets_retention_minutes, "lock_timeout_ms": lock_timeout_ms,
        }  # fmt: skip
        self._real_path = real = real_path(self.path)  # from here on, no link is followed
        fs = filesystem or FileSystem()
        self.readonly = prepare(fs, real, readonly=readonly, lock_timeout=lock_timeout, create=create, parents=parents)
        self._root = LogRoot(fs, self.path, real)
        with translated(real):
            self._session = Session(fs, real, readonly=self.readonly, lock_timeout=lock_timeout)
        self._context = LogContext(
            fs,
            clock or SystemClock(),
            OpenFiles(max_open_partitions),
            self._session.number,
            self.readonly,
            self._session.look_again,
            self._session.latest_number,
            root=self._root,
            lock_timeout=lock_timeout,
            slots=SyncSlots(fs, real),
        )
        self._registry = TopicRegistry(self._context, real, self._session)
        self._offsets = OffsetStore(self._registry, self._context.clock, offsets_retention_minutes * 60_000)
        self._coordinator = TransactionCoordinator(self._context, real, self._registry, self._offsets)
        self._context.journal = self._coordinator.journal
        self._groups = GroupMonitor(self._context, real, self._registry, self._offsets)
        self._transactions = TransactionMonitor(self._context, real, self._coordinator.journal)
        self._closed = False
        self._later = ClosesLater()
        self._clients = weakref.WeakSet()
        if self._session.is_first and not self.readonly:
            self._registry.sweep()
        self._root.check()  # it may have been replaced while it was opened
        _every_log.add(self)

    # --- topics ---

    def create_topic(
        self, name: str, partitions: int = 1, *, exist_ok: bool = False, **settings: Unpack[TopicSettings]
    ) -> Topic:
        """Create a topic; safe against other processes that do the same, and durable when this returns.

        ``settings`` are those of `TopicSettings`. With ``exist_ok`` a topic that is there is returned if it has
        at least ``partitions`` partitions and each setting that is given here; settings left out may be anything.
        Raises TopicExistsError when it has not, and always without ``exist_ok``; InvalidTopicError, also beside a topic
        whose name differs in dots and underscores alone, and for ``__consumer_offsets``, which commits create;
        InvalidPartitionsError, InvalidConfigError, ReadOnlyLogError and LogFullError.

        >>> import tempfile
        >>> EventLog(tempfile.mkdtemp()).create_topic("orders", partitions=2, segment_bytes=1 << 20).name
        'orders'
        """
        self._check_open()
        name = check_topic_name(name)
        refuse_reserved(name)
        config = configure(TopicConfig, settings)
        return self._registry.create(name, partitions, config, exist_ok=exist_ok, given=settings)

    def topic(self, name: str) -> Topic:
        """Return the topic. Raises UnknownTopicError when there is none."""
        self._refuse_closed()
        self._root.look()
        return self._registry.get(name)

    def topics(self, include_internal: bool = False) -> list[str]:
        """Return the names of all topics, sorted; internal ones, which begin with ``__``, only if asked for."""
        self._check_open()
        return self._registry.names() if include_internal else self._registry.visible_names()

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a topic of this name; internal ones count."""
        self._check_open()
        return name in self._registry.names()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the topics, as `topics` returns them."""
        return iter(self.topics())

    def __getitem__(self, name: str) -> Topic:
        """Return the topic, as `topic` does."""
        return self.topic(name)

    def delete_topic(self, name: str) -> None:
        """Delete the topic, its records, and what groups have committed for it.

        Whoever is reading it gets UnknownTopicError. Raises InvalidTopicError for ``__consumer_offsets``: every group
        would lose its place.
        """
        self._check_open()
        name = check_topic_name(name)
        refuse_reserved(name)
        self._registry.delete(name)
        self._groups.forget_topic(name)

    @property
    def metadata_version(self) -> int:
        """Changes whenever any process creates, changes or deletes a topic."""
        return self._session.metadata_version

    # --- groups ---

    def groups(self) -> list[str]:
        """Return the names of all groups that have living members or committed offsets, sorted."""
        self._check_open()
        return self._groups.names()

    def group(self, name: str) -> GroupDescription:
        """Return what can be said of a group now: its members, and its lag in each partition.

        Takes no lock of the group and changes nothing in it. Raises UnknownGroupError for a group that never was,
        CorruptSegmentError when damage may have taken its commits, and InvalidGroupError.
        """
        self._check_open()
        return self._groups.describe(name)

    def delete_group(self, name: str) -> None:
        """Delete a group and its committed offsets: who joins next begins as if it had never been.

        Raises GroupNotEmptyError while it has living members, UnknownGroupError, InvalidGroupError and
        ReadOnlyLogError. Nothing was deleted then.
        """
        self._check_open()
        self._groups.delete(name)

    # --- transactions ---

    def transactions(self) -> list[TransactionDescription]:
        """Return what each transactional id's producer is doing, sorted by id. Takes no lock and changes nothing."""
        self._check_open()
        return self._transactions.describe_all()

    def recent_transactions(self, count: int = 20) -> list[TransactionOutcome]:
        """Return what became of the last ``count`` transactions that were written, newest last.

        One that its producer aborted has written nothing, and is not among them.
        """
        self._check_open()
        return self._transactions.recent(count)

    def verify_transactions(self) -> TransactionsReport:
        """Check that what the journal says of each transaction is true of the partitions, beside `Partition.verify`."""
        self._check_open()
        return verify_transactions(self._registry, self._coordinator.journal, self._transactions)

    # --- closing ---

    def flush(self) -> None:
        """Bring everything that this process wrote to the device. Raises LogMovedError, and StorageError."""
        self._root.check()
        for topic in self._registry.used_topics():
            for partition in topic.partitions.made():
                partition.flush_if_written()

    def close(self) -> None:
        """Close producers (which flush), consumers and files. Harmless when closed already.

        When a client's close raises, the rest is closed all the same, and then the first error is raised. A ``with``
        that an error ends commits nothing for its consumers. In a signal handler that has interrupted another call, a
        thread does it as soon as that call is over.
        """
        self._close(autocommit=True)

    def _close(self, *, autocommit: bool) -> None:
        if not self._closed:
            self._later.close(lambda: self._close_now(autocommit), is_reentered())

    def _close_now(self, autocommit: bool) -> None:
        errors: list[Exception] = []
        for client in list(self._clients):
            try:
                if isinstance(client, Consumer | ConsumerThread):
                    client.close(autocommit=autocommit)
                else:
                    client.close()
            except Exception as error:
                errors.append(error)
        join_finishing()
        self._closed = True
        try:
            if not self.readonly:
                with suppress(LogMovedError):  # what is to be done about it was told by every other call
                    self.flush()
        finally:
            self._coordinator.close()
            self._context.closed = True
            self._registry.close()
            self._context.slots.close()
            self._session.close()
            self._root.close()
        if errors:
            raise errors[0]

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._close(autocommit=kind is None)

    def after_fork(self) -> None:
        """Start with free locks in a forked child."""
        self._registry.after_fork()
        self._coordinator.after_fork()
        self._context.open_files.after_fork()

    def _check_open(self) -> None:
        self._refuse_closed()
        self._root.check()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("the log is closed", path=self.path, hint="open it again")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path and the options: the log is opened again where it is unpickled, as in a spawned process."""
        return _opened_again, (type(self), self.path, self._options)

    def __repr__(self) -> str:
        return f"<EventLog {shown_whole(self.path)}{' (closed)' if self._closed else ''}>"

    def _repr_html_(self) -> str:
        topics = () if self._closed else map(self.topic, self.topics())
        rows = ([one.name, len(one.partitions), sum(map(_records, one.partitions))] for one in topics)
        return table(repr(self), ["topic", "partitions", "records"], rows)


def _opened_again(cls: type[EventLog], path: str, options: dict[str, Any]) -> EventLog:
    return cls(path, create=False, **options)


def _records(partition: Partition) -> int:
    start, end, _ = partition.extent() or (0, 0, 0)
    return end - start


def _check_count(name: str, count: object) -> None:
    if type(count) is not int or not 1 <= count <= NEVER:
        raise InvalidConfigError(
            f"{name}={shown(count)} is not possible", hint=f"give a whole number from 1 to {NEVER}"
        )


def _after_fork_in_child() -> None:
    for log in list(_every_log):
        log.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
