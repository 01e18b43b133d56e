"""Errors in the words of the command line: the library's hints name methods, these name commands and options."""

from __future__ import annotations

from eventlog.errors import (
    CorruptSegmentError,
    EventLogError,
    GroupNotEmptyError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    UnknownGroupError,
    UnknownTopicError,
)


def message(error: EventLogError) -> str:
    """Return one line that says what happened, where, and what to do about it."""
    told = type(error)(error.reason, hint=_hint(error), **error.coordinates)
    return " ".join(str(told).split())


def topic_trouble(error: EventLogError) -> str | None:
    """Say why a topic of the list cannot be used; None when there is no such topic, as after a deletion meanwhile."""
    return None if isinstance(error, UnknownTopicError) else message(error)


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
