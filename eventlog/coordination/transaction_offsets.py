"""The offsets that a transaction commits for consumer groups, and the check that they may still be committed (KIP-447).

They are committed under the lock that all commits of a group take, shared, from before the records are written until
all are published: nobody else gets the partitions in between, and whoever gets them later sees these offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eventlog.coordination.group_directory import GroupDirectory
from eventlog.coordination.group_state import GroupState
from eventlog.errors import CommitFailedError, FencedInstanceIdError, FencedMemberError
from eventlog.files.filesystem import translated
from eventlog.format import layouts as L
from eventlog.model import GroupMetadata, OffsetAndMetadata, TopicPartition

Offsets = dict[TopicPartition, OffsetAndMetadata]
_PATIENCE = 5.0  # seconds that a commit waits for a process that holds the group's lock, as a consumer's does
_MOST_GROUPS = 16
_START_AGAIN = "nothing was committed: abort the transaction, poll(), and go on from the committed offsets"


class TransactionOffsets:
    """Offsets by group, for one producer: what it has learnt of a group's files serves its next transaction, too."""

    def __init__(self, directory: Callable[[str], GroupDirectory]) -> None:
        self._directory = directory
        self._groups: dict[str, tuple[GroupDirectory, int, GroupState | None]] = {}  # a state, and its version
        self._added: dict[str, tuple[GroupMetadata, Offsets]] = {}

    def __bool__(self) -> bool:
        return bool(self._added)

    def add(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], metadata: GroupMetadata) -> None:
        """Commit these offsets with the transaction; of several for one partition, the last."""
        known = self._added.get(metadata.group)
        self._added[metadata.group] = metadata, {**(known[1] if known is not None else {}), **offsets}

    def by_group(self) -> dict[str, Offsets]:
        """Return what is to be committed."""
        return {group: offsets for group, (_, offsets) in self._added.items()}

    def clear(self) -> None:
        """Forget what was added; and what is known of groups, when they are many: each holds descriptors."""
        self._added = {}
        if len(self._groups) > _MOST_GROUPS:
            self.close()

    # --- while the transaction is being committed ---

    def hold(self) -> None:
        """Take the groups' locks, in the order of their names, and check each.

        Raises FencedMemberError when a group goes on without the member or does not know its ``group_instance_id``,
        FencedInstanceIdError when that is another member's, CommitFailedError when the group has another generation
        than the metadata, or a partition is not the member's, and RetriableCommitFailedError when a lock is not free.
        """
        for group in sorted(self._added):
            directory = self._files(group)[0]
            with translated(directory.path):
                directory.prepare()
                directory.acquire_to_commit(_PATIENCE)
            metadata, offsets = self._added[group]
            if metadata.group_instance_id is not None:
                self._refuse_other_instance(metadata)
            if metadata.member_id:
                self._refuse_stale(metadata, offsets)
            else:
                directory.refuse_members()

    def let_go(self) -> None:
        """Free the locks. May be repeated."""
        for directory, _, _ in self._groups.values():
            directory.lock.release()

    def close(self) -> None:
        """Give back descriptors and mappings."""
        for directory, _, _ in self._groups.values():
            directory.close()
        self._groups = {}

    # --- checking ---

    def _files(self, group: str) -> tuple[GroupDirectory, int, GroupState | None]:
        if group not in self._groups:
            self._groups[group] = self._directory(group), -1, None
        return self._groups[group]

    def _state(self, group: str) -> GroupState | None:
        directory, version, state = self._files(group)
        present = directory.words.item(L.GROUP_VERSION)
        if state is None or version != present or present & 1:
            state = directory.peek()
            self._groups[group] = directory, present, state
        return state

    def _refuse_other_instance(self, metadata: GroupMetadata) -> None:
        state = self._state(metadata.group)
        member = None if state is None else state.with_instance(str(metadata.group_instance_id))
        if member is None:
            raise FencedMemberError(
                f"the group has no member with group_instance_id={metadata.group_instance_id!r}",
                group=metadata.group, hint=_START_AGAIN,
            )  # fmt: skip
        if member.member_id != metadata.member_id:
            raise FencedInstanceIdError(
                f"group_instance_id={metadata.group_instance_id!r} is that of the member {member.member_id}",
                group=metadata.group, hint=_START_AGAIN,
            )  # fmt: skip

    def _refuse_stale(self, metadata: GroupMetadata, offsets: Offsets) -> None:
        state = self._state(metadata.group)
        member = None if state is None else state.members.get(metadata.member_id)
        if state is None or member is None:
            raise FencedMemberError(
                f"the group goes on without member {metadata.member_id}", group=metadata.group, hint=_START_AGAIN
            )
        if metadata.generation != state.generation:
            raise CommitFailedError(
                f"the group is in generation {state.generation}, and the offsets are from {metadata.generation}",
                group=metadata.group, hint=_START_AGAIN,
            )  # fmt: skip
        foreign = offsets.keys() - member.owned
        if foreign:
            topic, partition = min(foreign)
            raise CommitFailedError(
                "the partition is not assigned to this member", group=metadata.group, topic=topic, partition=partition,
                hint=_START_AGAIN,
            )  # fmt: skip
