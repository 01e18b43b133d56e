"""One consumer's membership in a group: joining, keeping up with rebalances, noticing the dead, leaving.

There is no coordinator process: whoever has something to change takes the group's lock, reads the state, changes it,
replaces it, and tells those who have something to do. Every step leaves a whole state, so a member may die anywhere:

1. Joining: make and lock the member's page, then write the state with the member and everyone's new target. A crash
   before leaves a page that nobody holds; the next to join removes it. After it, a dead member like any other.
2. Giving up: the caller has stopped reading and has committed; write the state without these partitions. A crash
   before frees them all the same, since the owner is dead.
3. Taking: write the state in which the member owns what nobody else has any more; only then read it. A crash after
   leaves a dead owner.
4. Leaving, or removing those who died or hang: write the state without them and with new targets.
5. Committing: under the lock, shared, if nobody told the member to look at the state since it looked last. Whoever
   removes it tells it under the same lock, held exclusively, so no commit comes between.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import uuid
import weakref
from collections.abc import Callable, Collection
from typing import NamedTuple
from urllib.parse import quote

from eventlog.clock import Clock, wall_ms
from eventlog.coordination.group_directory import PATIENCE_AT_LAST, GroupBusy, GroupDirectory
from eventlog.coordination.group_state import GroupState, Member, Partitions
from eventlog.coordination.liveness import Liveness
from eventlog.coordination.member_settings import MemberSettings
from eventlog.coordination.rebalancer import Rebalancer
from eventlog.errors import ClosedError, CommitFailedError, FencedInstanceIdError, FencedMemberError, LogMovedError
from eventlog.files.file_lock import FileLock
from eventlog.files.notify import Word, Words
from eventlog.format import layouts as L
from eventlog.model import TopicPartition

_log = logging.getLogger("eventlog")
_NOTHING: Partitions = frozenset()
_LOOK_AROUND_MS = 50  # how often some member looks for dead ones: what a death is noticed by, and 0.1% of a core
_LONGEST_SLEEP = 0.5  # seconds
_LONGEST_CLIENT_ID = 100

_every_membership: weakref.WeakSet[Membership] = weakref.WeakSet()


class Turn(NamedTuple):
    """What came of a look at the state: ``lost`` the membership, ``to_revoke`` before anything else, or ``taken``."""

    lost: bool = False
    to_revoke: Partitions = _NOTHING
    taken: Partitions = _NOTHING


class Membership:
    """A member's view of its group. For one thread at a time, as a consumer is.

    ``owned`` are the partitions that are this member's alone until it gives them up, dies, or is removed.
    """

    def __init__(
        self,
        directory: GroupDirectory,
        settings: MemberSettings,
        rebalancer: Rebalancer,
        clock: Clock,
    ) -> None:
        self.directory = directory
        self.member_id = ""
        self.generation = -1
        self.owned = _NOTHING
        self.is_cooperative = True
        self.is_awaiting = False  # what it gets is not settled before all have given up what they had: an eager group
        self._settings = settings
        self._rebalancer = rebalancer
        self._clock = clock
        self._liveness = Liveness(directory, clock)
        self._page: Words | None = None
        self._life: FileLock | None = None
        self._seen = 0  # the page's word when the state was looked at last
        self._seen_by_all = 0  # the same of the word for all members
        self._known: tuple[int, GroupState | None] = -1, None  # a state, and the version of the group that it is of
        self.is_forked = False
        _every_membership.add(self)

    @property
    def is_member(self) -> bool:
        """Tell whether the group counts on this member, as far as it knows."""
        return self._page is not None

    # --- joining and leaving ---

    def join(self, topics: Collection[str]) -> Turn:
        """Become a member that reads ``topics``.

        Raises FencedInstanceIdError when another live member has the same ``group_instance_id``, and
        InconsistentGroupProtocolError when the members do not all know one of its assignors. Nothing has changed then.
        """
        self.refuse_forked()
        return self.directory.while_locked(lambda state: self._join(state, topics))

    def _join(self, state: GroupState, topics: Collection[str]) -> Turn:
        gone = self._remove_gone(state)
        member = self._new_member(topics)
        before = None if member.instance_id is None else state.with_instance(member.instance_id)
        self._refuse_second_instance(before)
        if before is not None:
            state.replace(before.member_id, member)
        else:
            state.members[member.member_id] = member
        if before is None or self._differs(state, before, member):
            self._rebalancer.rebalance(state)
        page, life = self.directory.create_member(member.member_id)
        page[L.MEMBER_LAST_POLL] = self._liveness.now_ms()
        self._page, self._life, self.member_id = page, life, member.member_id
        turn = self._advance(state, changed=True)
        self.directory.tidy(state, gone)
        return turn

    def _differs(self, state: GroupState, before: Member, member: Member) -> bool:
        """Tell whether a restarted static member calls for a rebalance: it wants others, or partitions were added."""
        if (before.topics, before.strategies) != (member.topics, member.strategies):
            return True
        return self._rebalancer.counts(state) != state.partition_counts

    def _new_member(self, topics: Collection[str]) -> Member:
        settings = self._settings
        name = quote(settings.client_id, safe="", errors="replace")[:_LONGEST_CLIENT_ID] or "consumer"
        return Member(
            f"{name}-{uuid.uuid4()}", settings.client_id, socket.gethostname(), os.getpid(), tuple(sorted(topics)),
            tuple(settings.assignors), settings.session_timeout_ms, settings.max_poll_interval_ms, settings.instance_id,
        )  # fmt: skip

    def _refuse_second_instance(self, before: Member | None) -> None:
        if before is not None and self.directory.is_alive(before.member_id):
            raise FencedInstanceIdError(
                f"a live member (process {before.pid}) has group_instance_id={before.instance_id!r}",
                group=self.directory.group, hint="give each member an id of its own, or close the other one first",
            )  # fmt: skip

    def leave(self) -> None:
        """Leave the group, whose other members take over at once. A static member only goes away for a while."""
        if self._page is None:
            return
        try:
            if self._settings.instance_id is None:
                self.directory.while_locked(self._leave, PATIENCE_AT_LAST)
        except (GroupBusy, LogMovedError) as error:  # the others find this one dead, which comes to the same
            _log.warning("left %s without its lock: %s", self.directory.path, str(error) or "another process holds it")
        finally:
            self._forget()

    def _leave(self, state: GroupState) -> None:
        if state.remove([self.member_id]):
            self._rebalancer.rebalance(state)
            self.directory.write(state)
        self.directory.remove_member(self.member_id)

    def close(self) -> None:
        """Leave, and give back descriptors."""
        if not self.is_forked:
            self.leave()
        self.directory.close()
        _every_membership.discard(self)

    def _forget(self) -> None:
        life, self._life, self._page, self.owned = self._life, None, None, _NOTHING
        if life is not None:
            life.close()

    def after_fork(self) -> None:
        """A forked child is no member: its parent is."""
        self.is_forked = True
        self._page = self._life = None
        self.owned = _NOTHING

    def refuse_forked(self) -> None:
        """Raise ClosedError in a forked child."""
        if self.is_forked:
            raise ClosedError(
                "this consumer is a member in the parent process", group=self.directory.group,
                hint="make a new consumer in the forked child",
            )  # fmt: skip

    # --- keeping up ---

    def beat(self) -> bool:
        """Note that this member polls; tell whether it has to look at the state. Costs no system call."""
        page = self._page
        if page is None:
            return True
        now = self._liveness.now_ms()
        page[L.MEMBER_LAST_POLL] = now
        words = self.directory.words
        since = now - words.item(L.GROUP_LOOKED_AROUND)
        if not 0 <= since < _LOOK_AROUND_MS:  # the clock begins anew when the machine does
            self._look_around(now)
        return self._has_to_look(page)

    def _has_to_look(self, page: Words) -> bool:
        for_all = self.directory.words.item(L.GROUP_LOOK)
        return page.item(L.MEMBER_LOOK) != self._seen or for_all != self._seen_by_all

    def look(self) -> Turn:
        """Look at the state, and take what can be taken, unless something has to be given up first."""
        return self.directory.while_locked(lambda state: self._advance(state, changed=False))

    def give_up(self, partitions: Partitions) -> Turn:
        """Give up what the caller has stopped reading, and no more, whoever joined meanwhile; take what is free."""
        return self.directory.while_locked(lambda state: self._give_up(state, partitions))

    def _give_up(self, state: GroupState, partitions: Partitions) -> Turn:
        self.owned -= partitions
        if self.member_id in state.members:
            state.members[self.member_id].owned -= partitions
        return self._advance(state, changed=True)

    def _advance(self, state: GroupState, *, changed: bool) -> Turn:
        page = self._page
        assert page is not None
        self._note_look(page)
        if self.member_id not in state.members:
            self.directory.remove_member(self.member_id)
            self._forget()
            if changed or state.strangers:
                state.strangers -= {self.member_id}
                self.directory.write(state)
            return Turn(lost=True)
        if state.is_unassigned:
            self._rebalancer.rebalance(state)
            changed = True
        to_revoke = state.to_revoke(self.member_id)
        taken = _NOTHING
        if not to_revoke:
            behind = state.members[self.member_id].generation != state.generation
            state.revoke(self.member_id)  # which says so, where all have to give up something first
            taken = state.take(self.member_id)
            changed = changed or behind or bool(taken)
        if changed:
            self.directory.write(state)
            self._note_look(page)
        me = state.members[self.member_id]
        self.generation, self.owned = state.generation, me.owned
        self.is_cooperative = state.cooperative
        self.is_awaiting = not state.cooperative and me.owned != me.target
        return Turn(False, to_revoke, taken)

    def _note_look(self, page: Words) -> None:
        self._seen, self._seen_by_all = page.item(L.MEMBER_LOOK), self.directory.words.item(L.GROUP_LOOK)

    def update(self, topics: Collection[str], *, are_new: bool = False) -> None:
        """Say which topics to read from now on; rebalance if that, or their partitions, have changed.

        ``are_new`` tells that topics which this member did not read before did not exist before.
        """
        wanted = tuple(sorted(topics))
        self.directory.while_locked(lambda state: self._update(state, wanted, are_new=are_new))

    def _update(self, state: GroupState, wanted: tuple[str, ...], *, are_new: bool) -> None:
        member = state.members.get(self.member_id)
        if member is None:
            return
        counts = self._rebalancer.counts(state, wanted)
        if member.topics != wanted or counts != state.partition_counts:
            if are_new:
                state.partition_counts.update(dict.fromkeys(set(wanted).difference(member.topics), 0))
            member.topics = wanted
            self._rebalancer.rebalance(state)
            self.directory.write(state)

    def word(self) -> Word:
        """Return what to sleep on: it changes when the member has to look."""
        assert self._page is not None
        return Word(self._page, L.MEMBER_LOOK, self._seen)

    def longest_sleep(self) -> float:
        """Return for how many seconds a waiting member may sleep, so that someone looks around often enough."""
        members = max(1, self.directory.words.item(L.GROUP_MEMBERS) // 2)
        return min(members * _LOOK_AROUND_MS / 1000, self._settings.max_poll_interval_ms / 2000, _LONGEST_SLEEP)

    # --- looking after the others ---

    def _look_around(self, now: int) -> None:
        self.directory.words[L.GROUP_LOOKED_AROUND] = now
        version = self.directory.words.item(L.GROUP_VERSION)
        if self._known[0] != version or version & 1:
            self._known = version, self.directory.peek()
        known = self._known[1]
        if known is not None and not self._is_someone_gone(known):
            return
        with contextlib.suppress(GroupBusy):
            self.directory.while_locked(self._take_out_gone)

    def _take_out_gone(self, state: GroupState) -> None:
        gone = self._remove_gone(state)
        if gone:
            self._rebalancer.rebalance(state)
        self.directory.write(state)  # also one that was damaged, and is made anew now
        self.directory.tidy(state, gone)

    def _is_someone_gone(self, state: GroupState) -> bool:
        others = [member for member in state.members.values() if member.member_id != self.member_id]
        return any(map(self._liveness.is_over, others)) or any(map(self._is_stranger_gone, state.strangers))

    def _is_stranger_gone(self, member_id: str) -> bool:
        return self._liveness.is_gone(member_id, self._settings.max_poll_interval_ms)

    def _remove_gone(self, state: GroupState) -> list[str]:
        """Take out who died or hangs, tell it, and return it: if that is anybody, the caller rebalances."""
        gone = []
        for member in state.members.values():
            if member.member_id == self.member_id or not self._liveness.is_over(member):
                continue
            if self._liveness.died(member) and member.instance_id is not None:
                state.mark_gone(member.member_id, wall_ms(self._clock.time()))
            else:
                gone.append(member.member_id)
        strangers = frozenset(filter(self._is_stranger_gone, state.strangers))
        state.strangers -= strangers
        self.directory.notify(gone)
        state.remove(gone)
        return [*gone, *strangers]

    # --- committing ---

    def commit(self, partitions: Collection[TopicPartition], write: Callable[[], None], patience: float) -> None:
        """Call ``write`` while these partitions are surely this member's.

        Raises FencedMemberError when the group goes on without this member, CommitFailedError when a partition is not
        its own (any more), and RetriableCommitFailedError after ``patience`` seconds. Nothing was written then.
        """
        self.refuse_forked()
        if self._page is None:
            self.directory.prepare()
        lock = self.directory.lock
        try:  # no context manager: it would cost a tenth of the whole commit
            if not lock.acquire(shared=True, blocking=False):
                self.directory.acquire_to_commit(patience)
            page = self._page
            owned = self._really_owned() if page is None or self._has_to_look(page) else self.owned
            if not owned.issuperset(partitions):
                raise self._not_owned(set(partitions) - owned)
            write()
            lock.release()
        except BaseException:
            lock.release()
            raise

    def present_generation(self) -> int:
        """Return the group's generation, also when a rebalance did not concern this member; -1 for no member.

        A member that has something to do first is still of the generation before.
        """
        page = self._page
        if page is None:
            return -1
        present = self.directory.words.item(L.GROUP_GENERATION)  # first: its writer tells before who has to look
        if not self._has_to_look(page):
            self.generation = present
        return self.generation

    def is_removed(self) -> bool:
        """Tell whether the group goes on without this member, which has not been told yet."""
        if self._page is None or not self._has_to_look(self._page):
            return False
        state = self.directory.peek()
        return state is not None and self.member_id not in state.members

    def _really_owned(self) -> Partitions:
        state = self.directory.peek()
        member = None if state is None or self._page is None else state.members.get(self.member_id)
        if not self.member_id:
            raise CommitFailedError(
                "the consumer has not joined its group yet", group=self.directory.group,
                hint="poll() joins; nothing was committed",
            )  # fmt: skip
        if member is None:
            raise FencedMemberError(
                "the group goes on without this member", group=self.directory.group,
                hint="nothing was committed; the next poll() joins again. Poll at least every max_poll_interval_ms",
            )  # fmt: skip
        return member.owned & self.owned

    def _not_owned(self, partitions: set[TopicPartition]) -> CommitFailedError:
        topic, partition = min(partitions)
        return CommitFailedError(
            "the partition is not assigned to this member", group=self.directory.group, topic=topic,
            partition=partition, hint="nothing was committed; commit in on_partitions_revoked what was read until then",
        )  # fmt: skip


def _after_fork_in_child() -> None:
    for membership in list(_every_membership):
        membership.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
