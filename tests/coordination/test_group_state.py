"""A group's state machine, against a model that only notes what each member was told it may read."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventlog.coordination.assignors.assignor import Assignment, Assignor, MemberSubscription
from eventlog.coordination.assignors.choose import BUILT_IN
from eventlog.coordination.group_state import GroupState, Member
from eventlog.model import TopicPartition

TOPICS = ("a", "b", "c")


class Recorder:
    """A built-in assignor that keeps what it said last."""

    def __init__(self, assignor: Assignor) -> None:
        self.name, self.cooperative = assignor.name, assignor.cooperative
        self._assignor = assignor
        self.said: Assignment = {}

    def assign(self, partition_counts: Mapping[str, int], members: Mapping[str, MemberSubscription]) -> Assignment:
        self.said = self._assignor.assign(partition_counts, members)
        return self.said


def _member(member_id: str, topics: tuple[str, ...], instance_id: str | None = None) -> Member:
    return Member(
        member_id, client_id="c", host="h", pid=1, topics=topics, strategies=("range",), session_timeout_ms=10,
        max_poll_interval_ms=10, instance_id=instance_id,
    )  # fmt: skip


topic_sets = st.sets(st.sampled_from(TOPICS)).map(lambda names: tuple(sorted(names)))


class Groups(RuleBasedStateMachine):
    """``reads`` is the model: what each living process reads now, by member id, whatever the state says."""

    def __init__(self) -> None:
        super().__init__()
        self.state = GroupState()
        self.assignor = Recorder(BUILT_IN["range"])
        self.counts = dict.fromkeys(TOPICS, 1)
        self.reads: dict[str, set[TopicPartition]] = {}
        self.instances: dict[str, str | None] = {}  # of those in the state, also the static ones that are gone
        self.gone: set[str] = set()
        self.made = 0

    # --- what the caller of a state does around it ---

    def _rebalance(self) -> None:
        if not self.state.members:
            self.state.partition_counts = {}
            return
        before = {member_id: member.owned for member_id, member in self.state.members.items()}
        generation = self.state.generation
        subscribed = {topic for member in self.state.members.values() for topic in member.topics}
        self.state.rebalance(self.assignor, {t: n for t, n in self.counts.items() if t in subscribed and n})
        assert self.state.generation == generation + 1
        assert {member_id: member.owned for member_id, member in self.state.members.items()} == before

    def _present(self) -> list[str]:
        return sorted(self.state.members.keys() - self.gone)

    def _pick(self, data: st.DataObject, names: list[str]) -> str:
        return data.draw(st.sampled_from(names))

    def _has(self, kind: str) -> bool:
        """Tell whether there are members of a kind; a rule that has nothing to do is not chosen."""
        if kind == "gone":
            return bool(self.gone)
        static = {member_id for member_id in self._present() if self.instances[member_id] is not None}
        return bool({"present": set(self._present()), "static": static, "dynamic": set(self._present()) - static}[kind])

    def _drop(self, member_id: str) -> None:
        self.reads.pop(member_id, None)
        self.gone.discard(member_id)
        self.instances.pop(member_id, None)

    def _new(self, topics: tuple[str, ...], instance_id: str | None) -> Member:
        self.made += 1
        member = _member(f"m{self.made}", topics, instance_id)
        self.instances[member.member_id] = instance_id
        self.reads[member.member_id] = set()
        return member

    def _settle_one(self, member_id: str) -> None:
        """What one look of a member does, all at once."""
        self.revoke_now(member_id)
        self.take_now(member_id)

    def revoke_now(self, member_id: str) -> None:
        announced = self.state.to_revoke(member_id)
        assert announced <= self.reads[member_id]
        if self.state.cooperative:
            assert not announced & self.state.members[member_id].target, "told to give up what it is to keep"
        assert self.state.revoke(member_id) == announced
        self.reads[member_id] -= announced
        assert not self.state.to_revoke(member_id)

    def take_now(self, member_id: str) -> None:
        announced = self.state.to_take(member_id)
        taken = self.state.take(member_id)
        assert taken == announced
        for other, reads in self.reads.items():
            assert not taken & reads, f"{member_id} takes what {other} still reads"
        self.reads[member_id] |= taken
        assert not self.state.to_take(member_id)

    # --- rules ---

    @initialize(counts=st.fixed_dictionaries({topic: st.integers(0, 5) for topic in TOPICS}))
    def begin(self, counts: dict[str, int]) -> None:
        self.counts = counts

    @rule(topics=topic_sets)
    def join(self, topics: tuple[str, ...]) -> None:
        member = self._new(topics, None)
        self.state.members[member.member_id] = member
        self._rebalance()

    @rule(topics=topic_sets, instance=st.sampled_from(["s1", "s2"]))
    def join_static(self, topics: tuple[str, ...], instance: str) -> None:
        found = self.state.with_instance(instance)
        known = [member_id for member_id, name in self.instances.items() if name == instance]
        assert (found is not None) == bool(known)
        if found is None:
            member = self._new(topics, instance)
            self.state.members[member.member_id] = member
            self._rebalance()
            return
        assert [found.member_id] == known
        if found.member_id not in self.gone:
            return  # a live one: the second is refused
        generation, target = self.state.generation, found.target
        others = {other.member_id: other.target for other in self.state.members.values() if other is not found}
        member = self._new(found.topics, instance)
        self.state.replace(found.member_id, member)
        self._drop(found.member_id)
        assert self.state.generation == generation
        assert member.target == target
        assert {m: self.state.members[m].target for m in others} == others

    @precondition(lambda self: self._has("dynamic"))
    @rule(data=st.data())
    def leave_or_die(self, data: st.DataObject) -> None:
        member_id = self._pick(data, [m for m in self._present() if self.instances[m] is None])
        assert self.state.remove([member_id, "nobody"])
        assert not self.state.remove([member_id])
        self._drop(member_id)
        self._rebalance()

    @precondition(lambda self: self._has("static"))
    @rule(data=st.data(), now=st.integers(0, 2**40))
    def static_one_dies(self, data: st.DataObject, now: int) -> None:
        member_id = self._pick(data, [m for m in self._present() if self.instances[m] is not None])
        generation = self.state.generation
        self.state.mark_gone(member_id, now)
        self.reads.pop(member_id)
        self.gone.add(member_id)
        assert self.state.generation == generation
        assert self.state.members[member_id].gone_at == now

    @precondition(lambda self: self._has("gone"))
    @rule(data=st.data())
    def static_one_stays_away(self, data: st.DataObject) -> None:
        member_id = self._pick(data, sorted(self.gone & self.state.members.keys()))
        assert self.state.remove([member_id])
        self._drop(member_id)
        self._rebalance()

    @precondition(lambda self: self._has("present"))
    @rule(data=st.data(), topics=topic_sets)
    def subscribe_to_others(self, data: st.DataObject, topics: tuple[str, ...]) -> None:
        member_id = self._pick(data, self._present())
        self.state.members[member_id].topics = topics
        self._rebalance()

    @rule(topic=st.sampled_from(TOPICS), count=st.integers(0, 5))
    def change_partitions(self, topic: str, count: int) -> None:
        self.counts[topic] = count
        self._rebalance()

    @rule(name=st.sampled_from(sorted(BUILT_IN)))
    def use_another_assignor(self, name: str) -> None:
        self.assignor = Recorder(BUILT_IN[name])
        self._rebalance()

    @precondition(lambda self: self._has("present"))
    @rule(data=st.data())
    def someone_revokes(self, data: st.DataObject) -> None:
        self.revoke_now(self._pick(data, self._present()))

    @precondition(lambda self: self._has("present"))
    @rule(data=st.data())
    def someone_takes(self, data: st.DataObject) -> None:
        member_id = self._pick(data, self._present())
        if not self.state.to_revoke(member_id):  # a member gives up first
            self.take_now(member_id)

    @precondition(lambda self: self._has("present"))
    @rule(data=st.data())
    def someone_looks(self, data: st.DataObject) -> None:
        self._settle_one(self._pick(data, self._present()))

    @precondition(lambda self: not self.state.strangers)
    @rule()
    def the_state_is_lost(self) -> None:
        """Everyone who lives goes on reading, and is a stranger to the new state."""
        self.state = GroupState(generation=self.state.generation, strangers=frozenset(self.reads))
        self.gone.clear()
        self.instances.clear()

    @precondition(lambda self: self.state.strangers)
    @rule(data=st.data(), returns=st.booleans(), topics=topic_sets)
    def a_stranger_looks_or_dies(self, data: st.DataObject, returns: bool, topics: tuple[str, ...]) -> None:
        member_id = data.draw(st.sampled_from(sorted(self.state.strangers)))
        self.state.strangers -= {member_id}
        self._drop(member_id)
        if returns:
            self.join(topics)

    @rule()
    def a_quiet_time(self) -> None:
        """Everyone keeps looking: two rounds later each member has exactly what the assignor said, for good."""
        for member_id in sorted(self.state.strangers):
            self.state.strangers -= {member_id}
            self._drop(member_id)
        self._rebalance()
        for _ in range(2):
            for member_id in self._present():
                self._settle_one(member_id)
        assert self.state.is_settled()
        assert list(self.state.waiting()) == []
        if self.state.members:
            said = {member_id: set(partitions) for member_id, partitions in self.assignor.said.items()}
            assert {m: self.reads[m] for m in self._present()} == {m: said.get(m, set()) for m in self._present()}
            subscribed = {topic for member in self.state.members.values() for topic in member.topics}
            every = {TopicPartition(topic, n) for topic in subscribed for n in range(self.counts[topic])}
            assert set().union(*said.values()) == every
        before = {m: set(self.reads[m]) for m in self._present()}
        if self.assignor.name == "cooperative-sticky":  # nothing has changed: nothing moves
            self._rebalance()
            assert list(self.state.waiting()) == []
            assert {m: self.state.members[m].owned for m in before} == before

    # --- what always holds ---

    @invariant()
    def nobody_shares(self) -> None:
        every = [tp for reads in self.reads.values() for tp in reads]
        assert len(every) == len(set(every))

    @invariant()
    def the_state_knows_what_is_read(self) -> None:
        self.state.check()
        for member_id, member in self.state.members.items():
            assert member.owned == self.reads.get(member_id, set())

    @invariant()
    def nobody_takes_while_a_stranger_may_read(self) -> None:
        if self.state.strangers:
            assert all(not self.state.to_take(member_id) for member_id in self.state.members)

    @invariant()
    def exactly_those_who_have_something_to_do_are_told(self) -> None:
        waiting = set(self.state.waiting())
        assert not waiting & self.gone
        for member_id in self._present():
            if self.state.to_revoke(member_id) or self.state.to_take(member_id):
                assert member_id in waiting
        if not self.state.is_settled() and not self.state.strangers:
            assert waiting, "something is left to do, and nobody is told"

    @invariant()
    def it_survives_its_file(self) -> None:
        fields = json.loads(json.dumps(self.state.to_fields()))
        assert GroupState.from_fields(fields) == self.state


TestGroups = Groups.TestCase
TestGroups.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)


def test_cooperative_members_keep_reading_what_stays_theirs() -> None:
    """When a member joins, the others give up only what it gets, and keep the rest throughout."""
    state = GroupState()
    assignor = BUILT_IN["cooperative-sticky"]
    for number in range(3):
        state.members[f"m{number}"] = _member(f"m{number}", ("t",))
        before = {member_id: member.owned for member_id, member in state.members.items()}
        state.rebalance(assignor, {"t": 12})
        for member_id, member in state.members.items():
            assert state.to_revoke(member_id) == before[member_id] - member.target
            assert len(before[member_id] & member.target) == min(len(before[member_id]), 12 // (number + 1))
        for _ in range(2):
            for member_id in state.members:
                state.revoke(member_id)
                state.take(member_id)
        assert state.is_settled()


def test_eager_members_give_up_everything_before_anyone_takes_anything() -> None:
    """With an eager assignor the slowest member holds up the others: nothing is taken before it gave up too."""
    state = GroupState()
    assignor = BUILT_IN["range"]
    for name in ("x", "y"):
        state.members[name] = _member(name, ("t",))
    state.rebalance(assignor, {"t": 4})
    for name in ("x", "y", "x"):
        state.revoke(name)
        state.take(name)
    state.rebalance(assignor, {"t": 4})
    assert len(state.revoke("x")) == 2
    assert state.take("x") == frozenset()
    assert state.revoke("y") == {TopicPartition("t", 2), TopicPartition("t", 3)}
    assert len(state.take("x")) == len(state.take("y")) == 2
