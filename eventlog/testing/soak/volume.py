"""Where the log lies during a run: a file system of its own, whose power can be cut, or a plain directory."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_NO_FLUSH = struct.pack("I", 2)  # what is not on the device by now never gets there
_IMAGE_BYTES = 1 << 30  # sparse: it takes up what was written
_TOOLS = ("unshare", "mkfs.ext4", "mount", "umount", "losetup")


class Volume:
    """A plain directory: whether it is full is a flag that each worker's file system looks at. No power to cut."""

    can_lose_power = False

    def __init__(self, directory: Path) -> None:
        self.log_path = directory / "log"
        self._flag = mmap.mmap(-1, mmap.PAGESIZE)  # shared with the processes that are forked from this one

    def is_full(self) -> bool:
        """Tell whether files may not grow."""
        return self._flag[0] != 0

    def fill(self) -> None:
        """Leave no room."""
        self._flag[0] = 1

    def free(self) -> None:
        """Give the room back."""
        self._flag[0] = 0

    def cut_power(self) -> None:
        """End every write; nothing that was not synced is there after `restore_power`."""
        raise NotImplementedError("a plain directory has no power of its own")

    def restore_power(self) -> None:
        """Make the volume usable again, once no process uses it any more."""

    def close(self, *, keep: bool = False) -> None:
        """Give back what the volume took; the log's files stay where they are, or are copied if they are to be kept."""
        self._flag.close()


class ImageVolume(Volume):
    """An ext4 image. Needs root, and a mount namespace that nobody else sees (see `can_mount`)."""

    can_lose_power = True

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._image = directory / "image"
        self._mount = directory / "volume"
        self._ballast = self._mount / "ballast"
        self.log_path = self._mount / "log"
        self._mount.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-b", "4096", "-m", "0", str(self._image))
        self._attach()

    def _attach(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self._mount))

    def is_full(self) -> bool:
        """Tell whether files may not grow: the kernel itself says so here."""
        return False

    def fill(self) -> None:
        """Let one file take up all the room there is."""
        fd = os.open(self._ballast, os.O_CREAT | os.O_WRONLY)
        try:
            taken, step = 0, _IMAGE_BYTES
            while step >= mmap.PAGESIZE:
                try:
                    os.posix_fallocate(fd, taken, step)
                    taken += step
                except OSError:
                    step //= 2
        finally:
            os.close(fd)

    def free(self) -> None:
        """Remove that file."""
        self._ballast.unlink(missing_ok=True)

    def cut_power(self) -> None:
        """Shut the file system down: nothing more reaches the image, and every write fails."""
        fd = os.open(self._mount, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _NO_FLUSH)
        finally:
            os.close(fd)

    def restore_power(self) -> None:
        """Mount the image anew, which replays the file system's journal."""
        _run("umount", str(self._mount))
        self._attach()
        self.free()

    def close(self, *, keep: bool = False) -> None:
        """Copy the log out of the image, if wanted, and unmount it."""
        super().close()
        if keep:
            with contextlib.suppress(OSError):
                shutil.copytree(self.log_path, self._mount.parent / "log")
        _run("umount", str(self._mount))
        self._image.unlink()


def can_mount() -> str:
    """Return why no image can be mounted here; empty when one can."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    if subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode:
        return "needs a free loop device"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "needs a mount namespace of its own"
    return ""


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
