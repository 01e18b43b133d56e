"""Commits a consumer's positions: when asked, by the clock, and before partitions are given up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from eventlog.clock import Clock
from eventlog.coordination.checked_offsets import checked_offsets
from eventlog.coordination.group_directory import PATIENCE, GroupBusy
from eventlog.coordination.offset_store import OffsetStore
from eventlog.errors import EventLogError, InvalidConfigError, ReentrantCallError, RetriableCommitFailedError
from eventlog.files.mutex import calls_out
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.model import OffsetAndMetadata, TopicPartition
from eventlog.quantities import is_legal_name
from eventlog.texts import shown
from eventlog.topics.registry import TopicRegistry

Offsets = dict[TopicPartition, OffsetAndMetadata]
CommitCallback = Callable[[Offsets, BaseException | None], Any]
Guard = Callable[[Collection[TopicPartition], Callable[[], None], float], None]

_MAX_PARTITION = 2**31 - 1
_PATIENCE = 5.0  # seconds that a commit waits for a process that holds the group's lock, and may have been stopped

_log = logging.getLogger("eventlog")


def _is_possible(tp: TopicPartition) -> bool:
    return is_legal_name(tp.topic) and tp.partition <= _MAX_PARTITION


class Committer:
    """Writes committed offsets while ``guard`` says that the partitions are this consumer's."""

    def __init__(
        self,
        store: OffsetStore,
        group: str,
        guard: Guard,
        registry: TopicRegistry,
        clock: Clock,
        interval_ms: int | None,
    ) -> None:
        """``interval_ms`` is that of automatic commits; None for none."""
        self._store = store
        self._group = group
        self._guard = guard
        self._registry = registry
        self._clock = clock
        self._interval = None if interval_ms is None else interval_ms / 1000
        self._next = 0.0 if interval_ms is None else clock.monotonic() + interval_ms / 1000
        self.commits = 0  # that were not refused
        self._last: dict[TopicPartition, int] = {}  # what was committed here last: not to be written again by the clock
        self._done: list[tuple[CommitCallback, Offsets, BaseException | None]] = []

    def stop(self) -> None:
        """Commit nothing any more without being asked for it."""
        self._interval = None

    # --- committing ---

    def commit(self, offsets: Offsets, patience: float | None = None) -> None:
        """Write the offsets, all or none; ``patience`` is for whoever holds the group's lock, in seconds."""
        if not offsets:
            return
        seconds = _PATIENCE if patience is None else patience
        self._guard(offsets.keys(), lambda: self._store.commit(self._group, offsets), seconds)
        self.commits += 1
        for tp, committed in offsets.items():
            self._last[tp] = committed.offset

    def commit_async(self, offsets: Offsets, callback: CommitCallback | None) -> None:
        """Do the same at once, since it waits for nothing; `run_callbacks` tells what became of it."""
        if callback is not None and not callable(callback):
            raise InvalidConfigError(f"callback={shown(callback)} is not callable", hint="give a function, or None")
        error: BaseException | None = None
        try:
            self.commit(offsets)
        except EventLogError as refused:
            pass_on_handlers(refused)
            error = refused
        if callback is not None:
            self._done += ((callback, offsets, error),)
        elif error is not None:
            _log.warning("a commit of group %s failed: %s", self._group, error)

    @property
    def has_callbacks(self) -> bool:
        """Tell whether a caller of `commit_async` waits to be told."""
        return bool(self._done)

    @calls_out
    def run_callbacks(self) -> None:
        """Tell the callers of `commit_async`, in order."""
        while self._done:
            callback, offsets, error = self._done.pop(0)
            callback(offsets, error)

    def commit_if_due(self, positions: Callable[[], Mapping[TopicPartition, int]]) -> None:
        """Commit automatically, if it is time."""
        if self._interval is not None and self._clock.monotonic() >= self._next:
            self.commit_now(positions())

    def commit_now(self, positions: Mapping[TopicPartition, int], patience: float = PATIENCE) -> None:
        """Commit automatically what has moved on. A refusal is logged: the new owner reads those records again."""
        try:
            self._commit_moved(positions, patience)
        except EventLogError as error:
            pass_on_handlers(error)
            _log.warning("an automatic commit of group %s failed: %s", self._group, error)

    def commit_before_giving_up(self, positions: Mapping[TopicPartition, int]) -> None:
        """Do the same, but raise GroupBusy for a lock that is not free: the partitions can be given up later."""
        try:
            self._commit_moved(positions, PATIENCE)
        except (RetriableCommitFailedError, ReentrantCallError):
            raise GroupBusy from None
        except EventLogError as error:
            pass_on_handlers(error)
            _log.warning("an automatic commit of group %s failed: %s", self._group, error)

    def _commit_moved(self, positions: Mapping[TopicPartition, int], patience: float) -> None:
        if self._interval is not None:
            self._next = self._clock.monotonic() + self._interval
            moved = {tp: OffsetAndMetadata(place) for tp, place in positions.items() if self._last.get(tp) != place}
            self.commit(moved, patience)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions were given up: what others commit for them is not known here."""
        for tp in partitions:
            self._last.pop(tp, None)

    # --- what was committed ---

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return the group's committed offsets; None also where there can be no partition."""
        wanted = list(partitions)
        found = self._store.committed(self._group, filter(_is_possible, wanted))
        return {tp: found.get(tp) for tp in wanted}

    # --- checking ---

    def checked(self, offsets: object) -> Offsets:
        """Return what a caller wants to commit; raises what `checked_offsets` does."""
        return checked_offsets(self._registry, offsets)
