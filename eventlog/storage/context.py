"""What all partitions of one open log share."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from eventlog.clock import Clock
from eventlog.files.filesystem import FileSystem
from eventlog.storage.open_files import OpenFiles


@attrs.define
class LogContext:
    """``session`` is the number under which this machine's processes trust each other's heads: 0 for none.

    A process that may only read a log that nobody else has open trusts no head, and looks for itself. Once ``closed``,
    no partition may be opened: the session may be over, and its number stands for nothing any more.
    """

    fs: FileSystem
    clock: Clock
    open_files: OpenFiles
    session: int
    readonly: bool = False
    look_for_session: Callable[[], int] = int  # for a reader who was alone: the number, once writers have come
    closed: bool = False
