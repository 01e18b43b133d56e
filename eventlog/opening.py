"""How a log is opened: the first call of every program."""

from __future__ import annotations

import os

from eventlog.clock import Clock
from eventlog.event_log import LOCK_TIMEOUT_MS, MAX_OPEN_PARTITIONS, OFFSETS_RETENTION_MINUTES, EventLog
from eventlog.files.filesystem import FileSystem


def open(
    path: str | os.PathLike[str],
    *,
    create: bool = True,
    parents: bool = False,
    readonly: bool = False,
    max_open_partitions: int = MAX_OPEN_PARTITIONS,
    offsets_retention_minutes: int = OFFSETS_RETENTION_MINUTES,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    clock: Clock | None = None,
    filesystem: FileSystem | None = None,
) -> EventLog:
    """Open the log in the directory ``path``. If the directory is missing or empty, make a new log there.

    With ``create=False`` nothing is ever made, and only a log that is there is opened. Missing directories above
    ``path`` are made only with ``parents=True``: a misspelt path is an error, and no new log. ``readonly=True`` never
    creates, changes or repairs anything, and takes no lock. ``max_open_partitions`` bounds how many partitions hold
    descriptors at once; ``offsets_retention_minutes`` (7 days) is how long the offsets of a group without members are
    kept; ``lock_timeout_ms`` (30 s) bounds each wait for a lock that another process holds, in this call and all
    others; ``clock`` and ``filesystem`` replace the system's in tests.

    Raises NotALogError when no log lies there that may be opened, or made, and for a directory that holds something
    else, UnsupportedFormatError for a log of a newer version, UnsupportedFileSystemError on a network file system,
    ReadOnlyLogError when a new log cannot be created, and LockTimeoutError. A log in a directory that may only be read
    opens for reading.

    >>> import eventlog, tempfile
    >>> with eventlog.open(tempfile.mkdtemp()) as log:
    ...     topic = log.create_topic("orders", partitions=2)
    ...     topic.partitions[0].append([b"first", b"second"]).last_offset
    1
    """
    return EventLog(
        path,
        create=create,
        parents=parents,
        readonly=readonly,
        max_open_partitions=max_open_partitions,
        offsets_retention_minutes=offsets_retention_minutes,
        lock_timeout_ms=lock_timeout_ms,
        clock=clock,
        filesystem=filesystem,
    )
