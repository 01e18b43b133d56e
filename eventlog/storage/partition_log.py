"""One partition's log: its head, its segments, its writer. Knows nothing of topics, producers or replicas."""

from __future__ import annotations

import logging
import os
import time
import weakref

from eventlog.config import TopicConfig
from eventlog.errors import DeliveryTimeoutError, EventLogError
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format import layouts as L
from eventlog.storage.attachment import attach, shared_head
from eventlog.storage.context import LogContext
from eventlog.storage.flusher import Flusher
from eventlog.storage.log_writer import LogWriter
from eventlog.storage.partition_files import PartitionFiles

logger = logging.getLogger("eventlog")
_PATIENCE = 5.0  # seconds: a commit takes milliseconds, unless its process was stopped
_FIRST_PAUSE, _LONGEST_PAUSE = 50e-6, 2e-3  # seconds
_every_log: weakref.WeakSet[PartitionLog] = weakref.WeakSet()


class PartitionLog(PartitionFiles):
    """The files of one partition. Safe for any number of threads, processes, and forks.

    What may be open is bounded: `OpenFiles` asks for descriptors and mappings back, and the next use opens them.
    """

    def __init__(
        self,
        context: LogContext,
        directory: str,
        topic: str,
        partition: int,
        config: TopicConfig,
        topic_id: str = "",
    ) -> None:
        """``topic_id`` is what the journal of transactions knows the topic by."""
        super().__init__(context, directory, topic, partition, config, topic_id)
        self._is_open = False
        try:
            self.head, self.recovery = attach(self, self.lock)
        except BaseException:  # nobody has this log, so nobody would ever free a lock that an interrupt left taken
            self.lock.close()
            raise
        self.flusher = Flusher(self)
        self.writer: LogWriter = LogWriter(self, self.flusher)
        self._is_open = True
        _every_log.add(self)

    # --- closing ---

    def close(self) -> None:
        """Give back descriptors and mappings; batches that callers hold stay readable."""
        self.writer.close()
        self.flusher.release()
        self._forget_mappings()
        self.context.open_files.discard(self)

    def try_release(self) -> bool:
        """Give back descriptors and mappings until the next use; False when an append is under way."""
        if not self._is_open or not self.writer.try_release():
            return False
        self.flusher.release()
        self._forget_mappings()
        return True

    def after_fork(self) -> None:
        """In a forked child: start with free locks, own descriptors and an own identity as a writer."""
        self.writer.after_fork()
        self.flusher.after_fork()
        self._forget_mappings()

    def _forget_mappings(self) -> None:
        self.found_by_time = None, None
        self.segments.forget()

    # --- durability ---

    def sync(self) -> None:
        """Bring everything published so far to the device.

        Raises LogMovedError, and StorageError: also once when a sync failed elsewhere, the partition was recovered, and
        records of this process may be gone.
        """
        if not self.context.readonly:
            life, end_offset = self.present()
            self.writer.refuse_lost()  # now: a life that begins behind this look is not taken for that of our records
            if not self.head.was_durable(life, end_offset):
                self.context.root.check()
            self.flusher.sync_to(end_offset, life)

    def present(self) -> tuple[int, int]:
        """Return the log's life, and the log end offset in it; while it is being recovered, that of the life before."""
        while True:
            life, end_offset = self.head.life, self.end_offset
            if self.head.life == life:
                return life, end_offset

    # --- reading ---

    @property
    def end_offset(self) -> int:
        """The published log end offset. Raises UnknownTopicError when the topic was deleted."""
        if self.context.readonly:
            self.look_for_writers()
        words = self.head.words
        end: int = words.item(L.HEAD_END)
        if end == L.END_DELETED:
            raise self.gone()
        if words.item(L.HEAD_WRITER) == L.WRITER_PENDING and self.settle():
            return self.end_offset
        return end

    def look_again(self) -> None:
        """For a reader at the end: see whether more was published than the head says."""
        if self.context.readonly:
            self.look_for_writers()
        else:
            self.settle()

    def settle(self) -> bool:
        """Settle what a transaction left whose process died before it had published its records here.

        False while one is being committed, and in a log that may only be read: what is published stays true.
        """
        if self.context.readonly:
            return False
        try:
            return self.writer.settle()
        except (EventLogError, OSError) as error:
            pass_on_handlers(error)
            logger.debug("%s: a transaction cannot be settled yet: %s", self.directory, error)
            return False

    def settled_end_offset(self, patience: float = _PATIENCE) -> int:
        """Return the log end offset, once no transaction that is being committed could still move it.

        Raises DeliveryTimeoutError when that takes longer than ``patience`` seconds.
        """
        deadline, pause = time.monotonic() + patience, _FIRST_PAUSE
        while self.head.is_pending() and not self.context.readonly and not self.writer.settle():
            if time.monotonic() >= deadline:
                raise DeliveryTimeoutError(
                    f"a transaction has been in the middle of its commit for {patience} s", topic=self.topic,
                    partition=self.partition, hint="is its process stopped? Let it go on, or kill it",
                )  # fmt: skip
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return self.end_offset

    def look_for_writers(self) -> None:
        """Where the log may only be read: follow the head that writers keep true, once some have come."""
        if self.head.is_private or self.head.session != self.context.latest_session():
            head = shared_head(self)
            if head is not None:
                self.head = head

    @property
    def durable_end_offset(self) -> int:
        """Every record before this offset is on the device."""
        return min(self.head.durable_end, self.end_offset)

    @property
    def size_bytes(self) -> int:
        """Bytes of all published batches."""
        state = self.head.end_state()
        sealed = [base for base in self.segments.bases(state.segment_base) if base < state.segment_base]
        return sum(map(self.context.fs.size_of, map(self.segments.path, sealed))) + state.position


def _after_fork_in_child() -> None:
    for log in list(_every_log):
        with suppress(OSError):
            log.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
