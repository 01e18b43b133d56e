"""Several files are synced at once, and no sync outlives the call that asked for it."""

from __future__ import annotations

import errno
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog
from eventlog.errors import StorageError
from eventlog.files import syncs_at_once
from eventlog.files.filesystem import FileSystem
from eventlog.files.syncs_at_once import sync_at_once
from tests.conftest import RunPython

SECONDS = 60.0
FDS = [11, 12, 13, 14]


class NothingMore:
    """Sends the helper home that takes it, as if it had waited for long."""

    def help(self) -> None:
        raise queue.Empty


@pytest.fixture(autouse=True)
def helpers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Helpers of the test's own, who stay until its end: on one that is about to leave nobody can count."""
    made = syncs_at_once._Helpers()
    monkeypatch.setattr(syncs_at_once, "_helpers", made)
    monkeypatch.setattr(syncs_at_once, "_IDLE_SECONDS", 10 * SECONDS)
    yield
    for _ in range(syncs_at_once._MOST_HELPERS):
        made._rounds.put(NothingMore())


def no_failure(fd: int, error: OSError) -> None:
    raise AssertionError(fd) from error


def test_all_files_are_synced_at_once() -> None:
    """No sync begins after another one's end: here none ends before all have begun."""
    everyone = threading.Barrier(len(FDS))
    for _ in range(3):
        sync_at_once(lambda _: everyone.wait(SECONDS), FDS, no_failure)


def test_each_failure_is_told_and_keeps_no_other_file_from_the_device() -> None:
    """A file that cannot be synced is named with its error; the others are synced."""
    synced, failed = [], []

    def sync(fd: int) -> None:
        synced.append(fd)
        if fd % 2:
            raise OSError(errno.EIO, "broken")

    sync_at_once(sync, FDS, lambda fd, error: failed.append((fd, error.errno)))
    assert sorted(synced) == FDS
    assert sorted(failed) == [(11, errno.EIO), (13, errno.EIO)]


def test_a_file_whose_helper_came_to_another_end_does_not_count_as_synced() -> None:
    """An error that is none of the file's, such as too little memory, ends a helper: its file is told as failed."""
    everyone = threading.Barrier(len(FDS))
    me = threading.current_thread()
    helpers: list[threading.Thread] = []
    failed = []

    def sync(_: int) -> None:
        if threading.current_thread() is not me:
            helpers.append(threading.current_thread())
        everyone.wait(SECONDS)
        if threading.current_thread() is not me:
            raise MemoryError

    hook, threading.excepthook = threading.excepthook, lambda _: None
    try:
        sync_at_once(sync, FDS, lambda fd, error: failed.append((fd, error.errno)))
    finally:
        for helper in helpers:  # they are on their way to the hook
            helper.join(SECONDS)
        threading.excepthook = hook
    assert len(failed) == len(FDS) - 1
    assert {code for _, code in failed} == {errno.EIO}


def is_waiting_for_helpers(thread: int) -> bool:
    frame = sys._current_frames()[thread]
    while frame is not None:
        if frame.f_code.co_name == "end":
            return True
        frame = frame.f_back
    return False


def test_an_interrupt_leaves_no_sync_under_way() -> None:
    """The caller waits for what has begun, whatever comes in between, and is told what failed."""
    caller = threading.get_ident()
    everyone = threading.Barrier(2)
    ended, failed = [], []

    def sync(fd: int) -> None:
        everyone.wait(SECONDS)
        if threading.get_ident() == caller:
            raise KeyboardInterrupt
        deadline = time.monotonic() + SECONDS
        while not is_waiting_for_helpers(caller) and time.monotonic() < deadline:
            time.sleep(0)
        ended.append(fd)
        raise OSError(errno.EIO, "broken")

    with pytest.raises(KeyboardInterrupt):
        sync_at_once(sync, FDS[:2], lambda fd, error: failed.append(fd))
    assert len(ended) == 1
    assert failed == ended


def test_helpers_end_when_nobody_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has committed once keeps no threads for it; the next commit gets new ones."""
    monkeypatch.setattr(syncs_at_once, "_IDLE_SECONDS", 0.001)
    for _ in range(2):
        threads: set[threading.Thread] = set()
        everyone = threading.Barrier(len(FDS))

        def sync(fd: int, threads: set[threading.Thread] = threads, everyone: threading.Barrier = everyone) -> None:
            threads.add(threading.current_thread())
            everyone.wait(SECONDS)

        sync_at_once(sync, FDS, no_failure)
        helpers = threads - {threading.current_thread()}
        assert len(helpers) == len(FDS) - 1
        for helper in helpers:
            helper.join(SECONDS)
            assert not helper.is_alive()


def test_a_forked_child_has_helpers_of_its_own(run_python: RunPython) -> None:
    """The threads of the parent are not there in a forked child: it starts its own."""
    script = """
import os, threading
from eventlog.files.syncs_at_once import sync_at_once
def all_at_once():
    everyone = threading.Barrier(3)
    sync_at_once(lambda _: everyone.wait(60), [1, 2, 3], print)
all_at_once()
child = os.fork()
if not child:
    all_at_once()
    os._exit(7)
answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_python(script) == 7


class FailsInHelpers(FileSystem):
    """Syncs at once, as the real file system does; the files of one path fail."""

    broken = "nothing"

    def sync(self, fd: int) -> None:  # type: ignore[override]
        if self.broken in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EIO, "broken")
        os.fdatasync(fd)

    def sync_all(self, fds, failed) -> None:  # type: ignore[no-untyped-def]
        sync_at_once(self.sync, fds, failed)


@pytest.fixture
def device() -> FailsInHelpers:
    return FailsInHelpers()


@pytest.fixture
def log(tmp_path: Path, device: FailsInHelpers) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log", filesystem=device) as log:
        log.create_topic("t", partitions=4)
        yield log


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds out the path of a descriptor by /proc")
def test_a_transaction_fails_as_a_whole_when_one_of_its_partitions_cannot_be_synced(
    log: eventlog.EventLog, device: FailsInHelpers
) -> None:
    """The partition whose device failed is refused from then on; the others take what comes next, and nothing else."""
    producer = log.producer(transactional_id="id", durability="disk")

    def transact(partitions: list[int]) -> None:
        with producer.transaction():
            for number in partitions:
                producer.send("t", b"value", partition=number)

    transact([0, 1, 2, 3])
    device.broken = "/t/2/"
    with pytest.raises(StorageError) as raised:
        transact([0, 1, 2, 3])
    device.broken = "nothing"
    assert raised.value.partition == 2
    partitions = log.topic("t").partitions
    assert [partition.log_end_offset for partition in partitions] == [1, 1, 1, 1]
    assert [partition.is_poisoned for partition in partitions] == [False, False, True, False]
    transact([0, 1, 3])
    assert [partition.log_end_offset for partition in partitions] == [2, 2, 1, 2]


def test_a_file_system_of_ones_own_syncs_in_order(tmp_path: Path) -> None:
    """Who replaces ``sync`` gets one call after the other, in the order of the files, in the caller's thread."""
    calls = []

    class InOrder(FileSystem):
        def sync(self, fd: int) -> None:  # type: ignore[override]
            calls.append((fd, threading.get_ident()))

    InOrder().sync_all(FDS, no_failure)
    assert calls == [(fd, threading.get_ident()) for fd in FDS]
