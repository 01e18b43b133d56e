"""``eventlog verify``: check every byte that carries truth, and change none."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import click

from eventlog.cli.group import open_existing
from eventlog.cli.messages import message, topic_trouble
from eventlog.cli.terminal import say
from eventlog.errors import EventLogError
from eventlog.event_log import EventLog
from eventlog.monitoring.transaction_verification import TransactionsReport
from eventlog.storage.recovery import RecoveryReport
from eventlog.storage.scan import DamagedRange
from eventlog.topics.partition import Partition


@click.command()
@click.argument("directory", metavar="DIR")
def verify(directory: str) -> None:
    """Check every byte, and change none.

    Exits with status 1 when a batch, an index or a control page is damaged, or when the journal of transactions says
    something that is not true of the partitions. Nothing is created, changed or repaired:
    what the next opening would recover or make anew, such as a missing index, is reported as a note.
    """
    logging.getLogger("eventlog").addHandler(logging.NullHandler())  # what recovery has to say is in the report
    with open_existing(directory, readonly=True) as log:
        report = log.verify_transactions()  # first: the partitions are closed one after the other below
        findings = 0
        for name in log.topics(include_internal=True):
            findings += _verify_topic(log, name)
        findings += _print_transactions(report)
    if findings:
        raise click.ClickException(f"{findings} {'finding' if findings == 1 else 'findings'}; see above")
    say("nothing is damaged")


def _verify_topic(log: EventLog, name: str) -> int:
    """Print what was found in the topic's partitions, and return how much of it is damage."""
    try:
        partitions = list(log.topic(name).partitions)
    except EventLogError as error:
        trouble = topic_trouble(error)
        return 0 if trouble is None else _print_findings(name, [trouble])
    findings = 0
    for partition in partitions:
        if name.startswith("__") and not partition.was_used:
            continue  # fifty lines for the one partition that a group's commits are in
        findings += _verify_partition(partition)
        partition.close()
    return findings


def _verify_partition(partition: Partition) -> int:
    name = f"{partition.topic}-{partition.number}"
    try:
        report = partition.verify()
        recovery = partition.recovery or RecoveryReport()
    except (EventLogError, OSError) as error:
        return _print_findings(name, [message(error) if isinstance(error, EventLogError) else str(error)])
    ranges = dict.fromkeys([*recovery.damaged, *report.damaged])
    missing = [problem for problem in report.problems if _is_missing(problem)]
    findings = [*_damage(ranges), *(problem for problem in report.problems if problem not in missing)]
    say(
        f"{name}: {report.segments} segments, {report.batches} batches, {report.records} records,"
        f" {report.bytes} bytes: {'damaged' if findings else 'good'}"
    )
    for note in [*_notes(recovery), *map(_note_of_missing, missing)]:
        say(f"  note: {note}")
    return _print_findings("", findings)


def _print_transactions(report: TransactionsReport) -> int:
    """Print what was found in the journal, if there is anything to tell."""
    if report.outcomes or report.problems or report.notes:
        state = "good" if report.ok else "damaged"
        say(f"transactions: {report.outcomes} outcomes, {report.committed} committed: {state}")
    for note in report.notes:
        say(f"  note: {note}")
    return _print_findings("", list(report.problems))


def _damage(ranges: dict[DamagedRange, None]) -> Iterator[str]:
    seen: set[tuple[int, int | None]] = set()
    for found in ranges:
        if (found.base_offset, found.next_offset) in seen:
            continue  # recovery and verification may give different reasons for the same loss
        seen.add((found.base_offset, found.next_offset))
        lost = f"from offset {found.base_offset} on"
        if found.next_offset is not None:
            lost = f"offsets {found.base_offset} to {found.next_offset - 1}"
        yield f"{found.path}: position {found.position}: {found.reason}; {lost} cannot be read"


def _is_missing(problem: str) -> bool:
    """Tell whether an index or a head is simply not there, as in a copy that left out what is derived."""
    path, _, reason = problem.rpartition(": ")
    return reason.startswith(("missing", "shorter")) and not os.path.lexists(path)


def _note_of_missing(problem: str) -> str:
    return f"{problem.rpartition(': ')[0]}: missing; it is made anew from the records when it is needed"


def _notes(recovery: RecoveryReport) -> Iterator[str]:
    if recovery.torn_bytes:
        yield (
            f"{recovery.torn_bytes} bytes behind the last whole batch, from a write that did not finish;"
            " the next writer keeps a copy of them and writes over them"
        )


def _print_findings(name: str, findings: list[str]) -> int:
    if name:
        say(f"{name}: damaged")
    for finding in findings:
        say(f"  {finding}")
    return len(findings)
