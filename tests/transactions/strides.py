"""Which steps of a script a test crashes before: every few, from a random one on, or with a stride of 1 every one.

``EVENTLOG_CRASH_STRIDE`` is the number of steps from one crash to the next.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator

STRIDE = int(os.environ.get("EVENTLOG_CRASH_STRIDE", "3"))


def steps() -> Iterator[int]:
    """Yield the numbers of steps, without end."""
    return itertools.count(random.randrange(STRIDE), STRIDE)
