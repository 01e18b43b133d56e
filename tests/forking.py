"""What a test does in a forked child of its own process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable


def fork(in_child: Callable[[], object]) -> int:
    """Fork; the child runs the function and exits with 0, or with 1 and a message. Returns its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(60)  # a deadlock ends the child
            in_child()
            status = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
