"""A file that this process opens is closed once, whatever happens to whoever opened it."""

from __future__ import annotations

import errno
import gc
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import eventlog
from eventlog.files.file_lock import FileLock, is_locked
from eventlog.files.filesystem import FileSystem
from tests.interrupting import Interrupter, open_files

PACKAGE = Path(eventlog.__file__).parent


class CountingFileSystem(FileSystem):
    """Remembers what was closed; ``failing`` fails to close, and the file is closed even so, as on Linux."""

    def __init__(self) -> None:
        self.closed: list[int] = []
        self.failing = False

    def close(self, fd: int) -> None:  # type: ignore[override]
        self.closed.append(fd)
        os.close(fd)
        if self.failing:
            raise OSError(errno.EIO, "a device's late error")


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    return str(file)


def test_it_is_closed_by_the_block_and_only_once(path: str) -> None:
    """``with`` gives the descriptor and closes it; closing again, or forgetting the object, does nothing more."""
    fs = CountingFileSystem()
    file = fs.opened(path, os.O_RDONLY)
    with file as fd:
        assert fs.pread(fd, 1, 0) == b"x"
    file.close()
    assert (file.fd, fs.closed) == (-1, [fd])
    del file
    assert fs.closed == [fd]


def test_it_is_closed_when_it_is_forgotten(path: str) -> None:
    """What nobody has any more is closed: so an interrupt in its owner's hands cannot leave it open."""
    fs = CountingFileSystem()
    fd = fs.opened(path, os.O_RDONLY).fd
    assert fs.closed == [fd]


def test_no_handler_runs_while_a_forgotten_file_is_closed(tmp_path: Path, path: str, interrupter: Interrupter) -> None:
    """A file that was kept open is closed when it is forgotten, and an interrupt in that moment reaches the caller."""
    fs, unraisable = FileSystem(), []
    before, sys.unraisablehook = sys.unraisablehook, unraisable.append

    def forget_many() -> None:
        for _ in range(200):
            fs.opened(path, os.O_RDONLY).kept()

    try:
        for _ in interrupter.rounds(300):
            interrupter.call(forget_many, 1e-3)
            assert open_files(tmp_path) == []
    finally:
        sys.unraisablehook = before
    assert unraisable == []


def test_a_failed_close_is_told_and_not_repeated(path: str) -> None:
    """The error of a close reaches the caller; the number may belong to another file by then, and is left alone."""
    fs = CountingFileSystem()
    fs.failing = True
    with pytest.raises(OSError, match="late error"), fs.opened(path, os.O_RDONLY) as fd:
        pass
    assert fs.closed == [fd]


def test_what_cannot_be_opened_is_not_closed(tmp_path: Path) -> None:
    """A missing file gives FileNotFoundError, and no number is closed."""
    fs = CountingFileSystem()
    with pytest.raises(FileNotFoundError):
        fs.opened(str(tmp_path / "missing"), os.O_RDONLY)
    assert fs.closed == []


def test_an_interrupt_leaves_it_neither_open_nor_is_it_swallowed(path: str, interrupter: Interrupter) -> None:
    """Interrupted at any moment, a block that opens a file has closed it, and the interrupt arrives.

    The fixture sees that nothing is open in the end. Swallowed, an interrupt would leave the block done, and no other
    one would come.
    """
    fs = FileSystem()

    def read_until_interrupted() -> None:
        for _ in range(100_000):
            with fs.opened(path, os.O_RDONLY) as fd:
                fs.pread(fd, 1, 0)

    for _ in range(3000):
        assert interrupter.call(read_until_interrupted, 100e-6)[1] is not None


@pytest.mark.parametrize("in_a_circle", [False, True], ids=["alone", "in a circle"])
def test_an_interrupt_does_not_keep_what_is_forgotten_open(
    path: str, interrupter: Interrupter, in_a_circle: bool
) -> None:
    """A file that nobody closes is closed with its object, and no interrupt is swallowed in that moment.

    Python ignores what is raised while an object goes, and says so: pytest makes that an error.
    """
    fs = FileSystem()

    def forget() -> None:
        for _ in range(50):
            file = fs.opened(path, os.O_RDONLY)
            if in_a_circle:
                file.itself = file  # type: ignore[attr-defined]  # only the garbage collector frees it
        gc.collect(0)

    for _ in interrupter.rounds(1000):
        interrupter.call(forget, 200e-6)
    gc.collect()


def test_a_lock_whose_closing_was_interrupted_is_free(tmp_path: Path, interrupter: Interrupter) -> None:
    """Closed again behind an interrupt, a lock is free at once, even while the interrupt itself is kept."""
    fs = FileSystem()
    paths = [str(tmp_path / f"lock-{number}") for number in range(20)]
    for _ in interrupter.rounds(1500):
        locks = [FileLock(fs, path) for path in paths]
        for lock in locks:
            lock.acquire()
        _, kept = interrupter.call(lambda locks=locks: [lock.close() for lock in locks], 60e-6)
        for lock in locks:
            lock.close()
        assert [path for path in paths if is_locked(fs, path)] == []
        del kept


def test_a_lock_is_not_given_up_before_its_holder_had_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all processes stood still for longer than a waiter's patience, it still tries for as long as it pauses."""
    holder, waiter = (FileLock(FileSystem(), str(tmp_path / "lock")) for _ in range(2))
    elapsed, pauses = [0.0], []

    def stand_still(seconds: float) -> None:
        pauses.append(seconds)
        elapsed[0] += 1.0
        if len(pauses) == frees_at:
            holder.release()

    monkeypatch.setattr(
        "eventlog.files.file_lock.time", SimpleNamespace(monotonic=lambda: elapsed[0], sleep=stand_still)
    )
    for frees_at in (5, 10**9):
        holder.acquire()
        assert waiter.acquire_within(0.02) == (frees_at == 5)
        waiter.release()
    assert 0.02 <= sum(pauses[5:]) < 0.03
    for lock in (holder, waiter):
        lock.close()


def test_nothing_else_opens_a_file_by_its_number() -> None:
    """Every file of a log is opened by `FileSystem.opened`: whoever calls ``fs.open`` may lose what it returns."""
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        if "testing" not in path.parts
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bfs\.open\(|\bos\.open\(", line)
    ]
    assert found == ["cli/group.py: os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())"]


def test_a_number_that_another_opening_of_the_same_file_has_is_lost(path: str) -> None:
    """What is kept is known by the very opening, not by the file: a lock belongs to the opening. Reading and writing at
    positions changes nothing of that.
    """
    fs = FileSystem()
    file = fs.opened(path, os.O_RDWR).kept()
    fs.pwrite(file.fd, b"content", 3)
    fs.pwritev(file.fd, [b"of", b"parts"], 10)
    assert fs.pread(file.fd, 7, 3) == b"content"
    assert not file.is_lost()
    number = file.fd
    os.close(number)
    assert file.is_lost()
    with fs.opened(path, os.O_RDWR) as other:
        assert other == number
        assert file.is_lost()
