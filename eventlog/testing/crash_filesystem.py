"""A file system that crashes where a test says, and shows what a disk may then hold.

    >>> import eventlog, random, tempfile
    >>> directory = tempfile.mkdtemp()
    >>> fs = CrashFileSystem(directory + "/log")
    >>> topic = eventlog.open(directory + "/log", filesystem=fs).create_topic("t")
    >>> fs.crash_at(fs.steps + 5)  # in the middle of the first append
    >>> try:
    ...     topic.partitions[0].append([b"record"])
    ... except SimulatedCrash:
    ...     fs.after_power_cut(directory + "/cut", random.Random(1).randrange)
    >>> eventlog.open(directory + "/cut").topic("t").partitions[0].log_end_offset
    0

All calls go to real files, so that mappings and locks work as ever. Beside them, `SimulatedDisk` notes what is on the
medium and what is not yet. A *step* is whatever changes something: a file that appears, a write, a rename, a removal, a
directory that is made or removed, a sync, and a store into a mapped page.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from eventlog.files.filesystem import CREATE_MODE, Buffer, FileSystem
from eventlog.files.mapping import Bytes, map_in_place, map_readonly, map_shared
from eventlog.testing.power_cut import Choose, PowerCut, lay_out
from eventlog.testing.simulated_disk import Change, SimulatedDirectory, SimulatedDisk, SimulatedFile

_MOST_KEPT = 256  # descriptors of dead processes; a program often has no more than 1024 in all
_dead: weakref.WeakSet[CrashFileSystem] = weakref.WeakSet()
_dead_lock = threading.Lock()


class SimulatedCrash(BaseException):  # the end of a process, which no `except Exception` may catch
    """The process is dead, or the power is gone."""


class Step(NamedTuple):
    """One step of the journal: its number within its process, what was done, to which path below the root."""

    number: int
    kind: str
    path: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.kind} {self.path} {self.detail}".rstrip()


class CrashFileSystem(FileSystem):
    """The files of one process. `another_process` gives further ones, which share the disk and live on.

    Pass it as ``eventlog.open(path, filesystem=...)`` with a path that is ``root`` or lies below it.
    """

    def __init__(self, root: str | os.PathLike[str], disk: SimulatedDisk | None = None) -> None:
        self.disk = SimulatedDisk(os.path.realpath(os.fspath(root))) if disk is None else disk
        self.journal: list[Step] = []
        self.crashed = False
        self._crash_at: int | None = None
        self._torn = 0.0
        self._processes: list[weakref.ref[CrashFileSystem]] = [weakref.ref(self)]
        self._mutex = threading.RLock()
        self._files: dict[int, SimulatedFile | None] = {}  # by descriptor; None for directories
        self._pages: list[Bytes] = []
        weakref.finalize(self, _close_all, self._files).atexit = False

    def another_process(self) -> CrashFileSystem:
        """Return the files of a process that shares this disk, and lives on when this one is killed."""
        other = CrashFileSystem(self.disk.root, self.disk)
        other._processes, other._mutex = self._processes, self._mutex
        self._processes.append(weakref.ref(other))
        return other

    # --- crashing ---

    @property
    def steps(self) -> int:
        """How many steps this process has done."""
        return len(self.journal)

    def crash_at(self, step: int | None, *, torn: float = 0.0) -> None:
        """Crash before the step of this number, counted from 0: ``crash_at(steps)`` is before the next one.

        If that is a write, the share ``torn`` of its bytes is written all the same. From then on every call raises
        SimulatedCrash, and what is stored into mapped pages reaches nobody. None: do not crash.
        """
        self._crash_at, self._torn = step, torn

    def kill(self) -> None:
        """End this process, now: its locks are free, and nothing that it still does reaches the files."""
        with self._mutex:
            if self.crashed:
                return
            self.crashed = True
            self.disk.look()
            nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            for fd in list(self._files):  # the numbers stay taken: handlers and finalizers still free the locks on them
                os.dup2(nowhere, fd, inheritable=False)
            os.close(nowhere)
            for page in self._pages:
                _detach(page)
        with _dead_lock:
            _dead.add(self)
            kept = sum(len(dead._files) for dead in _dead)
        if kept > _MOST_KEPT:
            gc.collect()  # what the dead ones had is theirs until then: their logs are full of circles
            gc.collect()  # once more: a finalizer that the collector has called is itself in one by then

    def after_kill(self, target: str | os.PathLike[str]) -> None:
        """Kill all processes, and lay out at ``target`` what they leave: all that was written and stored."""
        self._kill_all()
        lay_out(self.disk.top, os.fspath(target), lambda directory: directory.names, lambda file: file.content())

    def after_power_cut(self, target: str | os.PathLike[str], choose: Choose) -> None:
        """Kill all processes, and lay out at ``target`` what a power cut may leave; see `power_cut` for ``choose``."""
        self._kill_all()
        cut = PowerCut(choose)
        lay_out(self.disk.top, os.fspath(target), cut.names, cut.content)

    def _kill_all(self) -> None:
        for reference in self._processes:
            process = reference()
            if process is not None:
                process.kill()

    @contextlib.contextmanager
    def step(self, kind: str, path: str, detail: str = "") -> Iterator[None]:
        """Do one step within the block, or crash before it."""
        with self._mutex:
            self._check_alive()
            self.disk.look()
            if self._is_due():
                self.kill()
                raise SimulatedCrash(f"before step {self.steps}: {kind} {path}")
            self.journal.append(Step(self.steps, kind, self.disk.relative(path), detail))
            yield

    def _is_due(self) -> bool:
        return self._crash_at is not None and self.steps >= self._crash_at

    def _check_alive(self) -> None:
        if self.crashed:
            raise SimulatedCrash("the process is dead")

    # --- descriptors ---

    def open(self, path: str, flags: int, mode: int = CREATE_MODE) -> int:
        """Open a file; a step if it makes one."""
        self._check_alive()
        assert not flags & os.O_TRUNC, "no file of a log is ever shortened"
        if not self.disk.holds(path):
            return self._opened(super().open(path, flags, mode), None)
        with self._mutex:
            node = self.disk.find(path)
            if node is not None or not flags & os.O_CREAT:
                return self._opened(super().open(path, flags, mode), node if isinstance(node, SimulatedFile) else None)
            with self.step("create", path):
                fd, node = super().open(path, flags, mode), SimulatedFile(path)
                directory, name = self.disk.place(path)
                directory.change(Change(None, name, node))
                return self._opened(fd, node)

    def _opened(self, fd: int, file: SimulatedFile | None) -> int:
        self._files[fd] = file
        return fd

    def close(self, fd: int) -> None:
        """Close a descriptor; harmless after a crash, which has closed all."""
        with self._mutex:
            if fd in self._files:
                del self._files[fd]
                os.close(fd)
            else:
                self._check_alive()
                os.close(fd)  # which raises: it is not open

    # --- changing ---

    def pwrite(self, fd: int, data: Buffer, position: int) -> int:
        """Write; one step."""
        return self.pwritev(fd, [data], position)

    def pwritev(self, fd: int, parts: Sequence[Buffer], position: int) -> int:  # type: ignore[override]
        """Write several parts one after the other; one step."""
        with self._mutex:
            self._check_alive()
            file, data = self._files.get(fd), b"".join(parts)
            if file is None:
                return os.pwrite(fd, data, position)
            if self._is_due():
                self._write(fd, file, data[: int(self._torn * len(data))], position)
            with self.step("write", file.path, f"{position}+{len(data)}"):
                return self._write(fd, file, data, position)

    def _write(self, fd: int, file: SimulatedFile, data: bytes, position: int) -> int:
        written = os.pwrite(fd, data, position)
        file.write(position, data[:written])
        return written

    def rename(self, old: str, new: str) -> None:
        """Rename a file or a directory; one step."""
        with self.step("rename", new, f"from {os.path.basename(old)}"):
            super().rename(old, new)
            (source, old_name), (target, new_name) = self.disk.place(old), self.disk.place(new)
            node = source.names[old_name]
            if isinstance(node, SimulatedFile):
                node.path = new
            if source is target:
                source.change(Change(old_name, new_name, node))
            else:
                target.change(Change(None, new_name, node))
                source.change(Change(old_name))

    def unlink(self, path: str) -> None:
        """Remove a file's name; a step if it has one."""
        self._remove("unlink", path)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory; one step."""
        self._remove("rmdir", path)

    def _remove(self, kind: str, path: str) -> None:
        with self._mutex:
            self._check_alive()
            remove = super().rmdir if kind == "rmdir" else super().unlink
            if self.disk.find(path) is None:
                remove(path)  # which raises
                return
            with self.step(kind, path):
                remove(path)
                directory, name = self.disk.place(path)
                directory.change(Change(name))

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        """Make a directory; a step if it is not there."""
        with self._mutex:
            self._check_alive()
            if not self.disk.holds(path) or path == self.disk.root or self.disk.find(path) is not None:
                super().mkdir(path, mode)
                return
            with self.step("mkdir", path):
                super().mkdir(path, mode)
                directory, name = self.disk.place(path)
                directory.change(Change(None, name, SimulatedDirectory()))

    def sync(self, fd: int) -> None:  # type: ignore[override]
        """Bring a file's bytes, not its name, to the simulated medium; one step."""
        with self._mutex:
            self._check_alive()
            file = self._files.get(fd)
            if file is None:
                os.fdatasync(fd)
                return
            with self.step("sync", file.path):
                file.sync()

    def sync_directory(self, path: str) -> None:
        """Bring a directory's names, not their bytes, to the simulated medium; one step."""
        self._check_alive()
        directory = self.disk.find(path) if self.disk.holds(path) else None
        if not isinstance(directory, SimulatedDirectory):
            os.close(os.open(path, os.O_RDONLY))  # which raises if there is none; what lies outside lasts
            return
        with self.step("sync_directory", path):
            directory.sync()

    # --- mapping ---

    def map_shared(self, fd: int, length: int) -> Bytes:
        """Map a page for writing: each store of a word is a step. Slices are filled without one, as by packing."""
        with self._mutex:
            self._check_alive()
            page, file = map_shared(fd, length), self._files.get(fd)
            if file is None:
                return page
            self.disk.map(file, map_shared(fd, length))
            self._pages.append(page)
            watched = page.view(_WatchedPage)
            watched.watch(self, file)
            return watched

    def map_readonly(self, fd: int, length: int) -> Bytes:
        """Map a file for reading."""
        self._check_alive()
        return map_readonly(fd, length)

    # --- reading ---

    def pread(self, fd: int, length: int, position: int) -> bytes:
        """Read from a file."""
        self._check_alive()
        return os.pread(fd, length, position)

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted: a run that is repeated must not differ."""
        self._check_alive()
        return sorted(super().listdir(path))

    def list_but_files(self, path: str) -> list[str]:
        """Return the names of all in a directory but plain files, sorted as well."""
        self._check_alive()
        return sorted(super().list_but_files(path))

    def drop_clean_pages(self, fd: int, start: int, end: int) -> None:
        """Drop clean pages of the real cache, which changes nothing here: what the device has is simulated."""
        self._check_alive()
        super().drop_clean_pages(fd, start, end)

    def size(self, fd: int) -> int:
        """Return the length of the open file in bytes."""
        self._check_alive()
        return super().size(fd)

    def identity(self, fd: int) -> tuple[int, int]:
        """Return what tells the open file from another one that has taken its name."""
        self._check_alive()
        return super().identity(fd)

    def identity_of(self, path: str) -> tuple[int, int]:
        """Return the same of the file that the path leads to."""
        self._check_alive()
        return super().identity_of(path)

    def is_linked(self, fd: int) -> bool:
        """Tell whether the open file still has a name: no other has taken it."""
        self._check_alive()
        return super().is_linked(fd)

    def status_of(self, path: str) -> os.stat_result:
        """Return what is known of the path."""
        self._check_alive()
        return super().status_of(path)

    def kind_of(self, path: str) -> int:
        """Return what lies there."""
        self._check_alive()
        return super().kind_of(path)


class _WatchedPage(np.ndarray[Any, np.dtype[Any]]):
    """A mapped page, or a view of it, that tells its process of each store."""

    _process: CrashFileSystem | None
    _file: SimulatedFile | None

    def watch(self, process: CrashFileSystem, file: SimulatedFile) -> None:
        self._process, self._file = process, file

    def __array_finalize__(self, source: Any) -> None:
        self._process, self._file = getattr(source, "_process", None), getattr(source, "_file", None)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._process is None or self._file is None or self._process.crashed:  # a dead one's page is detached
            super().__setitem__(key, value)
            return
        with self._process.step("store", self._file.path, f"[{key}]"):
            super().__setitem__(key, value)


def _detach(page: Bytes) -> None:
    """Give a dead process's page memory of its own, at the same address: nothing that it still stores is seen."""
    state = page.tobytes()
    map_in_place(page, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
    page[:] = np.frombuffer(state, dtype=np.uint8)


def _close_all(files: dict[int, Any]) -> None:
    for fd in list(files):
        del files[fd]
        os.close(fd)
