"""The simulated crash leaves whatever a real one may leave, and never less than what is promised."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventlog
from eventlog.files.file_lock import FileLock, is_locked
from eventlog.files.filesystem import FileSystem
from eventlog.files.page import PAGE_BYTES, create_page
from eventlog.testing.crash_filesystem import CrashFileSystem, SimulatedCrash
from eventlog.testing.simulated_disk import walk

MAGIC = 0x4547415054534554
SEEDS = 300


def keep_all(_: int) -> int:
    return 0


def lose_all(n: int) -> int:
    return n - 1


def tree(root: Path) -> dict[str, bytes | None]:
    """Every path below the root, with the bytes of files and None for directories."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in sorted(root.rglob("*"))
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


@pytest.fixture
def fs(root: Path) -> CrashFileSystem:
    return CrashFileSystem(root)


class Cuts:
    """Lays out many disks of one file system, each with another seed."""

    def __init__(self, fs: CrashFileSystem, directory: Path) -> None:
        self.fs, self.directory, self.made = fs, directory, 0

    def one(self, choose: Callable[[int], int]) -> dict[str, bytes | None]:
        self.made += 1
        target = self.directory / f"cut-{self.made}"
        self.fs.after_power_cut(target, choose)
        return tree(target)

    def many(self) -> list[dict[str, bytes | None]]:
        return [self.one(random.Random(seed).randrange) for seed in range(SEEDS)]

    def contents(self, name: str) -> set[bytes | None]:
        """Everything that a file of this name was found to hold; None when it was missing."""
        return {found.get(name) for found in self.many()}


@pytest.fixture
def cuts(fs: CrashFileSystem, tmp_path: Path) -> Cuts:
    return Cuts(fs, tmp_path)


def create(fs: CrashFileSystem, path: Path, *contents: bytes, sync: bool = False) -> int:
    """Make a file, written in several steps one behind the other, and return its descriptor."""
    fd = fs.open(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    position = 0
    for content in contents:
        position += fs.pwrite(fd, content, position)
    if sync:
        fs.sync(fd)
    return fd


def make_durable(fs: CrashFileSystem, path: Path, content: bytes) -> int:
    fd = create(fs, path, content, sync=True)
    fs.sync_directory(str(path.parent))
    return fd


# --- power cuts ---


def test_what_was_synced_is_always_there(fs: CrashFileSystem, root: Path, cuts: Cuts) -> None:
    """A file whose bytes and whose name were synced is there after any power cut, whatever happened elsewhere."""
    make_durable(fs, root / "file", b"synced")
    create(fs, root / "other", b"not synced")
    assert cuts.contents("file") == {b"synced"}


def test_a_file_may_be_there_in_any_part(fs: CrashFileSystem, root: Path, cuts: Cuts) -> None:
    """Of writes since the last sync any may be missing, a later one kept without the one before it included."""
    fd = make_durable(fs, root / "file", b"0")
    fs.pwrite(fd, b"1", 1)
    fs.pwrite(fd, b"2", 2)
    fs.pwrite(fd, b"3", 3)
    possible = {b"0", b"01", b"012", b"0123", b"0\x002", b"0\x00\x003", b"01\x003", b"0\x0023"}
    assert possible <= cuts.contents("file")


def test_overwritten_bytes_may_be_the_old_ones(fs: CrashFileSystem, root: Path, cuts: Cuts) -> None:
    """Until it is synced, what overwrites older bytes may be there, or partly, or not."""
    fd = make_durable(fs, root / "file", b"old!")
    fs.pwrite(fd, b"NEW", 0)
    found = cuts.contents("file")
    assert {b"old!", b"NEW!"} < found <= {b"old!", b"Nld!", b"NEd!", b"NEW!", b"N\0\0!", b"NE\0!"}


def test_the_last_write_may_be_torn(fs: CrashFileSystem, root: Path, cuts: Cuts) -> None:
    """The last write may end at any byte, at a sector's boundary, or go on with zeros."""
    fd = make_durable(fs, root / "file", b"")
    fs.pwrite(fd, b"x" * 2000, 0)
    found = {content for content in cuts.contents("file") if content is not None}
    lengths = {len(content) for content in found if not content.endswith(b"\0")}
    assert {0, 512, 1024, 1536, 2000} <= lengths
    assert any(length % 512 for length in lengths - {2000})
    assert any(len(content) == 2000 and content.endswith(b"\0") for content in found)
    assert all(content == b"x" * content.count(b"x") + b"\0" * content.count(b"\0") for content in found)


def test_a_name_lasts_once_its_directory_was_synced(fs: CrashFileSystem, root: Path, cuts: Cuts) -> None:
    """Syncing a file does not make its name last, and syncing a directory does not bring the bytes of its files."""
    create(fs, root / "named", b"bytes")
    fs.sync_directory(str(root))
    create(fs, root / "filled", b"bytes", sync=True)
    found = cuts.many()
    assert {cut.get("filled") for cut in found} == {None, b"bytes"}
    assert {b"", b"bytes"} <= {cut["named"] for cut in found}


def test_a_rename_may_be_undone_and_may_show_an_empty_file(fs: CrashFileSystem, root: Path, cuts: Cuts) -> None:
    """A rename over a file shows the old one, the new one, or, when its bytes were not synced, an empty one."""
    make_durable(fs, root / "file", b"old")
    create(fs, root / "file.tmp", b"new")
    fs.rename(str(root / "file.tmp"), str(root / "file"))
    assert {b"old", b"new", b""} <= cuts.contents("file")


def test_a_file_is_replaced_whole_or_not_at_all(fs: CrashFileSystem, root: Path, cuts: Cuts) -> None:
    """`FileSystem.replace_file`, cut off before any of its steps, leaves the old content or the new one."""
    make_durable(fs, root / "file", b"old")
    seen: set[bytes | None] = set()
    for step in range(5):
        process = fs.another_process()
        process.crash_at(step)
        with pytest.raises(SimulatedCrash):
            process.replace_file(str(root / "file"), b"new")
        seen |= cuts.contents("file")
        fs = cuts.fs = CrashFileSystem(root)
    fs.replace_file(str(root / "file"), b"new")
    assert seen == {b"old", b"new"}
    assert cuts.contents("file") == {b"new"}


def test_a_removal_may_be_undone(fs: CrashFileSystem, root: Path, cuts: Cuts) -> None:
    """Removed names may come back until the directory is synced."""
    make_durable(fs, root / "file", b"content")
    fs.mkdir(str(root / "directory"))
    fs.sync_directory(str(root))
    fs.unlink(str(root / "file"))
    fs.rmdir(str(root / "directory"))
    found = cuts.many()
    assert {cut.get("file") for cut in found} == {None, b"content"}
    assert {"directory" in cut for cut in found} == {True, False}
    fs = cuts.fs = CrashFileSystem(root)
    make_durable(fs, root / "file", b"again")
    fs.unlink(str(root / "file"))
    fs.sync_directory(str(root))
    assert cuts.contents("file") == {None}


def test_a_directory_may_come_without_its_files(fs: CrashFileSystem, root: Path, cuts: Cuts) -> None:
    """A directory whose name lasts has only those names in it that lasted themselves."""
    fs.mkdir(str(root / "a"))
    create(fs, root / "a" / "file", b"content", sync=True)
    fs.sync_directory(str(root))
    found = cuts.many()
    assert all("a" in cut for cut in found)
    assert {cut.get("a/file") for cut in found} == {None, b"content"}
    fs = cuts.fs = CrashFileSystem(root)
    fs.rename(str(root / "a"), str(root / "b"))
    assert {("a" in cut, "b" in cut) for cut in cuts.many()} == {(True, False), (False, True)}


def test_a_mapped_page_may_have_any_state_that_it_had(fs: CrashFileSystem, root: Path, cuts: Cuts) -> None:
    """Stores into a mapped page reach the medium whenever the kernel likes: any state, zeros or nothing is possible."""
    page = create_page(fs, str(root / "page"), MAGIC)
    words = page.view(np.uint64)
    for value in range(1, 4):
        words[1] = value
    fs.sync_directory(str(root))
    found = {content for content in cuts.contents("page") if content is not None}
    states = {np.frombuffer(content, np.uint64).item(1) for content in found if content.strip(b"\0")}
    assert states == {0, 1, 2, 3}
    assert {b"", bytes(PAGE_BYTES)} < found
    assert cuts.one(keep_all)["page"] == page.tobytes()


def test_the_extremes_are_to_be_had(fs: CrashFileSystem, root: Path, cuts: Cuts, tmp_path: Path) -> None:
    """Who always chooses 0 keeps what a kill keeps; who always chooses the last keeps what was synced, no more."""
    fd = make_durable(fs, root / "file", b"synced")
    fs.pwrite(fd, b" and not", 6)
    create(fs, root / "new", b"file")
    create_page(fs, str(root / "page"), MAGIC).view(np.uint64)[3] = 5
    fs.after_kill(tmp_path / "killed")
    assert cuts.one(keep_all) == tree(tmp_path / "killed") == tree(root)
    assert cuts.one(lose_all) == {"file": b"synced"}


def test_what_lay_there_before_lasts(root: Path, tmp_path: Path) -> None:
    """Files that were there before the simulation began are on the medium."""
    (root / "directory").mkdir()
    (root / "directory" / "file").write_bytes(b"old")
    cuts = Cuts(CrashFileSystem(root), tmp_path)
    assert cuts.one(lose_all) == {"directory": None, "directory/file": b"old"}


# --- crashes ---


def test_no_step_happens_after_a_crash(fs: CrashFileSystem, root: Path) -> None:
    """Every call raises SimulatedCrash from the crash on, and stores go nowhere: no handler changes the files."""
    page = create_page(fs, str(root / "page"), MAGIC)
    words = page.view(np.uint64)
    fd = create(fs, root / "file", b"content")
    before = tree(root)
    fs.crash_at(fs.steps)
    calls: list[Callable[[], object]] = [
        lambda: fs.pwrite(fd, b"x", 0), lambda: fs.pread(fd, 1, 0), lambda: fs.sync(fd), lambda: fs.size(fd),
        lambda: fs.open(str(root / "file"), os.O_RDONLY), lambda: fs.open(str(root / "new"), os.O_RDWR | os.O_CREAT),
        lambda: fs.rename(str(root / "file"), str(root / "b")), lambda: fs.unlink(str(root / "file")),
        lambda: fs.mkdir(str(root / "c")), lambda: fs.rmdir(str(root / "c")), lambda: fs.listdir(str(root)),
        lambda: fs.exists(str(root)), lambda: fs.read_file(str(root / "file")), lambda: fs.size_of(str(root / "file")),
        lambda: fs.status_of(str(root / "file")),
        lambda: fs.identity(fd), lambda: fs.map_shared(fd, 1),
        lambda: fs.map_readonly(fd, 1), lambda: fs.sync_directory(str(root)),
        lambda: fs.pwritev(fd, [b"x"], 0), lambda: fs.replace_file(str(root / "file"), b"x"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(SimulatedCrash):
            call()
    words[1] = 1
    memoryview(page)[16:24] = b"packed!!"  # as a handler may that fills a slot
    fs.close(fd)
    assert tree(root) == before


def test_every_call_of_the_seam_can_crash() -> None:
    """No call of the real file system is left out: each is one that the simulation has, or is made of such."""
    made_of_others = {
        "opened", "write_all", "write_zeros", "remove_tree", "replace_file", "sync_all", "read_file", "exists",
        "is_directory", "has_directory", "put_aside", "size_of",
    }  # fmt: skip
    calls = {name for name in vars(FileSystem) if not name.startswith("_")}
    assert calls - made_of_others <= set(vars(CrashFileSystem))


def test_a_crash_frees_the_locks(fs: CrashFileSystem, root: Path) -> None:
    """A dead process holds no lock; the handlers that free it once more disturb nobody."""
    lock = FileLock(fs, str(root / "lock"))
    assert lock.acquire()
    survivor = fs.another_process()
    assert is_locked(survivor, str(root / "lock"))
    fs.crash_at(fs.steps)
    with pytest.raises(SimulatedCrash), lock:
        fs.mkdir(str(root / "directory"))
    assert not is_locked(survivor, str(root / "lock"))
    with FileLock(survivor, str(root / "lock")):
        lock.release()
        lock.close()
        assert is_locked(survivor.another_process(), str(root / "lock"))


def test_a_survivor_sees_what_the_dead_one_stored_and_no_more(fs: CrashFileSystem, root: Path) -> None:
    """Processes share pages and files; what a dead one still does to its mapping reaches nobody."""
    dead = create_page(fs, str(root / "page"), MAGIC)
    survivor = fs.another_process()
    fd = survivor.open(str(root / "page"), os.O_RDWR)
    living = survivor.map_shared(fd, PAGE_BYTES)
    dead.view(np.uint64)[1] = 7
    fs.kill()
    memoryview(dead)[16:24] = b"too late"
    assert living.view(np.uint64)[1:3].tolist() == [7, 0]
    living.view(np.uint64)[2] = 8
    assert survivor.pread(fd, 24, 0)[8:] == np.array([7, 8], np.uint64).tobytes()
    assert dead.view(np.uint64)[1] == 7
    survivor.disk.check()


def test_a_write_may_be_done_in_part(fs: CrashFileSystem, root: Path, tmp_path: Path) -> None:
    """A process that is killed within a write has written its beginning."""
    fd = create(fs, root / "file")
    fs.crash_at(fs.steps, torn=0.5)
    with pytest.raises(SimulatedCrash):
        fs.pwrite(fd, b"12345678", 0)
    fs.after_kill(tmp_path / "killed")
    assert tree(tmp_path / "killed") == {"file": b"1234"}


# --- against the real thing ---


def test_the_simulated_disk_is_the_real_directory(tmp_path: Path) -> None:
    """Nothing that a log does goes past the file system object: the simulated disk always holds what the real one does.

    If something did, no simulated crash could ever undo it.
    """
    fs = CrashFileSystem(tmp_path / "log")
    log = eventlog.open(tmp_path / "log", filesystem=fs)
    fs.disk.check()
    topic = log.create_topic("t", partitions=2, segment_bytes=1024)
    log.create_topic("gone")
    producer, consumer = log.producer(), log.consumer("t", group="g", auto_offset_reset="earliest")
    for number in range(20):
        producer.send("t", b"v" * 200, partition=number % 2).result()
        fs.disk.check()
    topic.partitions[0].append([b"x"], durability="disk")
    assert consumer.poll(1.0)
    consumer.commit()
    fs.disk.check()
    log.delete_topic("gone")
    topic.add_partitions(3)
    consumer.close()
    log.close()
    fs.disk.check()
    with eventlog.open(tmp_path / "log", filesystem=fs) as log:
        fs.disk.check()
        assert log.topic("t").partitions[0].read(0)
    assert len(list(walk(fs.disk.top))) > 20


def test_a_change_that_goes_past_the_file_system_is_found(fs: CrashFileSystem, root: Path) -> None:
    """The check of the simulated disk names what differs: a file that nobody told it of, and one that changed."""
    create(fs, root / "file", b"content")
    fs.disk.check()
    (root / "file").write_bytes(b"other")
    with pytest.raises(AssertionError, match="file holds something else"):
        fs.disk.check()
    (root / "unknown").mkdir()
    with pytest.raises(AssertionError, match="unknown"):
        fs.disk.check()


names = st.sampled_from("abc")
operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), names, st.binary(min_size=1, max_size=3)),
        st.tuples(st.sampled_from(["sync", "unlink", "sync_directory"]), names),
        st.tuples(st.just("rename"), names, names),
    ),
    max_size=12,
)


class Promises:
    """Does operations, and keeps account of what no power cut may take away."""

    def __init__(self, fs: CrashFileSystem, root: Path) -> None:
        self.fs, self.root = fs, root
        self.descriptors: dict[str, int] = {}
        self.synced: dict[str, bytes] = {}  # bytes of the files that have nothing unsynced
        self.settled: set[str] = set()  # names that did not change since the directory was synced

    def kept(self) -> dict[str, bytes]:
        return {name: content for name, content in self.synced.items() if name in self.settled}

    def do(self, kind: str, name: str, *rest: Any) -> None:
        if kind in ("write", "sync_directory") or name in self.descriptors:
            getattr(self, kind)(name, *rest)

    def sync_directory(self, _: str) -> None:
        self.fs.sync_directory(str(self.root))
        self.settled = set(self.descriptors)

    def write(self, name: str, data: bytes) -> None:
        if name not in self.descriptors:
            self.descriptors[name] = self.fs.open(str(self.root / name), os.O_RDWR | os.O_CREAT, 0o644)
            self.settled.discard(name)
        self.fs.pwrite(self.descriptors[name], data, self.fs.size(self.descriptors[name]))
        self.synced.pop(name, None)

    def sync(self, name: str) -> None:
        self.fs.sync(self.descriptors[name])
        self.synced[name] = (self.root / name).read_bytes()

    def unlink(self, name: str) -> None:
        self.fs.unlink(str(self.root / name))
        self.fs.close(self.descriptors.pop(name))
        self.synced.pop(name, None)
        self.settled.discard(name)

    def rename(self, name: str, new: str) -> None:
        if name != new:
            self.fs.rename(str(self.root / name), str(self.root / new))
            self.descriptors[new] = self.descriptors.pop(name)
            self.settled -= {name, new}
            self.synced.pop(new, None)
            if name in self.synced:
                self.synced[new] = self.synced.pop(name)


@given(operations=operations, data=st.data())
def test_any_run_keeps_what_it_must(
    operations: list[tuple[Any, ...]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After any run, a name that did not change since its directory was synced stands for a file of the bytes that
    were synced last, as long as nothing was written to it since; a kill leaves the real directory as it is.
    """
    base = tmp_path_factory.mktemp("run")
    root = base / "disk"
    root.mkdir()
    promises = Promises(CrashFileSystem(root), root)
    for operation in operations:
        promises.do(*operation)
    fs = promises.fs
    fs.disk.check()
    fs.after_kill(base / "killed")
    assert tree(base / "killed") == tree(root)
    fs.after_power_cut(base / "cut", lambda n: data.draw(st.integers(0, n - 1)))
    assert promises.kept().items() <= tree(base / "cut").items()


def test_a_run_can_be_repeated(tmp_path: Path) -> None:
    """The same program takes the same steps, so that each of them can be crashed at in turn."""
    journals = []
    for run in ("one", "two"):
        fs = CrashFileSystem(tmp_path / run)
        with contextlib.closing(eventlog.open(tmp_path / run, filesystem=fs)) as log:
            log.create_topic("t").partitions[0].append([b"x"], durability="disk")
        journals.append([(step.number, step.kind, step.detail) for step in fs.journal if step.kind != "rename"])
    assert journals[0] == journals[1]
    assert str(fs.journal[1]) == "1 mkdir topics"


def test_dead_processes_do_not_use_up_descriptors(root: Path) -> None:
    """However many processes die, what they had open is given back: a program may have 1024 files open at most."""
    gc.collect()
    gc.disable()  # which would sooner or later find them by itself
    try:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(100):
            fs = CrashFileSystem(root)
            log = eventlog.open(root / f"log-{number}", filesystem=fs)
            for partition in log.create_topic("t", partitions=3).partitions:
                partition.append([b"x"])
            fs.kill()
            assert len(os.listdir("/proc/self/fd")) < before + 400
    finally:
        gc.enable()


def test_processes_of_several_disks_die_in_threads_of_their_own(root: Path) -> None:
    """Disks know nothing of each other: whatever dies on one of them is killed, whoever else dies at that moment."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            killed = list(threads.map(lambda _: _kill_many(root), range(4)))
    finally:
        sys.setswitchinterval(before)
    assert killed == [1000] * 4


def _kill_many(root: Path) -> int:
    made = [CrashFileSystem(root) for _ in range(1000)]
    for fs in made:
        fs.kill()
    return sum(fs.crashed for fs in made)
