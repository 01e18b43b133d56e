"""The names of a log's files. They live on disk: none may change."""

from __future__ import annotations

import re

LOG_META = "eventlog.json"
CONTROL = "control"
SESSION_LOCK = "session.lock"
SYNCS = "syncs"
ROOT_LOCK = "lock"
TOPICS = "topics"
TOPIC_META = "topic.json"
LOCK = "lock"
HEAD = "head"
LOG, INDEX, TIME_INDEX, TORN = ".log", ".index", ".timeindex", ".torn"
PRODUCER_SNAPSHOT = ".snapshot"
STAGED, DELETED = "~new-", "~gone-"  # "~" is legal in no topic's name; with the longest name it makes 255 bytes

GROUPS, MEMBERS, GROUP_STATE, GROUP_NAME = "groups", "members", "state.json", "name.json"
OFFSET_SNAPSHOT = "snapshot"
TRANSACTIONS, TRANSACTIONAL_STATE, TRANSACTION_OWNER = "transactions", "state.json", "owner"

_LAST_BASE = 2**63 - 2**31  # an offset has 63 bits, and those of a segment 31 more
_SEGMENT = re.compile(r"(\d{20})\.log\Z")
_PRODUCER_SNAPSHOT = re.compile(r"(\d{20})\.snapshot\Z")


def segment_name(base_offset: int, suffix: str) -> str:
    """Return the name of a segment's file: its base offset in 20 digits, so that names sort by offset.

    >>> segment_name(1234, LOG)
    '00000000000000001234.log'
    """
    return f"{base_offset:020d}{suffix}"


def segment_base(name: str) -> int | None:
    """Return the base offset that a segment's name tells, or None when it is no segment.

    >>> segment_base("00000000000000001234.log"), segment_base("notes.log")
    (1234, None)
    """
    match = _SEGMENT.match(name)
    return int(match[1]) if match and int(match[1]) <= _LAST_BASE else None


def producer_snapshot_offset(name: str) -> int | None:
    """Return the offset that a snapshot of the producers is true at, or None when it is no such file.

    >>> producer_snapshot_offset("00000000000000001234.snapshot"), producer_snapshot_offset("snapshot")
    (1234, None)
    """
    match = _PRODUCER_SNAPSHOT.match(name)
    return int(match[1]) if match else None
