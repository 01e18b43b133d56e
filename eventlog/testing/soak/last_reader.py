"""Who comes when all faults are over: waits until the groups have read everything, then reads it all once more."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from pathlib import Path

import eventlog
from eventlog.model import TopicPartition
from eventlog.testing.history import Assign, Recorder
from eventlog.testing.soak.topics import GROUPS, TOPICS
from eventlog.testing.soak.worker import polled

NAME = "last-reader"
FINDINGS = "findings.json"  # what `verify` has to say
Finding = tuple[str, int, list[str], list[tuple[int, int | None, str]]]  # topic, partition, problems, damage
_LOOK_EVERY = 0.1  # seconds


def wait_until_dry(log_path: Path, groups: Collection[str]) -> None:
    """Return once these groups have committed the end of every partition they read, one after the other."""
    with eventlog.open(log_path) as log:
        for group in (name for name in GROUPS if name in groups):
            while _lag(log, group):
                threading.Event().wait(_LOOK_EVERY)


def _lag(log: eventlog.EventLog, group: str) -> int:
    with log.consumer(group=group) as consumer:
        places = [place for topic in GROUPS[group] for place in topic.all()]
        ends = consumer.end_offsets(places)
        committed = {place: consumer.committed(place) for place in places}
    return sum(max(0, ends[place] - (found.offset if found else 0)) for place, found in committed.items())


def read_everything(log_path: Path, journal: Path, into: Path) -> None:
    """Read each partition from the beginning, note it as any consumer would, and write down what `verify` finds."""
    with eventlog.open(log_path) as log, Recorder(journal, NAME) as recorder:
        for place in (place for topic in TOPICS for place in topic.all()):
            _read(log, place, recorder)
        findings = [*_verify(log), ("transactions", 0, list(log.verify_transactions().problems), [])]
    into.write_text(json.dumps(findings))


def _read(log: eventlog.EventLog, place: TopicPartition, recorder: Recorder) -> None:
    with log.consumer(auto_offset_reset="earliest") as consumer:
        consumer.assign([place])
        end = consumer.end_offsets([place])[place]
        recorder.ok("assign", Assign({place: consumer.position(place)}))
        while consumer.position(place) < end:
            try:
                recorder.ok("poll", polled(consumer.poll()))
            except eventlog.CorruptSegmentError as error:
                consumer.seek(place, error.next_offset or end)
                recorder.ok("assign", Assign({place: consumer.position(place)}))


def _verify(log: eventlog.EventLog) -> list[Finding]:
    """Return what is found in each partition that was used."""
    found: list[Finding] = []
    for name in log.topics(include_internal=True):
        for partition in log.topic(name).partitions:
            if partition.was_used:
                report = partition.verify()
                damage = [(one.base_offset, one.next_offset, one.reason) for one in report.damaged]
                found.append((name, partition.number, list(report.problems), damage))
    return found
