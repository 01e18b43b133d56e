"""Looks at groups, without a lock and without changing a byte; and deletes them.

A description is read from files that members replace meanwhile. The state is read before and after the members' locks
are tried, until it has stayed the same: so nobody appears dead who has just left.

Deleting, under the group's lock:

1. Refuse while a member lives. Tell the others to look at the state, should one live whose page somebody removed.
2. Delete the committed offsets. A crash before leaves the group as it was, one after leaves a group without offsets.
3. Remove the state, then the pages of dead members. A crash between leaves pages, which the next to join removes.

The directory and its lock stay for ever: a consumer that waits to join holds that very file open, and would otherwise
have a lock that nobody else takes any more. It finds an empty group when its turn comes. So does the control page,
whose generation goes on counting.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from eventlog.coordination.group_directory import GroupBusy, GroupDirectory, group_names
from eventlog.coordination.group_state import GroupState, Member
from eventlog.coordination.offset_records import Committed
from eventlog.coordination.offset_store import OffsetStore
from eventlog.errors import ClosedError, EventLogError, GroupNotEmptyError, UnknownGroupError
from eventlog.files.filesystem import translated
from eventlog.files.page import open_page
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format import layouts as L
from eventlog.format.filenames import GROUP_STATE
from eventlog.model import TopicPartition
from eventlog.monitoring.group_description import GroupDescription, MemberDescription, PartitionLag
from eventlog.storage.context import LogContext
from eventlog.topics.registry import TopicRegistry

_LOOKS = 20  # at a state that changes all the time; the last one is taken as it is

_PATIENCE = 5.0  # seconds to wait for the lock of a group that is to be deleted
_EXPIRY_INTERVAL = 600.0  # seconds: Kafka's offsets.retention.check.interval.ms


class GroupMonitor:
    """The groups of one log, as `EventLog` shows them."""

    def __init__(self, context: LogContext, root: str, registry: TopicRegistry, offsets: OffsetStore) -> None:
        self._context = context
        self._fs = context.fs
        self._root = root
        self._registry = registry
        self._offsets = offsets
        self._clock = context.clock
        self._next_expiry = context.clock.monotonic()

    # --- looking ---

    def names(self) -> list[str]:
        """Return the groups that have committed offsets, or members that live; sorted."""
        with translated(self._root):
            known = group_names(self._fs, self._root)
        committed = set(self._offsets.groups())
        alive = [group for group in known if group not in committed and self._alive(self._directory(group))]
        return sorted([*committed, *alive])

    def describe(self, group: str) -> GroupDescription:
        """Return what can be said of the group now.

        Raises UnknownGroupError, CorruptSegmentError when its commits may be lost, and InvalidGroupError.
        """
        directory = self._directory(group)
        with translated(directory.path):
            state, alive = self._look(directory)
            is_there = self._fs.exists(directory.path)
        committed = self._offsets.all_committed(directory.group)
        if not committed and not is_there:
            raise _unknown(group)
        state = state or GroupState()
        return GroupDescription(
            directory.group, _state_name(state, alive, committed), state.generation, state.strategy,
            tuple(self._members(directory, state, alive)), tuple(self._lags(state, committed)),
        )  # fmt: skip

    def _directory(self, group: str) -> GroupDirectory:
        return GroupDirectory(self._fs, self._root, group, root=self._context.root)

    def _look(self, directory: GroupDirectory) -> tuple[GroupState | None, set[str]]:
        """Return the state, and who lived while it was the state."""
        state = directory.peek()
        for _ in range(_LOOKS):
            alive = self._alive(directory)
            before, state = state, directory.peek()
            if state == before:
                break
        return state, alive

    def _alive(self, directory: GroupDirectory) -> set[str]:
        try:
            return set(filter(directory.is_alive, directory.member_files()))
        except FileNotFoundError as error:
            pass_on_handlers(error)
            return set()

    def _members(self, directory: GroupDirectory, state: GroupState, alive: set[str]) -> list[MemberDescription]:
        found = [self._member(directory, member, alive) for member in state.members.values()]
        found += [
            MemberDescription(member_id, last_poll_ms_ago=self._last_poll(directory, member_id), is_alive=True)
            for member_id in alive - state.members.keys()
        ]
        return sorted(found, key=lambda member: member.member_id)

    def _member(self, directory: GroupDirectory, member: Member, alive: set[str]) -> MemberDescription:
        return MemberDescription(
            member.member_id, member.client_id, member.host, member.pid, member.instance_id,
            tuple(sorted(member.owned)), member.topics, self._last_poll(directory, member.member_id),
            member.member_id in alive,
        )  # fmt: skip

    def _last_poll(self, directory: GroupDirectory, member_id: str) -> int | None:
        page = None
        with suppress(PermissionError):  # who may only read the log may not hold a member's lock
            page = open_page(self._fs, directory.member_path(member_id), L.MEMBER_MAGIC, writable=False)
        if page is None:
            return None
        ago = int(self._clock.monotonic() * 1000) - page.view(np.uint64).item(L.MEMBER_LAST_POLL)
        return ago if ago >= 0 else None  # the machine was started anew: its clock has begun again

    def _lags(self, state: GroupState, committed: Mapping[TopicPartition, Committed]) -> list[PartitionLag]:
        owners = {tp: member_id for member_id, member in state.members.items() for tp in member.owned}
        found = []
        for tp in sorted(owners.keys() | committed.keys()):
            position = committed[tp].position if tp in committed else None
            found.append(
                PartitionLag(
                    *tp, None if position is None else position.offset, self._end(tp),
                    "" if position is None else position.metadata, owners.get(tp),
                )
            )  # fmt: skip
        return found

    def _end(self, tp: TopicPartition) -> int | None:
        """Return the log end offset; None when it cannot be had: one broken topic hides no other."""
        try:
            return self._registry.get(tp.topic).partitions[tp.partition].log_end_offset
        except ClosedError:
            raise
        except EventLogError as error:
            pass_on_handlers(error)
            return None

    # --- deleting ---

    def delete(self, group: str) -> None:
        """Delete the group; see the module's docstring.

        Raises GroupNotEmptyError while a member lives, UnknownGroupError, CorruptSegmentError when nothing is known of
        the group and its commits may be lost, InvalidGroupError and ReadOnlyLogError.
        """
        self._registry.refuse_readonly()
        directory = self._directory(group)
        state_path = os.path.join(directory.path, GROUP_STATE)
        with translated(directory.path):
            committed = self._offsets.partitions_of(directory.group)
            known = committed or self._fs.exists(state_path) or self._alive(directory)
            if not known and not self._offsets.all_committed(directory.group):
                raise _unknown(group)
        self._delete(directory, partial(self._refuse_members, directory))

    def _delete(self, directory: GroupDirectory, check: Callable[[], None]) -> None:
        def delete(state: GroupState) -> None:
            check()
            directory.notify(state.members)
            self._offsets.delete(directory.group)
            with suppress(FileNotFoundError):
                self._fs.unlink(os.path.join(directory.path, GROUP_STATE))
            directory.words[L.GROUP_VERSION] = (directory.words.item(L.GROUP_VERSION) | 1) + 1
            for member_id in directory.member_files():
                directory.remove_member(member_id)

        try:
            directory.while_locked(delete, _PATIENCE)
        except GroupBusy:
            raise GroupNotEmptyError(
                "another process holds the group's lock", group=directory.group,
                hint="is a member stopped? Let it go on, or kill it",
            ) from None  # fmt: skip
        finally:
            directory.close()

    def forget_topic(self, name: str) -> None:
        """Delete what groups have committed for a topic that was deleted: it is nothing to one of the same name."""
        for group in self._offsets.groups():
            doomed = [tp for tp in self._offsets.partitions_of(group) if tp.topic == name]
            if doomed:
                self._offsets.delete(group, doomed)

    def expire(self) -> None:
        """Delete groups without members whose last commit is older than the retention; at most every ten minutes."""
        now = self._clock.monotonic()
        if now < self._next_expiry:
            return
        self._next_expiry = now + _EXPIRY_INTERVAL
        for group in self._offsets.stale_groups():
            directory = self._directory(group)
            with contextlib.suppress(GroupNotEmptyError):
                self._delete(directory, partial(self._refuse_used, directory))

    def _refuse_used(self, directory: GroupDirectory) -> None:
        """Refuse a group with members, or one that has committed since it was found stale."""
        self._refuse_members(directory)
        if not self._offsets.is_stale(directory.group):
            raise GroupNotEmptyError("the group has committed meanwhile", group=directory.group)

    def _refuse_members(self, directory: GroupDirectory) -> None:
        alive = self._alive(directory)
        if alive:
            raise GroupNotEmptyError(
                f"the group has {len(alive)} living {'member' if len(alive) == 1 else 'members'}",
                group=directory.group, hint="close its consumers first: nothing was deleted",
            )  # fmt: skip


def _state_name(state: GroupState, alive: set[str], committed: Mapping[TopicPartition, Committed]) -> str:
    if not alive:
        return "empty" if committed else "dead"
    unnoticed = any(
        member.instance_id is None and member_id not in alive for member_id, member in state.members.items()
    )
    is_known = alive <= state.members.keys()
    return "stable" if is_known and not unnoticed and state.is_settled() else "rebalancing"


def _unknown(group: str) -> UnknownGroupError:
    return UnknownGroupError(
        "no member and no committed offset", group=group, hint="log.groups() lists the groups that there are"
    )
