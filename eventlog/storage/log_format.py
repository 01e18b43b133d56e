"""The format version of a log as a whole, which stands in ``eventlog.json``: no older version may meet newer batches.

Batches of version 2 are written only while every process that has the log open for writing knows them. The first
process of a session is alone, by the exclusive lock of `Session`; it raises the number before it begins the session:

1. Take the session's lock exclusively: no other process has the log open for writing.
2. Put the same file with the new number in the place of the old one, by rename, and sync it. A crash before leaves the
   old file, and nothing but batches of version 1. A crash after it leaves the new number over these batches, which
   stay readable; older versions refuse the log from here on.
3. Begin the session, and write.

A process that joins a session whose log has the old number has met an older version, and refuses. One that only reads
changes nothing: the number stays as it is until a process opens the log for writing.
"""

from __future__ import annotations

import os

from eventlog.errors import EventLogError, UnsupportedFormatError
from eventlog.files.checkpoint import parse_versioned, read_versioned, write_checkpoint
from eventlog.files.filesystem import FileSystem
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.filenames import LOG_META

LOG_FORMAT = 2  # 1: batches of version 1 only


def create_log_meta(fs: FileSystem, path: str, log_id: str) -> None:
    """Write the file that makes a directory a log."""
    write_checkpoint(fs, path, "log", {"log_id": log_id}, version=LOG_FORMAT)


def check_log_meta(fs: FileSystem, path: str) -> None:
    """Raise CorruptMetadataError for a damaged file, and UnsupportedFormatError for one of a newer version."""
    read_versioned(fs, path, "log", newest=LOG_FORMAT)[1].text("log_id", "[0-9a-f]{32}")


def raise_format(fs: FileSystem, root: str) -> None:
    """Raise an old log's number; see the module's docstring. Only for a process that is alone."""
    path = os.path.join(root, LOG_META)
    version, fields = read_versioned(fs, path, "log", newest=LOG_FORMAT)
    if version < LOG_FORMAT:
        write_checkpoint(fs, path, "log", fields, version=LOG_FORMAT)


def refuse_old_format(fs: FileSystem, root: str) -> None:
    """Raise UnsupportedFormatError when those who have the log open write an older format."""
    path = os.path.join(root, LOG_META)
    version, _ = read_versioned(fs, path, "log", newest=LOG_FORMAT)
    if version < LOG_FORMAT:
        raise UnsupportedFormatError(
            f"a process with an older version of eventlog, which writes format {version}, has the log open", path=path,
            hint="close the log there, then open it again: it becomes format 2, which that version cannot read",
        )  # fmt: skip


def was_raised(fs: FileSystem, fd: int, path: str) -> bool:
    """Tell whether the file at ``path`` is that of ``fd``, with its number raised since."""
    try:
        before, old = parse_versioned(fs.pread(fd, fs.size(fd), 0), path, "log", newest=LOG_FORMAT)
        after, new = read_versioned(fs, path, "log", newest=LOG_FORMAT)
    except (EventLogError, OSError) as error:
        pass_on_handlers(error)
        return False
    return before < after and old == new
