"""Calls that take a path and follow no symbolic link, at no place of it.

Who may write to a log's directory may put a link in the place of any file or directory in it, at any moment. A path
that led through it would have other people's files opened, renamed or removed by whoever uses the log. So each
directory on the way must be one, and what a name in it stands for is looked at without following it.

Paths are absolute, and real where the log begins (`os.path.realpath`): the log itself may be reached through links.

Linux opens such a path in one call, ``openat2(2)`` with RESOLVE_NO_SYMLINKS, and macOS with O_NOFOLLOW_ANY. Where the
call is missing or fails, the path is walked, one directory after the other, each opened within the one before: that
works everywhere, and tells which part of the path is to blame.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from eventlog.errors import ForeignFileError
from eventlog.files.open_file import OpenFile
from eventlog.files.signal_handlers import pass_on_handlers, suppress

_ALWAYS = os.O_CLOEXEC | os.O_NONBLOCK
_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_NOFOLLOW_ANY = getattr(os, "O_NOFOLLOW_ANY", 0)  # macOS
_LARGE_FILE = getattr(os, "O_LARGEFILE", 0)
_OPENAT2, _AT_FDCWD, _RESOLVE_NO_SYMLINKS = 437, -100, 0x04  # linux/openat2.h; the number is the same everywhere
_PLAIN = (errno.ENOENT, errno.EEXIST, errno.EACCES, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT)
_SOMETHING_ELSE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR)  # a link, a socket or pipe, a directory

_HOW_BYTES = 24
_Answer = TypeVar("_Answer")
_encoded = functools.partial(  # as os.fsencode, without a look at what it is given
    str.encode, encoding=sys.getfilesystemencoding(), errors=sys.getfilesystemencodeerrors()
)

_syscall: Any = ctypes.CDLL(None, use_errno=True).syscall if sys.platform.startswith("linux") else None
if _syscall is not None:
    _syscall.restype = ctypes.c_long
    _syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]


class _How(ctypes.Structure):  # struct open_how
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@functools.cache
def _how(flags: int, mode: int) -> Any:
    large = 0 if flags & getattr(os, "O_PATH", 0) else _LARGE_FILE
    return ctypes.byref(_How(flags | large, mode if flags & os.O_CREAT else 0, _RESOLVE_NO_SYMLINKS))


def opened(path: str, flags: int, mode: int, closing: Callable[[int], Any] = os.close) -> OpenFile:
    """Open the file; it never blocks, whatever lies there. Raises OSError, and ForeignFileError for a link."""
    flags |= _ALWAYS
    found = _opened_at_once(path, flags, mode, closing)
    if found is not None:
        return found
    return _within(path, lambda name, within: _opened_in(within, name, flags, mode, closing))


def _opened_in(within: int, name: str, flags: int, mode: int, closing: Callable[[int], Any]) -> OpenFile:
    return OpenFile(functools.partial(os.open, dir_fd=within), closing, name, flags | os.O_NOFOLLOW, mode)


def _opened_at_once(path: str, flags: int, mode: int, closing: Callable[[int], Any]) -> OpenFile | None:
    """Open the path in one call, or return None: why it failed, a walk tells."""
    if _syscall is not None:
        file = OpenFile(_syscall, closing, _OPENAT2, _AT_FDCWD, _encoded(path), _how(flags, mode), _HOW_BYTES)
        if file.fd >= 0:
            return file
        code = ctypes.get_errno()
        if code in _PLAIN:
            raise OSError(code, os.strerror(code), path)
    elif _NOFOLLOW_ANY:
        with suppress(OSError):
            return OpenFile(os.open, closing, path, flags | _NOFOLLOW_ANY, mode)
    return None


def _directory_of(path: str) -> OpenFile:
    """Open the directory that the path's last name is in, to be used as ``dir_fd``."""
    directory = os.path.dirname(path)
    found = _opened_at_once(directory, _DIRECTORY, 0, os.close)
    return found if found is not None else _walked(directory)


def _within(path: str, call: Callable[[str, int], _Answer]) -> _Answer:
    """Call with the path's last name and the directory that it is in; errors name the whole path."""
    with _directory_of(path) as within:
        try:
            return call(os.path.basename(path), within)
        except OSError as error:
            pass_on_handlers(error)
            _tell(error, path)
            raise


def _walked(directory: str) -> OpenFile:
    found, reached = OpenFile(os.open, os.close, "/", _DIRECTORY), ""
    for name in filter(None, directory.split("/")):
        reached += "/" + name
        with found as within:
            try:
                found = _opened_in(within, name, _DIRECTORY, 0, os.close)
            except OSError as error:
                pass_on_handlers(error)
                if error.errno == errno.ENOTDIR and not stat.S_ISLNK(_kind_of(reached)):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory) from error
                _tell(error, reached)
                raise
    return found


def _tell(error: OSError, path: str) -> None:
    """Name the whole path in an error; raise ForeignFileError in its place when something else lies there."""
    if error.errno in _SOMETHING_ELSE:
        raise foreign(path, _kind_of(path)) from error
    if error.errno == errno.ENOTDIR:
        kind = _kind_of(path)
        if not kind:  # one above it is none, so there is nothing here
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
        raise foreign(path, kind, "a directory of the log") from error
    error.filename = path


def _kind_of(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError as error:
        pass_on_handlers(error)
        return 0


_NAMES = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFREG: "a file",
}


def foreign(path: str, mode: int, wanted: str = "a file of the log") -> ForeignFileError:
    """Return the error of something that lies where a file or a directory of the log belongs."""
    found = _NAMES.get(stat.S_IFMT(mode), "something else")
    return ForeignFileError(
        f"{found} lies where {wanted} belongs", path=path,
        hint="it is not followed, opened or removed: find out who made it, and move it away",
    )  # fmt: skip


def open_descriptor(path: str, flags: int, mode: int = 0o777) -> int:
    """Open the file as `opened` does, and return its number, which the caller closes."""
    return opened(path, flags, mode).detach()


def status(path: str) -> os.stat_result:
    """Return what is known of the path; of a link itself, if it is one. What only looks may pass through others."""
    try:
        return os.lstat(path)
    except OSError as error:
        pass_on_handlers(error)
        _tell(error, path)
        raise


def listdir(path: str) -> list[str]:
    """Return the names in the directory."""
    with opened(path, os.O_RDONLY | os.O_DIRECTORY, 0) as fd:
        return os.listdir(fd)


def _but_files(entries: Iterable[os.DirEntry[str]]) -> Iterator[str]:
    return (entry.name for entry in entries if not entry.is_file(follow_symlinks=False))


def list_but_files(path: str) -> list[str]:
    """Return the names of all in the directory but plain files: where there should be directories only."""
    with opened(path, os.O_RDONLY | os.O_DIRECTORY, 0) as fd, os.scandir(fd) as entries:
        return list(_but_files(entries))


def rename(old: str, new: str) -> None:
    """Give the file or directory another name; a link that has that name is replaced itself."""
    with _directory_of(old) as source:
        name = os.path.basename(old)
        _within(new, lambda new_name, within: os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=within))


def unlink(path: str) -> None:
    """Remove a file's name, or a link."""
    _within(path, lambda name, within: os.unlink(name, dir_fd=within))


def mkdir(path: str, mode: int = 0o777) -> None:
    """Make a directory."""
    _within(path, lambda name, within: os.mkdir(name, mode, dir_fd=within))


def rmdir(path: str) -> None:
    """Remove an empty directory."""
    _within(path, lambda name, within: os.rmdir(name, dir_fd=within))
