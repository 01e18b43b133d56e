"""``eventlog groups`` and ``eventlog group``: who reads, and how far they are."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import click

from eventlog.cli.group import open_existing
from eventlog.cli.table import print_table, text_of
from eventlog.cli.terminal import say, tell
from eventlog.coordination.group_state import by_topic
from eventlog.errors import UnknownGroupError
from eventlog.event_log import EventLog
from eventlog.monitoring.group_description import GroupDescription, MemberDescription

_FORMATS = click.Choice(["text", "json"])


def _described(log: EventLog) -> list[GroupDescription]:
    found = []
    for name in log.groups():
        with contextlib.suppress(UnknownGroupError):  # deleted meanwhile
            found.append(log.group(name))
    return found


@click.command()
@click.argument("directory", metavar="DIR")
@click.option("--format", "form", type=_FORMATS, default="text", show_default=True, help="json: one object a group.")
def groups(directory: str, form: str) -> None:
    """List the groups that have members or committed offsets."""
    with open_existing(directory, readonly=True) as log:
        found = _described(log)
    if form == "json":
        for one in found:
            say(json.dumps(_summary(one)))
        return
    rows = [
        [one.group, one.state, *map(str, (_living(one), len(one.partitions), one.total_lag, one.records_lag_max))]
        for one in found
    ]
    print_table(["group", "state", "members", "partitions", "lag", "lag-max"], rows)


@click.command()
@click.argument("directory", metavar="DIR")
@click.argument("name", metavar="GROUP")
@click.option("--format", "form", type=_FORMATS, default="text", show_default=True, help="json: one object.")
@click.option("--delete", is_flag=True, help="Delete it and its committed offsets, unless it has living members.")
def group(directory: str, name: str, form: str, delete: bool) -> None:
    """Show a group's members, with their partitions, and its lag; or delete it."""
    if delete:
        with open_existing(directory) as log:
            log.delete_group(name)
        tell(f"the group {name} is deleted")
        return
    with open_existing(directory, readonly=True) as log:
        found = log.group(name)
    if form == "json":
        say(json.dumps(_summary(found) | _details(found)))
    else:
        _print_group(found)


# --- as JSON ---


def _summary(found: GroupDescription) -> dict[str, Any]:
    return {
        "group": found.group,
        "state": found.state,
        "generation": found.generation,
        "assignor": found.assignor,
        "living_members": _living(found),
        "total_lag": found.total_lag,
        "records_lag_max": found.records_lag_max,
    }


def _details(found: GroupDescription) -> dict[str, Any]:
    return {
        "members": [
            {
                "member_id": member.member_id,
                "client_id": member.client_id,
                "group_instance_id": member.group_instance_id,
                "host": member.host,
                "pid": member.pid,
                "is_alive": member.is_alive,
                "last_poll_ms_ago": member.last_poll_ms_ago,
                "topics": list(member.topics),
                "assignment": by_topic(member.assignment),
            }
            for member in found.members
        ],
        "partitions": [
            {
                "topic": one.topic,
                "partition": one.partition,
                "current_offset": one.current_offset,
                "log_end_offset": one.log_end_offset,
                "lag": one.lag,
                "metadata": one.metadata,
                "member_id": one.member_id,
            }
            for one in found.partitions
        ],
    }


def _living(found: GroupDescription) -> int:
    return sum(member.is_alive for member in found.members)


# --- as text ---


def _print_group(found: GroupDescription) -> None:
    say(f"group       {found.group}")
    say(f"state       {found.state}")
    say(f"generation  {found.generation}")
    say(f"assignor    {found.assignor or '-'}")
    say(f"lag         {found.total_lag}, {found.records_lag_max} at most in one partition")
    say()
    members = [
        [
            member.member_id, member.client_id or "-", member.host or "-", text_of(member.pid),
            "yes" if member.is_alive else "no", _seconds(member.last_poll_ms_ago), _partitions(member),
        ]
        for member in found.members
    ]  # fmt: skip
    print_table(["member", "client", "host", "process", "alive", "last-poll-s", "assignment"], members)
    say()
    lags = [
        [one.topic, *map(text_of, (one.partition, one.current_offset, one.log_end_offset, one.lag, one.member_id))]
        for one in found.partitions
    ]
    print_table(["topic", "partition", "current-offset", "log-end-offset", "lag", "member"], lags)


def _partitions(member: MemberDescription) -> str:
    """Return them without a space, so that each row has as many columns as the heading."""
    topics = by_topic(member.assignment).items()
    return ";".join(f"{topic}:{','.join(map(str, numbers))}" for topic, numbers in topics) or "-"


def _seconds(milliseconds: int | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds / 1000:.1f}"
