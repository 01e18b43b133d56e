"""Control pages: one mapped page of 64-bit words, shared by all processes."""

from __future__ import annotations

import os

from eventlog.files.filesystem import FileSystem
from eventlog.files.mapping import Bytes
from eventlog.files.signal_handlers import pass_on_handlers, suppress

PAGE_BYTES = 4096


def open_page(fs: FileSystem, path: str, magic: int, *, writable: bool) -> Bytes | None:
    """Map the page at ``path``; None when there is none, or when it is no such page."""
    try:
        opened = fs.opened(path, os.O_RDWR if writable else os.O_RDONLY)
    except FileNotFoundError as error:
        pass_on_handlers(error)
        return None
    with opened as fd:
        if fs.size(fd) < PAGE_BYTES or fs.pread(fd, 8, 0) != magic.to_bytes(8, "little"):
            return None
        return (fs.map_shared if writable else fs.map_readonly)(fd, PAGE_BYTES)


def create_page(fs: FileSystem, path: str, magic: int) -> Bytes:
    """Put a fresh page at ``path``, by rename, with all its blocks allocated: a store can never hit a full disk."""
    temporary = path + ".tmp"
    try:
        with fs.opened(temporary, os.O_RDWR | os.O_CREAT) as fd:
            fs.write_all(fd, [magic.to_bytes(8, "little").ljust(PAGE_BYTES, b"\0")], 0)
            page = fs.map_shared(fd, PAGE_BYTES)
    except BaseException:
        with suppress(OSError):
            fs.unlink(temporary)
        raise
    fs.rename(temporary, path)
    return page
