"""Errors in the words of the command line: the library's hints name methods, these name commands and options."""

from __future__ import annotations

import os

from eventlog.errors import (
    CorruptSegmentError,
    EventLogError,
    GroupNotEmptyError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    UnknownGroupError,
    UnknownTopicError,
)
from eventlog.event_log import EventLog
from eventlog.format.filenames import TOPIC_META, TOPICS


def message(error: EventLogError) -> str:
    """Return one line that says what happened, where, and what to do about it."""
    told = type(error)(error.reason, hint=_hint(error), **error.coordinates)
    return " ".join(str(told).split())


def topic_trouble(log: EventLog, name: str, error: EventLogError) -> str | None:
    """Say why a topic of the list cannot be used; None when there is no such topic, as after a deletion meanwhile."""
    if not isinstance(error, UnknownTopicError):
        return message(error)
    directory = os.path.join(log.path, TOPICS, name)
    if not os.path.isdir(directory):
        return None
    return f"{os.path.join(directory, TOPIC_META)} is missing; restore it from a backup"


def _hint(error: EventLogError) -> str:
    if isinstance(error, UnknownTopicError):
        return "`eventlog topics` lists those that there are, and `eventlog produce` creates one"
    if isinstance(error, UnknownGroupError):
        return "`eventlog groups` lists those that there are"
    if isinstance(error, GroupNotEmptyError):
        return "nothing was deleted; end its consumers first, which `eventlog group` lists"
    if isinstance(error, RecordTooLargeError):
        return "split the line, or create the topic from Python with a larger max_message_bytes"
    if isinstance(error, OffsetOutOfRangeError):
        return error.hint.replace("seek to an offset between beginning_offsets and end_offsets", "see --from")
    if isinstance(error, CorruptSegmentError) and error.next_offset is not None:
        return (
            f"offsets {error.base_offset} to {error.next_offset - 1} are lost;"
            f" `--partition {error.partition} --from {error.next_offset}` goes on behind them"
        )
    return error.hint
