"""Control pages: one mapped page of 64-bit words, shared by all processes."""

from __future__ import annotations

import os

from eventlog.errors import ForeignFileError
from eventlog.files.filesystem import FileSystem
from eventlog.files.mapping import Bytes
from eventlog.files.signal_handlers import pass_on_handlers, suppress

PAGE_BYTES = 4096


def open_page(fs: FileSystem, path: str, magic: int, *, writable: bool) -> Bytes | None:
    """Map the page at ``path``; None when there is none, or when it is no such page."""
    try:
        file = fs.opened(path, os.O_RDWR if writable else os.O_RDONLY)
    except (FileNotFoundError, ForeignFileError) as error:
        pass_on_handlers(error)
        return None
    with file as fd:
        if file.status.st_size < PAGE_BYTES or fs.pread(fd, 8, 0) != magic.to_bytes(8, "little"):
            return None
        return (fs.map_shared if writable else fs.map_readonly)(fd, PAGE_BYTES)


def create_page(fs: FileSystem, path: str, magic: int) -> Bytes:
    """Put a fresh page at ``path``, by rename, with all its blocks allocated: a store can never hit a full disk.

    What lies there and is no page is put aside first: nothing can have it mapped.
    """
    if fs.exists(path) and open_page(fs, path, magic, writable=False) is None:
        fs.put_aside(path)
    temporary = path + ".tmp"
    _clear(fs, temporary)
    try:
        with fs.opened(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
            fs.write_all(fd, [magic.to_bytes(8, "little").ljust(PAGE_BYTES, b"\0")], 0)
            page = fs.map_shared(fd, PAGE_BYTES)
        fs.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            fs.unlink(temporary)
        raise
    return page


def _clear(fs: FileSystem, temporary: str) -> None:
    """Take away what a crash, or somebody else, has left there: it is not to be written to."""
    try:
        fs.unlink(temporary)
    except FileNotFoundError as error:
        pass_on_handlers(error)
    except ForeignFileError:
        fs.put_aside(temporary)
