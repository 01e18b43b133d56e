"""``eventlog topics``: what a log holds."""

from __future__ import annotations

import json
from typing import Any

import click

from eventlog.cli.group import open_existing
from eventlog.cli.messages import topic_trouble
from eventlog.cli.terminal import say, tell
from eventlog.errors import EventLogError
from eventlog.event_log import EventLog
from eventlog.topics.topic import Topic


@click.command()
@click.argument("directory", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a topic.")
@click.option("--internal", is_flag=True, help="Also the topics that the log keeps for itself.")
def topics(directory: str, as_json: bool, internal: bool) -> None:
    """List the topics with their partitions, records and bytes."""
    with open_existing(directory, readonly=True) as log:
        rows, troubles = _describe_all(log, log.topics(include_internal=internal))
    if as_json:
        for row in rows:
            say(json.dumps(row))
    else:
        _print_table(rows)
    for name, trouble in troubles.items():
        tell(f"{name}: {trouble}")
    if troubles:
        raise click.ClickException(f"{len(troubles)} of {len(rows) + len(troubles)} topics cannot be read; see above")


def _describe_all(log: EventLog, names: list[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return what can be said of each topic, and why nothing can be said of the others."""
    rows, troubles = [], {}
    for name in names:
        try:
            rows.append(_describe(log.topic(name)))
        except EventLogError as error:
            trouble = topic_trouble(error)
            if trouble is not None:
                troubles[name] = trouble
    return rows, troubles


def _print_table(rows: list[dict[str, Any]]) -> None:
    width = max([len(row["topic"]) for row in rows], default=0) + 2
    width = max(width, len("topic") + 2)
    say(f"{'topic':{width}}{'partitions':>10}  {'records':>14}  {'bytes':>16}")
    for row in rows:
        say(f"{row['topic']:{width}}{row['partitions']:>10}  {row['records']:>14}  {row['bytes']:>16}")


def _describe(topic: Topic) -> dict[str, Any]:
    records = size = 0
    for partition in topic.partitions:
        records += partition.log_end_offset - partition.log_start_offset
        size += partition.size_bytes
        partition.close()  # ten thousand of them would be many mappings
    return {"topic": topic.name, "partitions": len(topic.partitions), "records": records, "bytes": size}
