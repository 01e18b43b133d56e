"""Sleeping on a mapped word until another thread or process changes it."""

from __future__ import annotations

import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventlog.files import notify
from eventlog.files.mapping import map_readonly, map_shared
from eventlog.files.notify import Word, Words, wait, wake

RunPython = Callable[..., Any]
LONG = 60.0

WAYS = ["as the kernel does", "by looking again and again"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every test runs with the kernel's futexes, and with what is left where there are none."""
    if request.param == WAYS[1]:
        monkeypatch.setattr(notify, "_syscall", None)
    yield request.param


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page"
    path.write_bytes(bytes(mmap.PAGESIZE))
    return path


def words_of(path: Path, *, writable: bool = True) -> Words:
    fd = os.open(path, os.O_RDWR)
    try:
        return (map_shared if writable else map_readonly)(fd, mmap.PAGESIZE).view(np.uint64)
    finally:
        os.close(fd)


def wait_until_changed(words: Words, places: list[int], seconds: float = LONG) -> None:
    """Sleep as a consumer does: look, sleep, look again."""
    while all(words.item(place) == 0 for place in places):
        wait([Word(words, place, 0) for place in places], seconds)


@pytest.mark.parametrize("count", [1, 2, 128, 129, 300])
def test_any_of_many_words_wakes_the_sleeper(page: Path, way: str, count: int) -> None:
    """One word, up to 128 in one system call, or more: a change of any one ends the sleep of another thread."""
    words = words_of(page)
    for changed in {0, count // 2, count - 1}:
        words[:] = 0
        sleeper = threading.Thread(target=wait_until_changed, args=(words, list(range(count))))
        sleeper.start()
        words[changed] = 1
        wake(words, changed)
        sleeper.join(LONG)
        assert not sleeper.is_alive()


@pytest.mark.parametrize("count", [1, 3])
def test_a_word_that_has_changed_already(page: Path, count: int) -> None:
    """There is no sleep when a word is not what the caller thinks: it returns at once, and says so."""
    words = words_of(page)
    words[count - 1] = 5
    assert wait([Word(words, place, 0) for place in range(count)], LONG) is True


def test_a_word_that_has_changed_already_is_seen_when_looking(page: Path, way: str) -> None:
    """The same without the kernel's help: no sleep."""
    words = words_of(page)
    words[0] = 2**40
    wait([Word(words, 0, 5)], LONG)  # would last for a minute otherwise, and for the test's whole time if lost


@pytest.mark.parametrize("count", [1, 3, 200])
def test_the_time_is_over(page: Path, way: str, count: int) -> None:
    """Nothing changes: the sleep ends by itself, and does not claim a change."""
    words = words_of(page)
    assert wait([Word(words, place, 0) for place in range(count)], 0.01) is False


def test_across_processes_through_other_mappings(page: Path, run_python: RunPython, way: str) -> None:
    """Another process that maps the file for itself wakes the sleeper, whose own mapping may be read-only."""
    words = words_of(page, writable=False)
    assert not words.flags.writeable
    sleeper = threading.Thread(target=wait_until_changed, args=(words, [0, 7]))
    sleeper.start()
    script = """
import os, numpy as np
from eventlog.files.mapping import map_shared
from eventlog.files.notify import wake
words = map_shared(os.open(ARGS[0], os.O_RDWR), 4096).view(np.uint64)
words[7] = 1
wake(words, 7)
"""
    run_python(script, page)
    sleeper.join(LONG)
    assert not sleeper.is_alive()


def test_everyone_wakes(page: Path, way: str) -> None:
    """One wake reaches all sleepers on the word, whether they wait for it alone or among others."""
    words = words_of(page)
    sleepers = [
        threading.Thread(target=wait_until_changed, args=(words, [3] if n % 2 else [1, 3, 5])) for n in range(8)
    ]
    for one in sleepers:
        one.start()
    words[3] = 1
    wake(words, 3)
    for one in sleepers:
        one.join(LONG)
    assert not any(one.is_alive() for one in sleepers)


def test_words_beyond_32_bits(page: Path) -> None:
    """A futex compares 32 bits: an expected value above 4 billion is compared by its low half, and works."""
    words = words_of(page)
    words[0] = 2**40 + 7
    assert wait([Word(words, 0, 2**40 + 7)], 0.01) is False
    assert wait([Word(words, 0, 2**40 + 8)], LONG) is True
    assert wait([Word(words, 0, 2**40 + 8), Word(words, 1, 0)], LONG) is True


def test_a_signal_may_end_the_sleep(page: Path) -> None:
    """A signal in the middle of a sleep runs its handler, whose exception comes out of wait()."""
    words = words_of(page)

    def handler(*_: object) -> None:
        raise InterruptedError("the handler ran")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(InterruptedError, match="the handler ran"):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            while True:
                wait([Word(words, 0, 0)], LONG)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_kernel_without_the_call(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel lacks futex_waitv (before Linux 5.16), several words are watched by looking at them."""
    monkeypatch.setattr(notify, "_WAITV_NUMBER", 100_000)  # no such system call: ENOSYS
    words = words_of(page)
    sleeper = threading.Thread(target=wait_until_changed, args=(words, [0, 1]))
    sleeper.start()
    words[1] = 1
    sleeper.join(LONG)
    assert not sleeper.is_alive()
