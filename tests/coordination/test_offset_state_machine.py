"""Committed offsets against a plain dictionary, through restarts, crashes, and every way to lose a snapshot."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.coordination.offset_partition import LEAST_RECORDS
from eventlog.coordination.offset_store import OffsetStore

GROUPS = ["billing", "billing75", "shipping"]  # the first two have their commits in one partition
groups = st.sampled_from(GROUPS)
partitions = st.builds(TopicPartition, st.sampled_from(["orders", "o"]), st.integers(0, 3))
positions = st.builds(
    OffsetAndMetadata, st.integers(0, 2**63 - 1), st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.none() | st.integers(0, 2**31 - 1),
)  # fmt: skip


class OffsetsAgainstDict(RuleBasedStateMachine):
    """The model is a dictionary. Two stores, each with the log opened for itself, take the calls in turn."""

    @initialize()
    def create(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="eventlog-"))
        self.path = self.root / "0"
        self.copies = 0
        self.model: dict[tuple[str, TopicPartition], OffsetAndMetadata] = {}
        self.reopen()

    def teardown(self) -> None:
        if hasattr(self, "logs"):
            self.close()
            shutil.rmtree(self.root)

    # --- calls ---

    @rule(which=st.booleans(), group=groups, offsets=st.dictionaries(partitions, positions, max_size=4))
    def commit(self, which: bool, group: str, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self.stores[which].commit(group, offsets)
        self.model.update({(group, tp): position for tp, position in offsets.items()})

    @rule(which=st.booleans(), group=groups, tp=partitions, share=st.sampled_from([0.3, 1.1, 2.5]))
    def commit_many_times(self, which: bool, group: str, tp: TopicPartition, share: float) -> None:
        for offset in range(int(LEAST_RECORDS * share)):
            self.stores[which].commit(group, {tp: OffsetAndMetadata(offset)})
        self.model[group, tp] = OffsetAndMetadata(int(LEAST_RECORDS * share) - 1)

    @rule(which=st.booleans(), group=groups, some=st.none() | st.lists(partitions, max_size=3))
    def delete(self, which: bool, group: str, some: list[TopicPartition] | None) -> None:
        self.stores[which].delete(group, some)
        for owner, tp in list(self.model):
            if owner == group and (some is None or tp in some):
                del self.model[owner, tp]

    # --- what happens to the files ---

    @rule()
    def close_and_reopen(self) -> None:
        self.close()
        self.reopen()

    @rule()
    def crash(self) -> None:
        """The processes die: go on with a copy of the files, made while the log was open."""
        self.copies += 1
        copy = self.root / str(self.copies)
        shutil.copytree(self.path, copy)
        self.close()
        shutil.rmtree(self.path)
        self.path = copy
        self.reopen()

    @rule(damage=st.sampled_from(["lose", "cut", "flip"]), at=st.floats(0, 0.999))
    def damage_the_snapshots(self, damage: str, at: float) -> None:
        self.close()
        for path in self.path.glob("topics/__consumer_offsets/*/snapshot"):
            raw = bytearray(path.read_bytes() or b"?")  # it may have been cut before
            place = int(len(raw) * at)
            raw[place] ^= 1 << place % 8
            if damage == "flip":
                path.write_bytes(raw)
            elif damage == "cut":
                path.write_bytes(raw[:place])
            else:
                path.unlink()
        self.reopen()

    @rule()
    def bring_back_an_old_snapshot(self) -> None:
        """A snapshot of an earlier time is as true as it was: more of the log is read behind it."""
        self.close()
        for path in self.path.glob("topics/__consumer_offsets/*/snapshot"):
            kept = self.root / f"snapshot-{path.parent.name}"
            if kept.exists():
                path.write_bytes(kept.read_bytes())
            else:
                kept.write_bytes(path.read_bytes())
        self.reopen()

    # --- what must be true ---

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "stores"):
            return
        everything = [TopicPartition(topic, number) for topic in ("orders", "o") for number in range(4)]
        for store in self.stores:
            store.check()
            assert store.groups() == sorted({group for group, _ in self.model})
            for group in GROUPS:
                expected = {tp: position for (owner, tp), position in self.model.items() if owner == group}
                assert store.committed(group, everything) == {tp: expected.get(tp) for tp in everything}
                assert {tp: found.position for tp, found in store.all_committed(group).items()} == expected

    # --- helpers ---

    def reopen(self) -> None:
        self.logs = [eventlog.open(self.path) for _ in range(2)]
        self.stores = [OffsetStore(log._registry, log._context.clock, 1000) for log in self.logs]

    def close(self) -> None:
        for log in self.logs:
            log.close()


TestOffsetsAgainstDict = OffsetsAgainstDict.TestCase
TestOffsetsAgainstDict.settings = settings(max_examples=30, stateful_step_count=20)
