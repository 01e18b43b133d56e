"""A consumer in a group: keeps its partitions, positions and commits in step with its membership, inside each poll."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from eventlog.clock import Clock
from eventlog.config import ConsumerConfig
from eventlog.consumer.committer import Committer, Offsets
from eventlog.consumer.fetcher import Fetcher
from eventlog.consumer.partition_reader import PartitionReader
from eventlog.consumer.rebalance_listener import RebalanceListener
from eventlog.consumer.single_thread import SingleThread
from eventlog.consumer.subscription import Subscription
from eventlog.coordination.assignors.assignor import Assignor
from eventlog.coordination.assignors.choose import resolve
from eventlog.coordination.group_directory import PATIENCE, PATIENCE_AT_LAST, GroupBusy, GroupDirectory
from eventlog.coordination.member_settings import MemberSettings
from eventlog.coordination.membership import Membership, Turn
from eventlog.coordination.offset_store import OffsetStore
from eventlog.coordination.rebalancer import Rebalancer
from eventlog.errors import InvalidConfigError
from eventlog.files.deferred import ClosesLater
from eventlog.files.mutex import calls_out
from eventlog.files.notify import Word
from eventlog.model import GroupMetadata, OffsetAndMetadata, TopicPartition
from eventlog.topics.registry import TopicRegistry

_NO_LISTENER = RebalanceListener()


def group_reader(
    config: ConsumerConfig,
    directory: GroupDirectory,
    store: OffsetStore,
    registry: TopicRegistry,
    clock: Clock,
    **parts: Any,
) -> GroupReader:
    """Build what a consumer of ``config.group`` needs; ``parts`` are the consumer's own, for `GroupReader`."""
    settings = MemberSettings(
        _assignors(config.partition_assignment_strategy), config.client_id, config.group_instance_id,
        config.session_timeout_ms, config.max_poll_interval_ms,
    )  # fmt: skip

    def begin(partitions: list[TopicPartition]) -> None:
        unknown = [tp for tp, place in store.committed(directory.group, partitions).items() if place is None]
        if unknown:
            store.commit(directory.group, dict.fromkeys(unknown, OffsetAndMetadata(0)))

    rebalancer = Rebalancer(directory.group, settings.assignors, registry.usable_partition_counts, begin)
    membership = Membership(directory, settings, rebalancer, clock)
    subscription: Subscription = parts["subscription"]

    def guard(partitions: Collection[TopicPartition], write: Callable[[], None], patience: float) -> None:
        if subscription.is_by_hand() or not subscription.is_active():
            directory.commit_alone(write, patience)
        else:
            membership.commit(partitions, write, patience)

    interval = config.auto_commit_interval_ms if config.enable_auto_commit else None
    committer = Committer(store, directory.group, guard, registry, clock, interval)
    return GroupReader(membership, committer, instance_id=config.group_instance_id, **parts)


class GroupReader:
    """Runs a rebalance as far as it goes, each time its member has something to give up or to take.

    1. Stop at the positions reached, commit them (when commits are automatic), tell the listener. When that commit
       fails because of the group's lock, reading goes on, and the next poll begins here again.
    2. Forget the partitions, then give them up. Others may have them from here on.
    3. Take what is free; begin at what the group has committed; tell the listener, in each generation, even of nothing.

    A member that was removed finds out here, tells the listener what it lost, and joins again.
    """

    def __init__(
        self,
        membership: Membership,
        committer: Committer,
        subscription: Subscription,
        fetcher: Fetcher,
        make_reader: Callable[[TopicPartition], PartitionReader],
        thread: SingleThread,
        instance_id: str | None,
    ) -> None:
        self.membership = membership
        self.committer = committer
        self.listener = _NO_LISTENER
        self.rebalances = 0
        self.failed_rebalances = 0
        self._instance_id = instance_id
        self._subscription = subscription
        self._fetcher = fetcher
        self._make_reader = make_reader
        self._thread = thread
        self._seen_metadata = -1
        self._is_unfinished = False  # an interrupt, or an error, came in the middle of a rebalance
        self._begun: frozenset[TopicPartition] = frozenset()  # positions are set, and the listener has been told
        self._told = -1  # the generation whose assignment the listener has been told
        self._is_closed = False
        self._later = ClosesLater()

    # --- inside a poll ---

    def before_poll(self, metadata_version: int) -> None:
        """Keep up with the group, and commit if it is time."""
        self.membership.refuse_forked()
        self._run_callbacks()
        if not self._subscription.is_by_hand():
            try:
                self._keep_up(metadata_version)
            except GroupBusy:  # the next poll tries again; this one goes on with what there is
                self._is_unfinished = True
        self.committer.commit_if_due(self.positions)

    def _keep_up(self, metadata_version: int) -> None:
        if self._seen_metadata != metadata_version:
            self._look_at_topics(metadata_version)
        if self.membership.beat() or self._is_unfinished:
            try:
                self._rebalance()
            finally:
                self.failed_rebalances += self._is_unfinished
        elif self._told != self.membership.present_generation() and not self.membership.is_awaiting:
            self.rebalances += 1  # one that did not concern this member: as in Kafka, its listener is told
            errors: list[Exception] = []
            self._tell_assigned([], errors)
            _raise_first(errors)

    def _look_at_topics(self, metadata_version: int) -> None:
        if self.membership.is_member:
            self.membership.update(self._subscription.topics(), are_new=self._seen_metadata >= 0)
            self._is_unfinished |= bool(self._made_anew())
        self._seen_metadata = metadata_version

    def _made_anew(self) -> list[TopicPartition]:
        """Return partitions whose topic was deleted: if they are still to be read, another one has its name."""
        return [tp for tp, reader in self._fetcher.readers.items() if reader.is_of_deleted_topic()]

    def _rebalance(self) -> None:
        self._is_unfinished = True
        errors: list[Exception] = []
        membership = self.membership
        before, was_member = membership.generation, self._told >= 0
        turn = membership.look() if membership.is_member else Turn(lost=True)  # also when an interrupt hid the loss
        while turn.lost or turn.to_revoke:
            if turn.lost:
                self._drop(self.listener.on_partitions_lost, list(self._fetcher.readers), errors)
                self._told, was_member = -1, False
                turn = membership.join(self._subscription.topics())
            else:
                self._revoke(turn.to_revoke, errors)
                was_member = False  # and has been told
                turn = membership.give_up(turn.to_revoke)
        if membership.generation != before:
            self.rebalances += 1
            if was_member and not membership.is_cooperative:  # as in Kafka, who has nothing is told as well
                self._tell(self.listener.on_partitions_revoked, [], errors)
        anew = self._made_anew()
        self._drop(self.listener.on_partitions_lost, anew, errors)
        begun = self._begun & self._fetcher.readers.keys()
        partitions = sorted(membership.owned - begun)
        self._begin(partitions, frozenset(anew))
        if partitions or (self._told != membership.generation and not membership.is_awaiting):
            self._tell_assigned(partitions, errors)
        self._is_unfinished = False
        _raise_first(errors)

    def _revoke(self, partitions: Iterable[TopicPartition], errors: list[Exception]) -> None:
        given_up = sorted(self._fetcher.readers.keys() & set(partitions))
        positions = self.positions()
        self.committer.commit_before_giving_up({tp: positions[tp] for tp in given_up if tp in positions})
        self._drop(self.listener.on_partitions_revoked, given_up, errors)

    def _drop(
        self, tell: Callable[[list[TopicPartition]], None], partitions: list[TopicPartition], errors: list[Exception]
    ) -> None:
        if partitions:
            self._tell(tell, partitions, errors)
        self._begun -= set(partitions)
        self._fetcher.drop(partitions)
        self.committer.forget(partitions)

    def _begin(self, partitions: list[TopicPartition], anew: Collection[TopicPartition]) -> None:
        if not partitions:
            return
        committed = self.committer.committed(partitions)
        self._fetcher.set_partitions([*self._fetcher.readers, *partitions], self._make_reader)
        for tp in partitions:
            if tp in anew:
                self._fetcher.readers[tp].seek_to_beginning()  # what was committed was another topic's
            else:
                self._start(self._fetcher.readers[tp], committed[tp])

    def _tell_assigned(self, partitions: list[TopicPartition], errors: list[Exception]) -> None:
        self._tell(self.listener.on_partitions_assigned, partitions, errors)
        self._begun |= set(partitions)  # last: who is interrupted begins them, and tells, again
        self._told = self.membership.generation

    def _start(self, reader: PartitionReader, committed: OffsetAndMetadata | None) -> None:
        if committed is not None:
            reader.seek(committed.offset)
        else:
            reader.locate()  # now: what comes from here on is not passed by if the partition moves before it is read

    # --- subscribing, assigning ---

    def subscribed(self, listener: RebalanceListener | None) -> None:
        """Read other topics from the next poll on, which joins the group or tells it so."""
        self.listener = listener or _NO_LISTENER
        self._seen_metadata = -1

    def assign(self) -> None:
        """Begin where the group has committed, with partitions that the caller chose."""
        readers = self._fetcher.readers
        fresh = [tp for tp, reader in readers.items() if not reader.is_located]  # the others are read on where they are
        for tp, committed in self.committer.committed(fresh).items():
            if committed is not None:
                readers[tp].seek(committed.offset)

    # --- positions ---

    def positions(self) -> dict[TopicPartition, int]:
        """Return where each partition's reading goes on; those that have not begun, or are gone, are left out."""
        readers = self._fetcher.readers.items()
        return {tp: reader.position for tp, reader in readers if reader.is_located and not reader.is_of_deleted_topic()}

    def offsets(self, wanted: object = None) -> Offsets:
        """Return what to commit: what the caller wants, checked, or the positions."""
        if wanted is not None:
            return self.committer.checked(wanted)
        readers = self._fetcher.readers.items()
        return {
            tp: OffsetAndMetadata(reader.position)
            for tp, reader in readers
            if reader.is_located and not reader.is_of_deleted_topic()
        }

    # --- waiting, leaving ---

    def words(self) -> list[Word]:
        """Return what to sleep on besides the partitions."""
        return [self.membership.word()] if self.membership.is_member else []

    def longest_sleep(self) -> float:
        """Return for how many seconds a waiting consumer may sleep."""
        if self._is_unfinished:
            return PATIENCE
        return self.membership.longest_sleep() if self.membership.is_member else float("inf")

    def metadata(self) -> GroupMetadata:
        """Return who commits here."""
        membership = self.membership
        generation = membership.present_generation()
        return GroupMetadata(membership.directory.group, generation, membership.member_id, self._instance_id)

    def leave(self, *, commit: bool) -> None:
        """Commit (if asked to, and when that is automatic), tell the listener, and leave the group."""
        errors: list[Exception] = []
        if not self.membership.is_forked:
            self._run_last_callbacks(errors)
            positions = self.positions() if commit else {}
            if self._subscription.is_by_hand():
                self.committer.commit_now(positions, PATIENCE_AT_LAST)
            elif self.membership.is_removed():
                self._drop(self.listener.on_partitions_lost, list(self._fetcher.readers), errors)
            elif self.membership.is_member:
                self.committer.commit_now(positions, PATIENCE_AT_LAST)
                self._drop(self.listener.on_partitions_revoked, sorted(self._fetcher.readers), errors)
        self._told = -1
        self.membership.leave()
        _raise_first(errors)

    def close(self, *, autocommit: bool = True) -> None:
        """Leave, and give back descriptors, once no thread is in a call. Goes on after an interrupt."""
        if not self.is_closed:
            self._later.close(lambda: self._close(autocommit), self._thread.is_mine())

    def _close(self, autocommit: bool) -> None:
        with self._thread.waiting():
            if self.is_closed:
                return
            if not autocommit:
                self.committer.stop()
            try:
                self.leave(commit=True)
            finally:
                self.membership.close()
                self._is_closed = True

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing is left to be done by `close`, as in a forked child."""
        return self._is_closed or self.membership.is_forked

    # --- the caller's own code ---

    @calls_out
    def _tell(
        self, method: Callable[[list[TopicPartition]], None], partitions: list[TopicPartition], errors: list[Exception]
    ) -> None:
        try:
            with self._thread.calling_back():
                method(partitions)
        except Exception as error:
            errors.append(error)

    def _run_callbacks(self) -> None:
        if self.committer.has_callbacks:
            with self._thread.calling_back():
                self.committer.run_callbacks()

    def _run_last_callbacks(self, errors: list[Exception]) -> None:
        """Run all, also when one raises: nobody polls again, and there is more to be done."""
        while self.committer.has_callbacks:
            try:
                self._run_callbacks()
            except Exception as error:
                errors.append(error)


def _raise_first(errors: list[Exception]) -> None:
    if errors:
        raise errors[0]


def _assignors(setting: object) -> dict[str, Assignor]:
    """Return the assignors of ``partition_assignment_strategy`` by name, the preferred one first."""
    entries = list(setting) if isinstance(setting, list | tuple) else [setting]
    if not entries:
        raise InvalidConfigError("partition_assignment_strategy names no assignor", hint="leave it out for the default")
    return {assignor.name: assignor for assignor in map(resolve, entries)}
