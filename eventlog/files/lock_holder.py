"""Which process holds a lock, where the system tells: ``/proc/locks`` of Linux (proc(5)).

For messages, and for those who may not open a lock's file. Locks of processes in other containers are not shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from eventlog.files.signal_handlers import pass_on_handlers

_TABLE = "/proc/locks"


def lock_holder(path: str) -> int | None:
    """Return the id of a process that holds a ``flock`` on the file; None when nobody is known to."""
    try:
        found = os.stat(path)
        with open(_TABLE, encoding="ascii", errors="replace") as table:
            held = list(_held(table))
    except OSError as error:
        pass_on_handlers(error)
        return None
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    pids = [pid for pid, where, inode in held if inode == found.st_ino and where == device]
    if not pids:  # some file systems show another device there than stat does
        pids = [pid for pid, _, inode in held if inode == found.st_ino]
    return pids[0] if pids else None


def _held(table: Iterable[str]) -> Iterator[tuple[int, str, int]]:
    """Yield process, device and inode of each ``flock``.

    >>> list(_held(["1: FLOCK  ADVISORY  WRITE 815 fe:00:1234 0 EOF", "1: -> FLOCK ADVISORY WRITE 9 fe:00:1234 0 EOF"]))
    [(815, 'fe:00', 1234)]
    """
    for line in table:
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK":
            device, _, inode = fields[5].rpartition(":")
            yield int(fields[4]), device, int(inode)


def describe_process(pid: int) -> str:
    """Return what to call the process in a message, as ``process 815 (python3, stopped)``."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
    except OSError as error:
        pass_on_handlers(error)
        return f"process {pid}"
    stopped = ", stopped" if rest.split()[:1] in (["T"], ["t"]) else ""
    return f"process {pid} ({name!r}{stopped})" if not name.isprintable() else f"process {pid} ({name}{stopped})"
