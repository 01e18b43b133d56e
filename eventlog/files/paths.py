"""What lies at a path, asked so that a signal handler's error goes through.

`os.path.exists`, its siblings and `os.path.realpath` take any OSError for an answer, and so also the TimeoutError that
a handler raises within them: an opening would say that no log lies where one does.
"""

from __future__ import annotations

import os
import stat

from eventlog.files.signal_handlers import pass_on_handlers


def is_there(path: str) -> bool:
    """Tell whether anything lies at the path, links included that lead nowhere."""
    return _mode(path, follow_symlinks=False) is not None


def is_directory(path: str) -> bool:
    """Tell whether a directory lies at the path, or where a link at it leads."""
    mode = _mode(path, follow_symlinks=True)
    return mode is not None and stat.S_ISDIR(mode)


def is_other_than_directory(path: str) -> bool:
    """Tell whether something lies there, or where a link leads, and is no directory."""
    mode = _mode(path, follow_symlinks=True)
    return mode is not None and not stat.S_ISDIR(mode)


def real_path(path: str) -> str:
    """Return the path without links, also of what is still to be made."""
    try:
        return os.path.realpath(path, strict=True)
    except OSError as error:
        pass_on_handlers(error)
        return os.path.realpath(path)


def _mode(path: str, *, follow_symlinks: bool) -> int | None:
    try:
        return os.stat(path, follow_symlinks=follow_symlinks).st_mode
    except (OSError, ValueError) as error:
        pass_on_handlers(error)
        return None
