"""What all who work on one partition's files share: where they lie, and what is known of them.

The value below the writer, the flusher, recovery and readers, each of which takes it. `PartitionLog` is one of these,
with a writer of its own.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeVar

from eventlog.config import TopicConfig
from eventlog.errors import EventLogError, LogMovedError, UnknownTopicError
from eventlog.files.file_lock import FileLock
from eventlog.format import layouts as L
from eventlog.format.filenames import HEAD, LOCK
from eventlog.format.record_batch import RecordBatch
from eventlog.storage.context import LogContext
from eventlog.storage.head import Head
from eventlog.storage.segment import Segment
from eventlog.storage.segment_list import SegmentList

_Answer = TypeVar("_Answer")


class Holder(Protocol):
    """What syncs ask of the partition's writer in this process."""

    def while_held(self, call: Callable[[], _Answer], *, is_held: bool) -> _Answer:
        """Call while this process holds the partition, as its writer; ``is_held``: the caller does already."""
        ...

    def stop(self, *, is_held: bool) -> None:
        """After a failed sync was noted, refuse all further appends; ``is_held``: the caller holds the lock."""
        ...

    def poison_locked(self) -> None:
        """Note that the device has failed, and do that. For who holds the lock."""
        ...

    def flushed(self, life: int, end_offset: int) -> None:
        """Note that all records of this life before the offset are on the device."""
        ...


class PartitionFiles(ABC):
    """The files of one partition: their place, settings, lock, segments and head."""

    writer: Holder
    head: Head

    def __init__(
        self, context: LogContext, directory: str, topic: str, partition: int, config: TopicConfig, topic_id: str
    ) -> None:
        """``topic_id`` is what the journal of transactions knows the topic by."""
        self.directory = directory
        self.topic_id = topic_id
        self.topic = topic
        self.partition = partition
        self.config = config
        self.context = context = context.seen_by(topic)
        self.recently_used = True
        # What a search by time has just found, and checked: whoever asked reads there next.
        self.found_by_time: tuple[Segment | None, RecordBatch | None] = None, None
        self.segments = SegmentList(context.fs, directory, topic, partition, self._on_map)
        self.lock = FileLock(context.fs, os.path.join(directory, LOCK), timeout=context.lock_timeout)

    @abstractmethod
    def try_release(self) -> bool:
        """Give back descriptors and mappings until the next use; False when an append is under way."""

    def _on_map(self) -> None:
        self.context.root.check()  # what was mapped just now may be of another log
        self.note_open()

    def note_open(self) -> None:
        """Count the partition among those that hold descriptors or mappings."""
        self.context.open_files.add(self)

    # --- where the log begins and ends ---

    @property
    def start_offset(self) -> int:
        """The first offset that the log holds."""
        return self.head.words.item(L.HEAD_START)

    @property
    def end_offset(self) -> int:
        """The published log end offset. Raises UnknownTopicError when the topic was deleted."""
        end: int = self.head.words.item(L.HEAD_END)
        if end == L.END_DELETED:
            raise self.gone()
        return end

    @abstractmethod
    def look_again(self) -> None:
        """For a reader at the end: see whether more was published than the head says."""

    def ensure_indexes(self, segment: Segment) -> None:
        """Rebuild a sealed segment's indexes, once, when they are missing, short or damaged."""
        self.segments.ensure_indexes(segment, self.config.index_interval_bytes, writable=not self.context.readonly)

    # --- when they are gone ---

    def is_gone(self) -> bool:
        """Tell whether the topic was deleted, even if whoever deletes it has not yet marked the head."""
        path = os.path.join(self.directory, HEAD)
        return self.head.words.item(L.HEAD_END) == L.END_DELETED or not self.head.is_in_place(self.context.fs, path)

    def gone(self) -> EventLogError:
        """Return the error of a partition that is not at its path any more: the log was moved, or the topic deleted."""
        try:
            self.context.root.check()
        except LogMovedError as moved:
            return moved
        return UnknownTopicError("the topic does not exist (any more)", topic=self.topic, partition=self.partition)
