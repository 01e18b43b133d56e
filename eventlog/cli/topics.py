"""``eventlog topics``: what a log holds."""

from __future__ import annotations

import json
from typing import Any

import click

from eventlog.cli.group import open_existing
from eventlog.topics.topic import Topic


@click.command()
@click.argument("directory", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a topic.")
def topics(directory: str, as_json: bool) -> None:
    """List the topics with their partitions, records and bytes."""
    with open_existing(directory, readonly=True) as log:
        rows = [_describe(log.topic(name)) for name in log.topics()]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    width = max([len(row["topic"]) for row in rows], default=0) + 2
    width = max(width, len("topic") + 2)
    click.echo(f"{'topic':{width}}{'partitions':>10}  {'records':>14}  {'bytes':>16}")
    for row in rows:
        click.echo(f"{row['topic']:{width}}{row['partitions']:>10}  {row['records']:>14}  {row['bytes']:>16}")


def _describe(topic: Topic) -> dict[str, Any]:
    records = size = 0
    for partition in topic.partitions:
        records += partition.log_end_offset - partition.log_start_offset
        size += partition.size_bytes
        partition.close()  # ten thousand of them would be many mappings
    return {"topic": topic.name, "partitions": len(topic.partitions), "records": records, "bytes": size}
