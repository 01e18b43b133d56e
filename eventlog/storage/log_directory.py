"""Make sure that a log lies at a path: in a missing or empty directory one is created.

Creating, step by step, under the root lock: 1. make ``topics``; 2. sync the directory; 3. write ``eventlog.json``,
which says "here lies a log". A crash before 3 leaves a directory that the next opening takes for an empty one.
"""

from __future__ import annotations

import errno
import os
import uuid

from eventlog.errors import NotALogError, UnsupportedFileSystemError
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import FileSystem, translated
from eventlog.files.mounts import network_file_system
from eventlog.files.paths import is_directory, is_other_than_directory, is_there
from eventlog.files.signal_handlers import suppress
from eventlog.format.filenames import CONTROL, LOG_META, ROOT_LOCK, SESSION_LOCK, TOPICS
from eventlog.storage.log_format import check_log_meta, create_log_meta

_BEFORE_A_LOG = {ROOT_LOCK, SESSION_LOCK, CONTROL, TOPICS}  # what a crash while creating a log may leave


def prepare(
    fs: FileSystem, path: str, *, readonly: bool, lock_timeout: float, create: bool = True, parents: bool = False
) -> bool:
    """Make sure that a log lies at ``path``; tell if it is read-only.

    With ``create`` it is made in an empty directory, or in a missing one; with ``parents`` also the directories above.
    """
    if is_other_than_directory(path):
        raise NotALogError("not a directory", path=path, hint="give a directory for the log, new or empty")
    if (readonly or not create) and not is_there(os.path.join(path, LOG_META)):
        hint = "only a log that exists can be read" if readonly else "create=True makes a new log"
        raise NotALogError("no log lies here", path=path, hint=f"check the path; {hint}")
    above = os.path.dirname(path)
    if not parents and not is_there(above):
        hint = "check the path, or make that directory first, as parents=True does"
        raise NotALogError(f"there is no directory {above!r}", path=path, hint=hint)
    with translated(path):
        _make_directories(fs, path)
    kind = network_file_system(path)
    if kind is not None:
        raise UnsupportedFileSystemError(
            f"{kind} is a network file system: its locks and mappings are not shared safely", path=path,
            hint="put the log on a local disk",
        )  # fmt: skip
    meta = os.path.join(path, LOG_META)
    readonly = readonly or not os.access(path, os.W_OK)
    with translated(meta):
        if not fs.exists(meta):
            _create(fs, path, meta, lock_timeout)
        check_log_meta(fs, meta)
    return readonly


def _make_directories(fs: FileSystem, path: str) -> None:
    """Make the directory and those above it, each of them durable."""
    if not is_directory(path):
        parent = os.path.dirname(path)
        _make_directories(fs, parent)
        _make_if_missing(fs, path)
        if not is_directory(path):
            raise NotADirectoryError(errno.ENOTDIR, "a file lies where a directory has to be", path)
        _sync_entry_of(fs, path)


def _sync_entry_of(fs: FileSystem, path: str) -> None:
    with suppress(PermissionError):  # who may enter a directory may not always open it
        fs.sync_directory(os.path.dirname(path))


def _make_if_missing(fs: FileSystem, path: str) -> None:
    with suppress(FileExistsError):
        fs.mkdir(path)


def _create(fs: FileSystem, path: str, meta: str, lock_timeout: float) -> None:
    with translated(path):
        names = fs.listdir(path)
    foreign = [name for name in names if name not in _BEFORE_A_LOG and not name.endswith(".tmp")]
    if foreign and LOG_META not in foreign:
        raise NotALogError(
            f"the directory holds {foreign[0]!r} but no {LOG_META}", path=path,
            hint="give an empty or a new directory for a new log",
        )  # fmt: skip
    lock = FileLock(fs, os.path.join(path, ROOT_LOCK), timeout=lock_timeout)
    try:
        with translated(path), lock:
            if not fs.exists(meta):
                _make_if_missing(fs, os.path.join(path, TOPICS))
                fs.sync_directory(path)  # it must not be missing where the file is that says "here lies a log"
                create_log_meta(fs, meta, uuid.uuid4().hex)
                _sync_entry_of(fs, path)
    finally:
        lock.close()
