"""Judges what a run leaves behind: its history by the checker, the chains, and what `verify` says of the log."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from eventlog.model import TopicPartition
from eventlog.testing.checker import check, check_chain
from eventlog.testing.history import Operation, Poll, Send, read_history
from eventlog.testing.soak.episode import Remains
from eventlog.testing.soak.fencing import late_commits, read_inits
from eventlog.testing.soak.last_reader import FINDINGS, NAME
from eventlog.testing.soak.survey import Survey, forget_lost, read_survey
from eventlog.testing.soak.topics import CHAIN


@attrs.frozen
class Judgement:
    """``anomalies`` are sentences by kind; ``operations`` and ``faults`` are counts by kind."""

    operations: Counter[str]
    faults: Counter[str]
    anomalies: dict[str, list[str]]

    @property
    def ok(self) -> bool:
        """True when nothing was found."""
        return not self.anomalies


def judge(remains: Remains, lazy: Iterable[str], *, has_chain: bool) -> Judgement:
    """Look at everything. ``lazy`` are the roles that never wait for the device."""
    anomalies = {kind: list(sentences) for kind, sentences in remains.trouble.items()}
    history = read_history(remains.files("*.jsonl"))
    faults = Counter(note.process.split()[0] for note in history if note.what == "fault")
    if not (remains.directory / FINDINGS).exists():  # nobody could read the log to the end: the history says little
        return Judgement(_counted(history), faults, anomalies)
    surveys = [read_survey(path) for path in remains.files("survey-*.json")]
    known = forget_lost(history, surveys, [f"{role}-" for role in lazy])
    for kind, found in check(known).anomalies.items():
        if found:
            anomalies[kind] = [one.sentence for one in found]
    if has_chain:
        for kind, sentences in _chain_anomalies(known).items():
            anomalies.setdefault(kind, []).extend(sentences)
    late = list(late_commits(known, read_inits(remains.directory)))
    if late:
        anomalies["late-commit"] = late
    findings = json.loads((remains.directory / FINDINGS).read_text())
    verified = list(_findings(findings, surveys))
    if verified:
        anomalies["verify"] = verified
    return Judgement(_counted(history), faults, anomalies)


def _chain_anomalies(history: Sequence[Operation]) -> dict[str, list[str]]:
    """Each record of the chain's first topic has exactly one that came of it in each later one."""
    contents = _contents(history)
    found: dict[str, list[str]] = {}
    for before, after in itertools.pairwise(CHAIN):
        report = check_chain(contents[before.name], contents[after.name])
        for one in itertools.chain(*report.anomalies.values()):
            found.setdefault(one.name, []).append(f"{before.name} to {after.name}: {one.sentence}")
    return found


def _contents(history: Iterable[Operation]) -> dict[str, list[str]]:
    """Return the names of the values that the last reader found in each topic of the chain."""
    contents: dict[str, list[str]] = {topic.name: [] for topic in CHAIN}
    for action in (act for note in history if note.process == NAME for act in note.actions if isinstance(act, Poll)):
        for place, pairs in action.records.items():
            if place.topic in contents:
                contents[place.topic] += [str(value) for _, value in pairs]
    return contents


def _findings(findings: Sequence[Sequence[Any]], surveys: Sequence[Survey]) -> Iterator[str]:
    """Yield what `verify` found, but for damage that a power cut left in what was not on the device."""
    for topic, number, problems, damage in findings:
        yield from (f"{topic}-{number}: {problem}" for problem in problems)
        known = {one for survey in surveys for one in survey.damaged.get(TopicPartition(topic, number), ())}
        for low, high, reason in damage:
            if (low, high) not in known:
                yield f"{topic}-{number}: offsets from {low} up to {high} cannot be read: {reason}"


def _counted(history: Iterable[Operation]) -> Counter[str]:
    """Count what was completed, and the records in it."""
    counts: Counter[str] = Counter()
    for note in history:
        if note.what in ("send", "txn", "poll") and note.kind != "invoke":
            counts[f"{note.what} {note.kind}"] += 1
            for action in note.actions:
                counts["records sent"] += isinstance(action, Send) and note.kind == "ok"
                counts["records polled"] += sum(map(len, action.records.values())) if isinstance(action, Poll) else 0
    return counts
