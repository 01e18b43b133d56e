"""Control pages: one mapped page of 64-bit words, shared by all processes."""

from __future__ import annotations

import contextlib
import os

from eventlog.files.filesystem import CREATE_MODE, FileSystem
from eventlog.files.mapping import Bytes

PAGE_BYTES = 4096


def open_page(fs: FileSystem, path: str, magic: int, *, writable: bool) -> Bytes | None:
    """Map the page at ``path``; None when there is none, or when it is no such page."""
    try:
        fd = fs.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if fs.size(fd) < PAGE_BYTES or fs.pread(fd, 8, 0) != magic.to_bytes(8, "little"):
            return None
        return (fs.map_shared if writable else fs.map_readonly)(fd, PAGE_BYTES)
    finally:
        fs.close(fd)


def create_page(fs: FileSystem, path: str, magic: int) -> Bytes:
    """Put a fresh page at ``path``, by rename, with all its blocks allocated: a store can never hit a full disk."""
    temporary = path + ".tmp"
    fd = fs.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, CREATE_MODE)
    try:
        fs.write_all(fd, [magic.to_bytes(8, "little").ljust(PAGE_BYTES, b"\0")], 0)
        page = fs.map_shared(fd, PAGE_BYTES)
    except BaseException:
        with contextlib.suppress(OSError):
            fs.unlink(temporary)
        raise
    finally:
        fs.close(fd)
    fs.rename(temporary, path)
    return page
