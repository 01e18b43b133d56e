"""Read a damaged log by every API, append to it, read it again: right data, or an error that names the place."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import eventlog
from eventlog import EventLogError, Record, TopicPartition
from tests.fuzz.expectation import Expectation
from tests.fuzz.reading import Found, Lost, ProblemError, by_batches, by_poll, by_read
from tests.fuzz.template import FIRST_COMMITTED, GROUP, INPUT, START_MS, TRANSACTIONAL_ID, Template


def survey(root: Path, template: Template, expected: Expectation) -> None:
    """Raise ProblemError, or whatever else the library lets out that is no error of its own."""
    logging.getLogger("eventlog").setLevel(logging.CRITICAL)
    _Survey(root, template, expected, {}).run(readonly=True)
    added: dict[TopicPartition, list[Record]] = {}
    for _ in range(2):
        _Survey(root, template, expected, added).run(readonly=False)
    _Survey(root, template, expected, added).run(readonly=True)


class _Survey:
    """One opening of the log. ``added`` are the records that earlier ones appended, which must be there as well."""

    def __init__(
        self, root: Path, template: Template, expected: Expectation, added: dict[TopicPartition, list[Record]]
    ) -> None:
        self._root = root
        self._template = template
        self._expected = expected
        self._added = added
        self._log: eventlog.EventLog

    def run(self, *, readonly: bool) -> None:
        self._log = self._try(self._expected.concerns_log(), lambda: eventlog.open(self._root, readonly=readonly))
        if self._log is None:
            return
        try:
            self._read_all()
            if not readonly:
                self._append_all()
                self._read_all()
        finally:
            self._try(True, self._log.close)

    def _try(self, may_fail: bool, call: Callable[[], Any]) -> Any:
        """Call; an error of the library is an answer if ``may_fail``. None then."""
        try:
            return call()
        except EventLogError as error:
            if not may_fail:
                raise ProblemError(f"{self._expected.damaged} alone is damaged, and yet: {error!r} {error}") from error
            if not error.coordinates:
                raise ProblemError(f"names no place: {error!r}") from error
            return None

    # --- reading ---

    def _read_all(self) -> None:
        names = self._try(False, self._log.topics)
        for tp, records in self._template.records.items():
            is_concerned = self._expected.concerns_topic(tp.topic)
            if tp.topic not in names and not is_concerned:
                raise ProblemError(f"{tp.topic} is not listed")
            partition = self._partition(tp)
            if partition is not None:
                self._read_partition(tp, partition, records)
        self._read_offsets()
        self._try(True, self._log.verify_transactions)
        for listing in (self._log.groups, self._log.transactions, self._log.recent_transactions):
            self._try(bool(self._expected.damaged), listing)

    def _partition(self, tp: TopicPartition) -> eventlog.Partition | None:
        """Return the partition; None when the damage explains that there is none."""
        is_concerned = self._expected.concerns_topic(tp.topic)
        topic = self._try(is_concerned, partial(self._log.topic, tp.topic))
        if topic is not None and tp.partition < len(topic.partitions):
            return topic.partitions[tp.partition]
        if not is_concerned:
            raise ProblemError(f"{tp} is gone")
        return None

    def _read_partition(self, tp: TopicPartition, partition: eventlog.Partition, records: list[Record]) -> None:
        is_concerned = self._expected.concerns_topic(tp.topic)
        end = self._try(is_concerned, lambda: partition.log_end_offset)
        if end is None:
            return
        recovery = partition.recovery
        by_offset = {record.offset: record for record in records + self._added.get(tp, [])}
        expected = [by_offset[offset] for offset in sorted(by_offset)]  # what was cut left its offsets to others
        seen = []
        for read in (by_read, by_poll, by_batches):
            answer = self._try(is_concerned, partial(read, self._log, tp, end))
            if answer is None:
                continue
            found, lost = answer
            seen.append((set(found), lost))
            self._judge(tp, expected, found, lost, end, recovery)
        if any(sets != seen[0][0] for sets, _ in seen):
            raise ProblemError(f"{tp}: one way to read finds more than another: {seen}")
        report = self._try(is_concerned, partition.verify)
        if report is not None and seen and seen[0][1] and not report.damaged:
            raise ProblemError(f"{tp}: readers were told of damage {seen[0][1]}, and verify finds none")
        self._search_by_time(tp, partition, expected, seen)

    def _judge(
        self, tp: TopicPartition, expected: list[Record], found: Found, lost: Lost, end: int, recovery: Any
    ) -> None:
        by_offset = {record.offset: record for record in expected}
        for offset, record in found.items():
            if by_offset.get(offset) != record:
                raise ProblemError(f"{tp}: {record} at {offset} instead of {by_offset.get(offset)}")
        is_told = recovery is not None and (recovery.torn_bytes > 0 or recovery.damaged)
        may_be_lost = self._expected.lost.get(tp, frozenset())
        if self._template.was_killed:  # what a power cut may have left looks the same: then the end is lost in silence
            is_told = True
        if self._may_be_cut(tp):
            may_be_lost |= {offset for offset in by_offset if offset >= end}
        for offset in by_offset.keys() - found.keys():
            if not any(start <= offset < stop for start, stop in lost) and not (offset >= end and is_told):
                raise ProblemError(f"{tp}: nobody was told that {offset} is lost; the log ends at {end}, told: {lost}")
            if offset not in may_be_lost:
                raise ProblemError(f"{tp}: {offset} is whole, and cannot be read; lost: {lost}, end {end}")
        if end > max([len(self._template.records[tp]), *(offset + 1 for offset in by_offset)]):
            raise ProblemError(f"{tp}: the log ends at {end}, and never got so far")

    def _may_be_cut(self, tp: TopicPartition) -> bool:
        """Tell whether outcomes of transactions are gone as after a power cut, and with them the end of this log."""
        return self._template.was_killed and tp.topic == "out" and self._expected.concerns_journal()

    def _search_by_time(
        self, tp: TopicPartition, partition: eventlog.Partition, expected: list[Record], seen: list[Any]
    ) -> None:
        for time_ms in (START_MS - 1, START_MS + 35, START_MS + 200, START_MS + 390, START_MS + 10**9):
            answer: list[int | None] = []
            self._try(
                self._expected.concerns_topic(tp.topic),
                partial(_note, answer, partial(partition.offset_for_time, time_ms)),
            )
            right = next((record.offset for record in expected if record.timestamp_ms >= time_ms), None)
            is_cut = seen and right is not None and right >= partition.log_end_offset
            if answer and answer[0] != right and not is_cut:
                raise ProblemError(f"{tp}: the first offset at {time_ms} is {right}, and not {answer[0]}")

    def _read_offsets(self) -> None:
        places = (("topics", "__consumer_offsets"), ("topics", "__transaction_state"), ("topics", "in"), ("groups",))
        answer: list[int | None] = []
        self._try(any(self._expected.concerns(*place) for place in places), partial(_note, answer, self._committed))
        last = self._template.committed[INPUT].offset
        right: set[int | None] = {last}
        if self._template.was_killed and any(self._expected.concerns(*place) for place in places[:2]):
            right |= {None, *range(FIRST_COMMITTED, last)}  # at the end of a journal this looks like a power cut
        if answer and answer[0] not in right:
            raise ProblemError(f"{GROUP} has committed {last}, and not {answer[0]}")

    def _committed(self) -> int | None:
        if self._log.readonly:
            found = [
                one.current_offset for one in self._log.group(GROUP).partitions if (one.topic, one.partition) == INPUT
            ]
            return found[0] if found else None
        with self._log.consumer(group=GROUP) as consumer:
            committed = consumer.committed(INPUT)
        return None if committed is None else committed.offset

    # --- writing ---

    def _append_all(self) -> None:
        value = b"appended after the damage"
        for tp in self._template.records:
            partition = self._partition(tp)
            if partition is None:
                continue
            may_fail = self._expected.concerns_topic(tp.topic) and not self._is_of_records()
            result = self._try(may_fail, partial(partition.append, [value], timestamps_ms=START_MS))
            if result is not None:
                self._add(tp, result.base_offset, value)
        self._transact()

    def _is_of_records(self) -> bool:
        """Tell whether only files of records are damaged, which never keep a partition from taking new ones."""
        kinds = (".log", ".index", ".timeindex", ".snapshot", "head")
        names = self._expected.damaged
        return all(
            name.endswith(kinds) and os.path.isfile(self._root / name) and not os.path.islink(self._root / name)
            for name in names
        )

    def _transact(self) -> None:
        damaged = self._expected.damaged
        may_fail = any(not name.startswith("topics/plain") and not name.startswith("topics/packed") for name in damaged)

        def commit() -> list[eventlog.RecordMetadata]:
            with self._log.producer(transactional_id=TRANSACTIONAL_ID) as producer:
                with producer.transaction():
                    sent = [
                        producer.send("out", b"in a transaction", partition=p, timestamp_ms=START_MS) for p in (0, 1)
                    ]
                return [delivery.result(timeout=60) for delivery in sent]

        for metadata in self._try(may_fail, commit) or ():
            self._add(TopicPartition(metadata.topic, metadata.partition), metadata.offset, b"in a transaction")

    def _add(self, tp: TopicPartition, offset: int, value: bytes) -> None:
        known = {record.offset for record in self._template.records[tp]} - self._expected.lost.get(tp, frozenset())
        if self._may_be_cut(tp):
            known = set()
        if offset in known.union(record.offset for record in self._added.get(tp, [])):
            raise ProblemError(f"{tp}: offset {offset} was given out twice")
        kind = eventlog.TimestampType.CREATE_TIME
        self._added.setdefault(tp, []).append(Record(*tp, offset, START_MS, kind, None, value))


def _note(answers: list[Any], call: Callable[[], Any]) -> None:
    """Keep what the call answers, also when that is None: there is no answer when it raises."""
    answers.append(call())
