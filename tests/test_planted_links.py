"""No link that somebody planted in a log's directory is followed: nothing outside of it is ever touched."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.files import nofollow
from eventlog.files.filesystem import FileSystem
from tests.planting import KINDS, every_call, full_log, places, plant, tree


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed log with every kind of file, which tests copy."""
    path = tmp_path_factory.mktemp("original") / "log"
    full_log(path)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What must not change."""
    home = tmp_path / "home"
    (home / "0" / "deeper").mkdir(parents=True)
    for name in ("diary", "0/thesis", "0/deeper/photo", "lock"):
        (home / name).write_bytes(b"precious")
    os.mkfifo(home / "pipe")
    return home


def test_the_log_has_every_kind_of_file(original: Path) -> None:
    """What is planted below lies in the place of each of them."""
    found = places(original)
    assert {"eventlog.json", "lock", "session.lock", "control", "topics", "groups", "transactions"} <= set(found)
    kinds = {os.path.splitext(path)[1] or os.path.basename(path) for path in found}
    assert {".log", ".index", ".timeindex", ".json", "head", "owner", "members"} <= kinds


@pytest.mark.parametrize("part", range(4))
def test_in_the_place_of_every_file_and_directory(original: Path, home: Path, tmp_path: Path, part: int) -> None:
    """Whatever lies in the place of whichever file: every call works or raises an EventLogError that names the place.

    And nothing outside of the log changes, whatever is called.
    """
    before = tree(home)
    for number, place in enumerate(places(original)):
        if number % 4 == part:
            kind = KINDS[number % len(KINDS)]
            shutil.copytree(original, tmp_path / "log")
            plant(tmp_path / "log" / place, kind, home)
            assert (every_call(tmp_path / "log"), place, kind) == ([], place, kind)
            assert tree(home) == before, (place, kind)
            shutil.rmtree(tmp_path / "log")


_EMPTY_PLACES = (
    "topics/~gone-x", "topics/~new-x", "topics/~gone-x/0", "topics/~gone-x/0/head", "topics/new", "control.tmp",
    "topics/t/0/head.tmp", "topics/t/0/00000000000000000000.torn.0", "topics/t/0/00000000000000000099.snapshot",
    "topics/t/0/00000000000000000999.log", "topics/t/7", "groups/new", "groups/g/members/stranger",
    "topics/t/0/00000000000000000032.snapshot", "topics/__consumer_offsets/3/snapshot",
    "groups/g/state.json.tmp", "transactions/new", "topics/t/topic.json.1.tmp", "topics/t/0/stray.tmp",
)  # fmt: skip


@pytest.mark.parametrize("place", _EMPTY_PLACES)
def test_where_nothing_was(original: Path, home: Path, tmp_path: Path, place: str) -> None:
    """The same holds where no file is, but one could come, or be left by a crash; and the log itself still works."""
    before = tree(home)
    kind = KINDS[_EMPTY_PLACES.index(place) % len(KINDS)]
    log_path = tmp_path / "log"
    shutil.copytree(original, log_path)
    (log_path / place).parent.mkdir(parents=True, exist_ok=True)
    plant(log_path / place, kind, home)
    assert (every_call(log_path), kind) == ([], kind)
    assert tree(home) == before
    with eventlog.open(log_path) as log:
        log.topic("other").partitions[0].append([b"works"])


def test_a_deletion_that_finds_a_link(tmp_path: Path, home: Path) -> None:
    """A topic with links in it is deleted, the links with it, and not what they lead to."""
    before = tree(home)
    with eventlog.open(tmp_path / "log") as log:
        partition = log.create_topic("t").partitions[0]
        partition.append([b"x"])
        directory = tmp_path / "log" / "topics" / "t"
        os.symlink(home, directory / "7")
        os.symlink(home / "diary", directory / "0" / "00000000000000000001.log")
        os.symlink(home, directory / "notes")
        log.delete_topic("t")
        assert not directory.exists() and log.topics() == []
    assert tree(home) == before
    assert os.listdir(tmp_path / "log" / "topics") == []


def test_the_log_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    """The way to the log may lead through links, which whoever opens it has made; within it none is followed."""
    real = tmp_path / "real" / "log"
    real.mkdir(parents=True)
    os.symlink(tmp_path / "real", tmp_path / "way")
    os.symlink(tmp_path / "way" / "log", tmp_path / "current")
    with eventlog.open(tmp_path / "current") as log:
        assert log.path == str(tmp_path / "current")
        log.create_topic("t").partitions[0].append([b"a"])
    with eventlog.open(tmp_path / "way" / "log") as log:
        assert log.topic("t").partitions[0].read(0)[0].values() == [b"a"]
    with eventlog.open(real, readonly=True) as log:
        assert log.topics() == ["t"]


@contextlib.contextmanager
def swapping(directory: Path, target: Path) -> Iterator[None]:
    """Put a link in the directory's place and take it away again, all the time."""
    ends = threading.Event()
    aside = directory.with_name("aside")

    def swap() -> None:
        while not ends.is_set():
            with contextlib.suppress(OSError):  # it may be removed meanwhile
                os.rename(directory, aside)
                os.symlink(target, directory)
                os.unlink(directory)
                os.rename(aside, directory)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


CALLS: dict[str, Callable[[FileSystem, str, str], Any]] = {
    "unlink": lambda fs, directory, name: fs.unlink(f"{directory}/{name}"),
    "rename": lambda fs, directory, name: fs.rename(f"{directory}/{name}", f"{directory}/{name}.renamed"),
    "mkdir": lambda fs, directory, name: fs.mkdir(f"{directory}/made-{name}"),
    "create": lambda fs, directory, name: fs.opened(f"{directory}/made-{name}", os.O_RDWR | os.O_CREAT).close(),
    "replace": lambda fs, directory, name: fs.replace_file(f"{directory}/{name}", b"other", durable=False),
    "remove": lambda fs, directory, name: fs.remove_tree(directory),
}


@pytest.mark.parametrize("at_once", [True, False], ids=["in one call", "step by step"])
@pytest.mark.parametrize("call", CALLS)
def test_a_directory_that_becomes_a_link_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, at_once: bool
) -> None:
    """A directory on the way that is exchanged for a link between any two steps leads nowhere else."""
    if not at_once:
        monkeypatch.setattr(nofollow, "_syscall", None)
    victim = tmp_path / "victim"
    victim.mkdir()
    names = [f"file-{number}" for number in range(300)]
    for name in names:
        (victim / name).write_bytes(b"precious")
    before = tree(victim)
    fs, directory = FileSystem(), tmp_path / "log" / "topic"
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).write_bytes(b"ours")
    with swapping(directory, victim):
        for name in names:
            with contextlib.suppress(OSError):
                CALLS[call](fs, str(directory), name)
    assert tree(victim) == before


@pytest.mark.parametrize("seed", range(3))
def test_both_ways_to_open_a_path_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """In one call of the kernel or step by step, a path leads to the same file, or to the same error."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    paths = [tmp_path / "a"]
    (tmp_path / "a").mkdir()
    for number in range(60):
        path = rng.choice([path for path in paths if path.is_dir()]) / f"n{number}"
        kind = rng.choice(["file", "directory", "link", "dangling", "pipe"])
        with contextlib.suppress(OSError):
            if kind == "file":
                path.write_bytes(b"x")
            elif kind == "directory":
                path.mkdir()
            elif kind == "pipe":
                os.mkfifo(path)
            else:
                os.symlink(rng.choice(paths) if kind == "link" else "nowhere", path)
        paths.append(path)

    def answers() -> list[object]:
        found: list[object] = []
        for path in paths:
            for flags in (os.O_RDONLY, os.O_RDWR, os.O_RDONLY | os.O_DIRECTORY):
                try:
                    with FileSystem().opened(str(path), flags) as fd:
                        found.append(os.fstat(fd).st_ino)
                except OSError as error:
                    found.append((type(error), str(error)))
        return found

    first = answers()
    monkeypatch.setattr(nofollow, "_syscall", None)
    assert answers() == first
    assert len({str(answer) for answer in first}) > 10
