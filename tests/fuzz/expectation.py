"""What a damaged log may still lose: only what lies in the damaged bytes."""

from __future__ import annotations

from pathlib import Path, PurePath

import attrs

from eventlog import TopicPartition
from tests.fuzz.mutation import IN_PLACE, TWO_FILES, Mutation
from tests.fuzz.template import Batch, Template


@attrs.frozen
class Expectation:
    """``damaged`` are files whose contents say otherwise than before; ``lost`` the offsets that may be gone."""

    damaged: frozenset[str]
    lost: dict[TopicPartition, frozenset[int]]

    def concerns(self, *prefix: str) -> bool:
        """Tell whether a damaged file lies below this directory, or is this file."""
        return any(PurePath(name).parts[: len(prefix)] == prefix for name in self.damaged)

    def concerns_topic(self, topic: str) -> bool:
        """Tell whether a file of the topic is damaged, or of the journal that says which records of it are there."""
        return self.concerns("topics", topic) or (topic == "out" and self.concerns_journal())

    def concerns_journal(self) -> bool:
        """Tell whether a file of the journal of transactions is damaged."""
        return self.concerns("topics", "__transaction_state")

    def concerns_log(self) -> bool:
        """Tell whether a file of the log itself is damaged, without which nothing can be opened."""
        return any(len(PurePath(name).parts) == 1 for name in self.damaged)


def expect(template: Template, mutation: Mutation, root: Path) -> Expectation:
    """Compare a damaged copy of the log with the template."""
    names = {mutation.target(template.files)}
    if mutation.kind in TWO_FILES:
        names.add(template.files[mutation.other % len(template.files)])
    lost = {}
    for name in names & template.batches.keys():
        topic, partition = PurePath(name).parts[1:3]
        before, path = (template.path / name).read_bytes(), root / name
        after = path.read_bytes() if path.is_file() else b""
        here = [batch for batch in template.batches[name] if not _is_whole(batch, before, after, mutation)]
        offsets = frozenset(offset for batch in here for offset in range(batch.base_offset, batch.end_offset))
        tp = TopicPartition(topic, int(partition))
        lost[tp] = lost.get(tp, frozenset()) | offsets
    return Expectation(frozenset(names), lost)


def _is_whole(batch: Batch, before: bytes, after: bytes, mutation: Mutation) -> bool:
    """Tell whether the batch is where it was, byte for byte; behind bytes that were moved nothing is."""
    stop = batch.position + batch.size
    if mutation.kind in IN_PLACE:
        return before[batch.position : stop] == after[batch.position : stop]
    return before[:stop] == after[:stop]
