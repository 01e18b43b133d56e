"""``eventlog consume``: records become lines."""

from __future__ import annotations

import datetime
import errno
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import click

from eventlog.cli.consume_group import GroupReading, Places
from eventlog.cli.group import open_existing
from eventlog.cli.record_format import printer
from eventlog.cli.terminal import is_shown
from eventlog.consumer.consumer import Consumer
from eventlog.errors import OffsetOutOfRangeError, UnknownPartitionError
from eventlog.event_log import EventLog
from eventlog.model import Record, TopicPartition

Start = Callable[[Consumer, list[TopicPartition]], Places]

_RECORDS_A_POLL = 5000


@click.command()
@click.argument("directory", metavar="DIR")
@click.argument("topic")
@click.option(
    "--from", "start", default="beginning", show_default=True, metavar="beginning|end|OFFSET|TIMESTAMP",
    help="Where to start; a timestamp is ISO 8601, in local time unless it has an offset: 2024-05-01T12:00:00Z. "
    "With --group, only in partitions for which the group has committed nothing.",
)  # fmt: skip
@click.option("--follow", is_flag=True, help="Wait for new records at the end, until interrupted.")
@click.option(
    "--format", "form", default="text", show_default=True, metavar="text|json|TEMPLATE",
    help=r"A template has %t topic, %p partition, %o offset, %k key, %s value, %K and %S their lengths (-1: null), "
    r"%T timestamp in ms, %h headers, and \n \t; nothing is added to it.",
)  # fmt: skip
@click.option(
    "--group", metavar="G",
    help="Read this member's share of the partitions, from where the group is, and commit what was printed.",
)  # fmt: skip
@click.option("--max", "limit", metavar="N", type=click.IntRange(min=0), help="Stop after N records.")
@click.option("--partition", metavar="P", type=click.IntRange(min=0), help="Read this partition only.")
def consume(
    directory: str,
    topic: str,
    start: str,
    follow: bool,
    form: str,
    group: str | None,
    limit: int | None,
    partition: int | None,
) -> None:
    """Print the records of TOPIC to standard output.

    Each partition's records come in order. Without --follow, what is there when the command starts is printed.
    A pipe or a file gets the records byte for byte; on a terminal, control characters are escaped.
    """
    places = _start(start)
    to_bytes = printer(form, shown=is_shown())
    out = sys.stdout.buffer
    if group is not None and partition is not None:
        raise click.UsageError("--group and --partition exclude each other: the group shares out the partitions")

    def show(records: list[Record]) -> None:
        _write(out, b"".join(map(to_bytes, records)))
        out.flush()

    with open_existing(directory) as log, log.consumer(**_settings(group)) as consumer:
        partitions = _partitions(log, topic, partition)
        ends = None if follow else consumer.end_offsets(partitions)
        starts = places(consumer, partitions)
        if group is not None:
            GroupReading(log, consumer, topic, starts, ends).run(show, limit, _RECORDS_A_POLL)
            return
        consumer.assign(partitions)
        for tp, place in starts.items():
            consumer.seek(tp, place)
        for records in _polls(consumer, ends, limit):
            show(records)


def _settings(group: str | None) -> dict[str, Any]:
    if group is None:
        return {"max_poll_records": _RECORDS_A_POLL, "auto_offset_reset": "earliest"}
    return {
        "group": group,
        "client_id": "console-consumer",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
    }


def _write(out: BinaryIO, data: bytes) -> None:
    """Write all of it: with PYTHONUNBUFFERED, standard output is a raw file, whose writes may be short."""
    rest = memoryview(data)
    while rest:
        written: int | None = out.write(rest)
        if written is None:  # a raw file that would block
            raise BlockingIOError(errno.EAGAIN, "standard output takes no more, and does not block")
        rest = rest[written:]


def _partitions(log: EventLog, topic: str, number: int | None) -> list[TopicPartition]:
    count = len(log.topic(topic).partitions)
    if number is None:
        return [TopicPartition(topic, each) for each in range(count)]
    if number >= count:
        raise UnknownPartitionError(
            f"{topic} has no partition {number}", topic=topic, partition=number, hint=f"it has {count}, numbered from 0"
        )
    return [TopicPartition(topic, number)]


def _polls(consumer: Consumer, ends: dict[TopicPartition, int] | None, limit: int | None) -> Iterator[list[Record]]:
    """Yield what each poll found, up to ``limit`` records; with ``ends``, up to these offsets and no further."""
    left = limit
    while (left is None or left > 0) and not (ends is not None and _arrived(consumer, ends)):
        found = consumer.poll(0.0 if ends is not None else None, None if left is None else min(left, _RECORDS_A_POLL))
        if ends is not None:
            found = [record for record in found if record.offset < ends[TopicPartition(record.topic, record.partition)]]
        if left is not None:
            left -= len(found)
        yield found


def _arrived(consumer: Consumer, ends: dict[TopicPartition, int]) -> bool:
    """Tell whether every partition has been read to its end; those that have are read no further."""
    done = [tp for tp, end in ends.items() if consumer.position(tp) >= end]
    if len(done) < len(ends) and done:
        consumer.pause(*done)
    return len(done) == len(ends)


def _start(text: str) -> Start:
    """Return what finds the start in each partition. Raises BadParameter for a text that says none."""
    if text == "beginning":
        return lambda consumer, partitions: consumer.beginning_offsets(partitions)
    if text == "end":
        return lambda consumer, partitions: consumer.end_offsets(partitions)
    if re.fullmatch(r"[0-9]+", text):
        return _at_offset(int(text))
    try:
        moment = datetime.datetime.fromisoformat(text)
        return _at_time(max(0, int(moment.timestamp() * 1000)))
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither beginning, end, an offset nor an ISO 8601 timestamp", param_hint="--from"
        ) from None


def _at_offset(offset: int) -> Start:
    def places(consumer: Consumer, partitions: list[TopicPartition]) -> Places:
        ends = consumer.end_offsets(partitions)
        if offset > max(ends.values()):
            raise OffsetOutOfRangeError(
                f"no partition has an offset {offset}", topic=partitions[0].topic, offset=offset,
                hint=f"the longest one ends at {max(ends.values())}",
            )  # fmt: skip
        # Partitions differ in length: a shorter one has nothing at this offset yet.
        return {tp: min(offset, end) for tp, end in ends.items()}

    return places


def _at_time(timestamp_ms: int) -> Start:
    def places(consumer: Consumer, partitions: list[TopicPartition]) -> Places:
        found = consumer.offsets_for_times(dict.fromkeys(partitions, timestamp_ms))
        ends = consumer.end_offsets(partitions)
        return {tp: ends[tp] if place is None else place.offset for tp, place in found.items()}

    return places
