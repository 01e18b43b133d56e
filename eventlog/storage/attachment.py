"""How a process comes to share a partition's head: it maps the one that is true, or makes it true first."""

from __future__ import annotations

import os

from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import translated
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.filenames import HEAD
from eventlog.storage.head import Head
from eventlog.storage.partition_files import PartitionFiles
from eventlog.storage.recovery import RecoveryReport, recover


def attach(log: PartitionFiles, lock: FileLock) -> tuple[Head, RecoveryReport | None]:
    """Return the partition's head, and what recovery found if it had to run; the directory is made on first use.

    Raises UnknownTopicError when the topic's directory is gone.
    """
    fs, path = log.context.fs, os.path.join(log.directory, HEAD)
    with translated(log.directory):
        if log.context.readonly:
            log.context.session = log.context.look_for_session()
            return _true_head(log, Head.open(fs, path, writable=False, home=log.segments.home))
        try:
            fs.mkdir(log.directory)
        except FileExistsError as error:
            pass_on_handlers(error)
        except FileNotFoundError as error:
            pass_on_handlers(error)
            raise log.gone() from None
        head = Head.open(fs, path, writable=True, home=log.segments.home)
        if head is not None and _is_true(log, head):
            return head, None  # without the lock: a commit that is under way may hold it for a while
        with lock:
            return _true_head(log, Head.open(fs, path, writable=True, home=log.segments.home))


def _true_head(log: PartitionFiles, head: Head | None) -> tuple[Head, RecoveryReport | None]:
    """Trust a head of the present session that no failed sync has poisoned."""
    if head is not None and _is_true(log, head):
        return head, None
    return recover(log, head)


def _is_true(log: PartitionFiles, head: Head) -> bool:
    session = log.context.session
    return head.session == session != 0 and head.life != 0 and not head.has_failed() and head.is_whole()


def shared_head(log: PartitionFiles) -> Head | None:
    """Return the head that writers keep true, for who may only read; None without writers."""
    log.context.session = log.context.look_for_session()
    head = Head.open(log.context.fs, os.path.join(log.directory, HEAD), writable=False, home=log.segments.home)
    return head if head is not None and _is_true(log, head) else None
