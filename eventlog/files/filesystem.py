"""The file system as a seam: every call that reaches the operating system's files goes through one object.

`FileSystem` is the real one. Its hot calls are the C functions themselves, so that the seam costs nothing; tests
pass an object that fails, tears or drops writes instead.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eventlog.errors import (
    CorruptMetadataError,
    EventLogError,
    ForeignFileError,
    LogFullError,
    ReadOnlyLogError,
    StorageError,
)
from eventlog.files import nofollow
from eventlog.files.mapping import map_readonly, map_shared
from eventlog.files.open_file import OpenFile
from eventlog.files.signal_handlers import is_from_handler, pass_on_handlers, suppress
from eventlog.files.syncs_at_once import sync_at_once

Buffer = Any  # whatever has the buffer protocol; collections.abc.Buffer comes with Python 3.12

CREATE_MODE = 0o666  # the umask takes away from it: so users of a group may share a log
MAX_PARTS = 512  # IOV_MAX is 1024 on Linux and macOS
MAX_SMALL_FILE = 1 << 28  # bytes: beyond what any file is that is read as a whole
_KIND = 0o170000  # of the bits of ``st_mode``
PUT_ASIDE = ".damaged"
_GONE = "other code has removed or moved it: put it back, or open the log again"
_HINTS = {  # where it is not the device that has failed
    errno.ENOENT: _GONE,
    errno.ENOTDIR: _GONE,
    errno.EMFILE: "this process has too many open files: raise its limit (ulimit -n), or lower max_open_partitions",
    errno.ENFILE: "the machine has too many open files: close some, or raise fs.file-max",
    errno.ENOMEM: "memory, or the number of mappings, is used up: free some, or raise vm.max_map_count",
    errno.ENAMETOOLONG: "the path is too long: put the log into a shorter one",
}


def translate(error: OSError, path: str) -> EventLogError:
    """Turn an operating system's error into ours, with its coordinates and what to do."""
    if isinstance(error, EventLogError):
        return error
    if isinstance(error.filename, str) and error.filename.startswith(path):
        path = error.filename  # the very file
    if is_full(error):
        return LogFullError(
            "no space left",
            path=path,
            hint="free space and try again: nothing was published, nothing is lost",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnlyLogError(
            f"not permitted: {error.strerror}", path=path,
            hint="check its owner, group and mode; users who share a log write with umask 002, or open it with "
            "readonly=True",
        )  # fmt: skip
    if error.errno == errno.EBADF:
        return lost_descriptor(path)
    hint = _HINTS.get(error.errno or 0, "see the system log of the device")
    return StorageError(f"{error.strerror or error}", path=path, hint=hint)


def is_full(error: OSError) -> bool:
    """Tell whether there is no space left, or none that this user may have."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def lost_descriptor(path: str) -> StorageError:
    """Return the error of a descriptor that was closed by others, and whose number may be another file's by now."""
    return StorageError(
        "other code of this process has closed a descriptor of the log", path=path,
        hint="look for os.closerange and for numbers that are closed twice; the next call opens the file again",
    )  # fmt: skip


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Run a block of file operations; an OSError leaves it as one of our errors."""
    try:
        yield
    except OSError as error:
        if isinstance(error, EventLogError) or is_from_handler(error):
            raise
        raise translate(error, path) from error


class FileSystem:
    """The operating system's files. Stateless; one instance may serve any number of logs."""

    open = staticmethod(nofollow.open_descriptor)
    close = staticmethod(os.close)
    pread = staticmethod(os.pread)
    pwrite = staticmethod(os.pwrite)
    pwritev = staticmethod(os.pwritev)
    rename = staticmethod(nofollow.rename)
    unlink = staticmethod(nofollow.unlink)
    mkdir = staticmethod(nofollow.mkdir)
    listdir = staticmethod(nofollow.listdir)
    list_but_files = staticmethod(nofollow.list_but_files)
    map_readonly = staticmethod(map_readonly)
    map_shared = staticmethod(map_shared)
    rmdir = staticmethod(nofollow.rmdir)

    if sys.platform == "darwin":  # fsync there stops at the drive's cache; F_FULLFSYNC reaches the medium

        def sync(self, fd: int) -> None:
            """Bring the file's data, and the size needed to read it back, to the medium."""
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        sync = staticmethod(os.fdatasync)

    def opened(self, path: str, flags: int, mode: int = CREATE_MODE) -> OpenFile:
        """Open the file, so that no interrupt can lose the descriptor; ``with`` gives it, and closes it.

        Raises OSError, and ForeignFileError when the path leads through a link or to something else than a file.
        """
        if self.open is nofollow.open_descriptor:  # whose descriptor nothing can take away
            file = nofollow.opened(path, flags, mode, self.close)
        else:
            file = OpenFile(self.open, self.close, path, flags, mode)
        file.status = status = os.fstat(file.fd)
        if status.st_mode & _KIND != stat.S_IFREG and not flags & os.O_DIRECTORY:
            raise nofollow.foreign(path, status.st_mode)
        return file

    def sync_all(self, fds: Sequence[int], failed: Callable[[int, OSError], object]) -> None:
        """Sync several files, at once where that is quicker; ``failed`` is told each one that could not be synced."""
        if len(fds) > 1 and self.sync is os.fdatasync:
            sync_at_once(os.fdatasync, fds, failed)
            return
        for fd in fds:  # whoever has a sync of his own may count on their order
            try:
                self.sync(fd)
            except OSError as error:
                pass_on_handlers(error)
                failed(fd, error)

    def size(self, fd: int) -> int:
        """Return the length of the open file in bytes."""
        return os.fstat(fd).st_size

    def identity(self, fd: int) -> tuple[int, int]:
        """Return what tells the open file from another one that has taken its name."""
        found = os.fstat(fd)
        return found.st_dev, found.st_ino

    def identity_of(self, path: str) -> tuple[int, int]:
        """Return the same of the file that the path leads to."""
        found = os.stat(path)
        return found.st_dev, found.st_ino

    def is_linked(self, fd: int) -> bool:
        """Tell whether the open file still has a name: no other has taken it."""
        return os.fstat(fd).st_nlink > 0

    def status_of(self, path: str) -> os.stat_result:
        """Return what is known of the path; of a link itself, if it is one."""
        return nofollow.status(path)

    def size_of(self, path: str) -> int:
        """Return the length of the file in bytes."""
        return self.status_of(path).st_size

    def exists(self, path: str) -> bool:
        """Tell whether there is anything of this name, be it a link that leads nowhere."""
        return self.kind_of(path) != 0

    def is_directory(self, path: str) -> bool:
        """Tell whether the path is a directory, and no link to one."""
        return self.kind_of(path) == stat.S_IFDIR

    def has_directory(self, path: str) -> bool:
        """Tell whether there is such a directory. Raises ForeignFileError when something else lies there."""
        kind = self.kind_of(path)
        if kind not in (0, stat.S_IFDIR):
            raise nofollow.foreign(path, kind, "a directory of the log")
        return kind != 0

    def kind_of(self, path: str) -> int:
        """Return what lies there, as the ``stat`` module names it (``S_IFREG``, ``S_IFLNK``, ...); 0 for nothing."""
        try:
            return stat.S_IFMT(nofollow.status(path).st_mode)
        except FileNotFoundError as error:
            pass_on_handlers(error)
            return 0

    def write_all(self, fd: int, parts: Sequence[Buffer], position: int) -> int:
        """Write all parts one after the other at ``position`` and return the number of bytes.

        A full disk shows as a short write first; the rest is tried again, and then gives the error itself.
        """
        if len(parts) > MAX_PARTS:
            parts = [b"".join(parts)]
        size = sum(memoryview(part).nbytes for part in parts)
        written = self.pwritev(fd, parts, position)
        if written == size:
            return size
        rest = memoryview(b"".join(parts))
        while written < size:
            written += self.pwrite(fd, rest[written:], position + written)
        return size

    def write_zeros(self, fd: int, start: int, end: int) -> None:
        """Overwrite the bytes from ``start`` up to ``end`` with zeros, without changing the file's size."""
        block = bytes(min(end - start, 1 << 20))
        while start < end:
            start += self.pwrite(fd, block[: end - start], start)

    def remove_tree(self, path: str) -> None:
        """Remove a directory and everything in it; of links only their names, and never what they lead to."""
        waiting = [path]
        while waiting:
            here = waiting[-1]
            if not self.is_directory(here):
                self.unlink(here)
            elif names := self.listdir(here):
                waiting += [os.path.join(here, name) for name in names]
                continue
            else:
                self.rmdir(here)
            waiting.pop()

    def put_aside(self, path: str) -> None:
        """Give what cannot be used another name, so that it can be made again, and looked at."""
        try:
            self.rename(path, path + PUT_ASIDE)
        except FileNotFoundError:
            raise
        except OSError as error:  # an earlier one is a directory, or this one is
            pass_on_handlers(error)
            self.rename(path, f"{path}{PUT_ASIDE}.{os.urandom(4).hex()}")

    def sync_directory(self, path: str) -> None:
        """Make creations, renames and removals in the directory durable."""
        with self.opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
            os.fsync(fd)

    def drop_clean_pages(self, fd: int, start: int, end: int) -> None:
        """Drop the clean pages of the cache that hold the bytes from ``start`` up to ``end``, where possible."""
        if hasattr(os, "posix_fadvise"):
            first = start - start % mmap.PAGESIZE
            pages = -(-(end - first) // mmap.PAGESIZE)
            os.posix_fadvise(fd, first, pages * mmap.PAGESIZE, os.POSIX_FADV_DONTNEED)

    def read_file(self, path: str, at_most: int = MAX_SMALL_FILE) -> bytes:
        """Return the whole content of a small file. Raises CorruptMetadataError when it is larger than ``at_most``."""
        file = self.opened(path, os.O_RDONLY)
        with file as fd:
            size = file.status.st_size
            if size > at_most:
                raise CorruptMetadataError(
                    f"{size} bytes are more than such a file can have ({at_most})", path=path,
                    hint="restore the file from a backup",
                )  # fmt: skip
            return self.pread(fd, size, 0)

    def replace_file(self, path: str, content: Buffer, *, durable: bool = True) -> None:
        """Put ``content`` at ``path``, whole or not at all, and durable when this returns.

        Not ``durable``, it leaves out the syncs: whole for other processes, but a power cut may leave an empty file.

        1. Write a file of another name and sync it. A crash leaves a stray ``*.tmp``, which nobody reads.
        2. Rename it over ``path``. A crash before leaves the old file, after it the new one.
        3. Sync the directory. A power cut before may bring the old file back, never a mixture.
        """
        temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        try:
            with self.opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
                self.write_all(fd, [content], 0)
                if durable:
                    self.sync(fd)
            self._rename_over(temporary, path)
        except BaseException:
            with suppress(OSError):
                self.unlink(temporary)
            raise
        if durable:
            self.sync_directory(os.path.dirname(path))

    def _rename_over(self, temporary: str, path: str) -> None:
        try:
            self.rename(temporary, path)
        except (ForeignFileError, IsADirectoryError) as error:  # a directory, which no file replaces
            pass_on_handlers(error)
            self.put_aside(path)
            self.rename(temporary, path)
