"""Wait for a partition's ``flock`` while another process holds it, and not for ever.

A blocking ``flock`` cannot be given a time limit. So whoever finds it taken sleeps where its holder wakes readers: on
the published end, which changes just before the lock is free. Holders that publish nothing are looked for as well, by
the clock. That is as quick as the kernel's own queue, and as fair: a pause alone would lose against a busy writer.
"""

from __future__ import annotations

import fcntl
import time

from eventlog.files.notify import Word, wait
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L
from eventlog.storage.partition_files import PartitionFiles

_FIRST_PAUSE, _LONGEST_PAUSE = 1e-3, 10e-3  # seconds between looks at a lock whose holder publishes nothing
_LEAST_LOOKS = 5  # before giving up after a wait: if everything stood still, its holder has its turn first


def wait_for_lock(log: PartitionFiles, fd: int, began: float, patience: float) -> None:
    """Take the lock within ``patience`` seconds of ``began`` (monotonic). Raises LockTimeoutError.

    Interrupted, it may have taken it: the caller frees it in any case.
    """
    words, pause, looks = log.head.words, _FIRST_PAUSE, 0
    while True:
        end = words.item(L.HEAD_END)
        if end != L.END_DELETED:
            words[L.HEAD_SLEEPING] = end + 1
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pass_on_handlers(error)
            if not looks:
                log.lock.refuse_deadlock()
            left = began + patience - time.monotonic()
            if left <= 0 and (looks >= _LEAST_LOOKS or patience <= 0):
                raise log.lock.timeout_error(patience) from None
        else:
            return
        wait([Word(words, L.HEAD_END, end)], pause)
        pause, looks = min(1.5 * pause, _LONGEST_PAUSE), looks + 1
