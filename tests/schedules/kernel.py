"""What Linux does when a device fails, for simulated files: an error is reported once to each open file.

A write-back that fails leaves the pages clean: later syncs do not write them, unless they are written again. The cache
keeps them, or drops them. Who opens a file after somebody was told of its error is told nothing (``errseq_t``).
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable

import attrs

from eventlog.testing.crash_filesystem import CrashFileSystem
from eventlog.testing.simulated_disk import SimulatedDisk, SimulatedFile, Write

Point = Callable[[tuple[str, int]], None]


@attrs.define
class Errors:
    """Of one file: how many errors there were, and whether the last was reported."""

    count: int = 0
    is_seen: bool = True


class Kernel:
    """Shared by all processes. ``failing`` are the numbers of the write-backs of segments that fail, from 0 on."""

    def __init__(self, failing: set[int], *, drops: bool) -> None:
        self.failing = failing
        self.drops = drops
        self.point: Point = lambda where: None
        self.write_backs = 0
        self._errors: dict[int, Errors] = {}

    def errors(self, file: SimulatedFile) -> Errors:
        return self._errors.setdefault(id(file), Errors())

    def sample(self, file: SimulatedFile) -> int:
        """What a file that is opened now compares with: an error that nobody has seen yet is its own."""
        errors = self.errors(file)
        return errors.count - (not errors.is_seen)

    def write_back(self, file: SimulatedFile) -> None:
        """Bring dirty pages to the device, or fail to."""
        dirty = file.unsynced[:]
        if not dirty:
            return
        file.unsynced.clear()  # also what fails is clean from now on
        is_segment = file.path.endswith(".log")
        fails = is_segment and self.write_backs in self.failing
        self.write_backs += is_segment
        if fails:
            errors = self.errors(file)
            errors.count, errors.is_seen = errors.count + 1, False
            if self.drops:
                self._drop(file, dirty)
            return
        content = bytearray(file.durable)
        for write in dirty:
            write.apply(content)
        file.durable = bytes(content)

    def _drop(self, file: SimulatedFile, lost: list[Write]) -> None:
        with open(file.path, "r+b") as real:
            for position, data in lost:
                held = file.durable[position : position + len(data)].ljust(len(data), b"\0")
                os.pwrite(real.fileno(), held, position)
                Write(position, held).apply(file._written)


class FailingFileSystem(CrashFileSystem):
    """The files of one process on a device that fails."""

    kernel: Kernel

    @classmethod
    def first(cls, root: str | os.PathLike[str], kernel: Kernel) -> FailingFileSystem:
        made = cls(root)
        made.kernel, made._samples = kernel, {}
        return made

    def another_process(self) -> FailingFileSystem:
        other = FailingFileSystem(self.disk.root, self.disk)
        other.kernel, other._samples = self.kernel, {}
        other._processes, other._mutex = self._processes, self._mutex
        self._processes.append(weakref.ref(other))
        return other

    def __init__(self, root: str | os.PathLike[str], disk: SimulatedDisk | None = None) -> None:
        super().__init__(root, disk)
        self._samples: dict[int, int] = {}

    def _opened(self, fd: int, file: SimulatedFile | None) -> int:
        if file is not None:
            self._samples[fd] = self.kernel.sample(file)
        return super()._opened(fd, file)

    def sync(self, fd: int) -> None:  # type: ignore[override]
        """Sync, in the device's own time; raise an error that this open file was not told yet."""
        with self._mutex:
            self._check_alive()
            file = self._files.get(fd)
        if file is None:
            os.fdatasync(fd)
            return
        with self.step("sync", file.path):
            pass
        self.kernel.point(("device", 0))
        with self._mutex:
            self._check_alive()
            self.kernel.write_back(file)
        self.kernel.point(("device", 1))
        with self._mutex:
            self._check_alive()
            errors = self.kernel.errors(file)
            if self._samples[fd] != errors.count:
                self._samples[fd], errors.is_seen = errors.count, True
                raise OSError(errno.EIO, os.strerror(errno.EIO))
