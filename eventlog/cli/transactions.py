"""``eventlog transactions``: who has a transaction under way, and what became of the last ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click

from eventlog.cli.group import open_existing
from eventlog.cli.table import print_table, text_of
from eventlog.cli.terminal import say
from eventlog.coordination.group_state import by_topic
from eventlog.coordination.transaction_records import TransactionOutcome
from eventlog.model import TopicPartition
from eventlog.monitoring.transaction_description import TransactionDescription

_FORMATS = click.Choice(["text", "json"])


@click.command()
@click.argument("directory", metavar="DIR")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=0), default=20, show_default=True, help="How many of the last ones."
)
@click.option("--pending", is_flag=True, help="Of the transactional ids, only those with a transaction under way.")
@click.option("--format", "form", type=_FORMATS, default="text", show_default=True, help="json: one object.")
def transactions(directory: str, limit: int, pending: bool, form: str) -> None:
    """List transactional ids with what their producers are doing, and the last transactions, newest last."""
    with open_existing(directory, readonly=True) as log:
        described, recent = log.transactions(), log.recent_transactions(limit)
    found = [one for one in described if one.is_pending or not pending]
    if form == "json":
        say(json.dumps({"transactional_ids": list(map(_id, found)), "recent": list(map(_recent, recent))}))
        return
    print_table(
        ["transactional-id", "state", "producer-id", "epoch", "process", "alive", "started", "timeout-s"],
        list(map(_id_row, found)),
    )
    say()
    print_table(
        ["ended", "outcome", "transactional-id", "producer-id", "epoch", "seconds", "records", "partitions"],
        list(map(_recent_row, recent)),
    )


# --- as JSON ---


def _id(found: TransactionDescription) -> dict[str, Any]:
    return {
        "transactional_id": found.transactional_id,
        "state": found.state,
        "is_pending": found.is_pending,
        "producer_id": found.producer_id,
        "producer_epoch": found.producer_epoch,
        "pid": found.pid,
        "is_alive": found.is_alive,
        "started_ms": found.started_ms,
        "changed_ms": found.changed_ms,
        "timeout_ms": found.timeout_ms,
        "partitions": by_topic(found.partitions),
    }


def _recent(found: TransactionOutcome) -> dict[str, Any]:
    return {
        "outcome": _outcome(found),
        "transactional_id": found.transactional_id or None,
        "producer_id": _known(found.producer_id),
        "producer_epoch": _known(found.epoch),
        "started_ms": found.started_ms,
        "ended_ms": found.ended_ms,
        "parts": [
            {
                "topic": part.topic,
                "partition": part.partition,
                "base_offset": part.base_offset,
                "end_offset": part.end_offset,
            }
            for part in found.parts
        ],
    }


# --- as text ---


def _id_row(found: TransactionDescription) -> list[str]:
    return [
        found.transactional_id, found.state, text_of(_known(found.producer_id)), text_of(_known(found.producer_epoch)),
        text_of(found.pid), "yes" if found.is_alive else "no", _time(found.started_ms),
        "-" if found.timeout_ms is None else f"{found.timeout_ms / 1000:g}",
    ]  # fmt: skip


def _recent_row(found: TransactionOutcome) -> list[str]:
    records = sum(part.end_offset - part.base_offset for part in found.parts)
    return [
        _time(found.ended_ms), _outcome(found), found.transactional_id or "-", text_of(_known(found.producer_id)),
        text_of(_known(found.epoch)), f"{(found.ended_ms - found.started_ms) / 1000:.3f}", str(records),
        _partitions(TopicPartition(part.topic, part.partition) for part in found.parts),
    ]  # fmt: skip


def _outcome(found: TransactionOutcome) -> str:
    return "committed" if found.is_committed else "aborted"


def _known(number: int) -> int | None:
    return None if number < 0 else number


def _time(milliseconds: int | None) -> str:
    """Return it in UTC, without a space, so that each row has as many columns as the heading."""
    if milliseconds is None:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _partitions(found: Iterable[TopicPartition]) -> str:
    topics = by_topic(tuple(found)).items()
    return ";".join(f"{topic}:{','.join(map(str, numbers))}" for topic, numbers in topics) or "-"
