"""``eventlog produce``: lines become records."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO

import click

import eventlog
from eventlog.cli.lines import KeyOf, key_by_field, key_by_json, key_by_regex, read_lines
from eventlog.cli.messages import message
from eventlog.cli.terminal import tell
from eventlog.errors import EventLogError, RecordTooLargeError, TopicExistsError
from eventlog.event_log import EventLog
from eventlog.topics.topic import Topic


@click.command()
@click.argument("directory", metavar="DIR")
@click.argument("topic")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--key-regex", metavar="R", help="Key: the first group of this regular expression, or its whole match.")
@click.option("--key-field", metavar="N", type=click.IntRange(min=1), help="Key: the Nth field between white space.")
@click.option("--json-key", metavar="F", help="Key: the field F of each line, which is a JSON object.")
@click.option("--partitions", metavar="N", type=click.IntRange(1, 100_000), help="Partitions of a new topic.")
def produce(
    directory: str,
    topic: str,
    file: BinaryIO,
    key_regex: str | None,
    key_field: int | None,
    json_key: str | None,
    partitions: int | None,
) -> None:
    r"""Write each line of FILE, or of standard input, as a record.

    Lines are taken byte for byte: they end with \n, which is not stored, and \r is a byte like any other. The log
    and the topic are created when they are missing.
    """
    key_of = _key_function(key_regex, key_field, json_key)
    with eventlog.open(directory) as log, _progress(file) as advance:
        target = _topic(log, topic, partitions)
        records, size = _copy(log, target, file, key_of, advance)
    tell(f"{records} records, {size} bytes written to {topic}")


def _key_function(regex: str | None, field: int | None, json_field: str | None) -> KeyOf | None:
    if sum(option is not None for option in (regex, field, json_field)) > 1:
        raise click.UsageError("--key-regex, --key-field and --json-key exclude each other")
    if regex is not None:
        return key_by_regex(regex)
    if field is not None:
        return key_by_field(field)
    return None if json_field is None else key_by_json(json_field)


def _topic(log: EventLog, name: str, partitions: int | None) -> Topic:
    try:
        return log.create_topic(name, partitions or 1)
    except TopicExistsError:
        topic = log.topic(name)
    if partitions is not None and partitions != len(topic.partitions):
        raise click.ClickException(
            f"the topic {name} exists, with {len(topic.partitions)} partitions: leave out --partitions"
        )
    return topic


def _copy(
    log: EventLog, topic: Topic, file: BinaryIO, key_of: KeyOf | None, advance: Callable[[int], None]
) -> tuple[int, int]:
    records = size = 0
    with log.producer() as producer:
        for lines in read_lines(file):
            keys = None if key_of is None else _keys(lines, key_of, records)
            try:
                producer.send_many(topic.name, lines, keys).result()
            except RecordTooLargeError as error:
                number = records + _too_large(topic, lines, keys)
                raise click.ClickException(f"after {records} records: line {number}: {message(error)}") from error
            except EventLogError as error:
                raise click.ClickException(f"after {records} records: {message(error)}") from error
            records += len(lines)
            read = sum(map(len, lines))
            size += read
            advance(read + len(lines))
    return records, size


def _too_large(topic: Topic, lines: list[bytes], keys: list[bytes | None] | None) -> int:
    """Return the number, from 1, of the first line that is too large for a record."""
    for number, line in enumerate(lines):
        try:
            topic.partitions[0].encode([line], None if keys is None else [keys[number]])
        except RecordTooLargeError:
            return number + 1
    return len(lines)


def _keys(lines: list[bytes], key_of: KeyOf, before: int) -> list[bytes | None]:
    keys: list[bytes | None] = []
    for line in lines:
        try:
            keys.append(key_of(line))
        except ValueError as error:
            number = before + len(keys) + 1
            raise click.ClickException(f"line {number} has no key: {error}; the first {before} are written") from error
    return keys


@contextlib.contextmanager
def _progress(file: BinaryIO) -> Iterator[Callable[[int], None]]:
    """Show a bar when the size is known and a person is looking."""
    total = _size(file)
    if not total or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("produce", total=total)
        yield lambda count: progress.advance(task, count)


def _size(file: BinaryIO) -> int | None:
    try:
        status = os.fstat(file.fileno())
    except OSError:  # not a file of the operating system
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
