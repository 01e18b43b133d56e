"""A call that comes in the middle of another one of its own thread works, or is refused at once; nothing hangs.

Signal handlers and finalizers may run between any two bytecodes. Here they run before random lines of the library's
calls: each test is repeatable. `test_signals.py` does the same with signals.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import eventlog
from eventlog.files.mutex import Mutex
from tests.interrupting import called_before_line
from tests.reentering import ALLOWED, CALLS, World, allowed, check

pytestmark = pytest.mark.timeout(120, method="thread")

SEED = 20261130
PACKAGE = Path(eventlog.__file__).parent
PLACES = 3  # lines of each call, before which each other call is made
# Between these and the call that follows, or within the one bytecode that they are for, Python runs no handler.
UNSEEN = ("fcntl.flock(file.fd, fcntl.LOCK_UN)", "mutex.release()", "self._mutex.release()")


def is_traced(code: CodeType) -> bool:
    return code.co_filename.startswith(str(PACKAGE)) and code.co_name not in ("__del__", "_is_owned")


@pytest.fixture
def world(log_path: Path) -> Iterator[World]:
    made = World(log_path)
    yield made
    made.log.close()


def lines_of(world: World, call: Callable[[World], Any]) -> int:
    """How many lines the call has, to the next power of two."""
    count, where = 8, [""]
    while where:
        count, where = 2 * count, []
        with contextlib.suppress(*ALLOWED):
            called_before_line(count, lambda: call(world), is_traced, lambda: None, where, UNSEEN)
    world.close_clients()
    world.renew()
    return count


@pytest.mark.parametrize("outer", CALLS)
def test_a_call_within_a_call_works_or_is_refused(world: World, outer: str, run_python: Any) -> None:
    """Whatever is called before whatever line of whatever call: both end, and nothing is held afterwards."""
    draw = random.Random(f"{SEED}-{outer}")
    print(f"seed {SEED}")
    lines = lines_of(world, CALLS[outer])
    for inner, number in ((inner, draw.randrange(lines)) for inner in CALLS for _ in range(PLACES)):
        where: list[str] = []
        try:
            allowed(
                lambda number=number, inner=inner, where=where: called_before_line(
                    number, lambda: CALLS[outer](world), is_traced,
                    lambda: allowed(lambda: CALLS[inner](world)), where, UNSEEN,
                )
            )  # fmt: skip
            if "close" in inner or "close" in outer:
                world.close_clients()
                world.renew()
        except BaseException as error:
            error.add_note(f"{inner} at {where} of {outer}")
            raise
    check(world, run_python)


def test_a_mutex_knows_its_thread() -> None:
    """Who holds it is refused at once; who does not waits; who looks finds it taken."""
    mutex = Mutex()
    assert not mutex.locked()
    with mutex:
        assert mutex.is_mine() and mutex.locked()
        assert not mutex.take_if_free()
        with pytest.raises(eventlog.ReentrantCallError), mutex:
            pass
        with mutex.again():
            pass
        assert mutex.is_mine()
    assert not mutex.is_mine()
    assert not mutex.locked()
