"""What a disk would hold: files and directories, each with what is on the medium and what is only in memory yet.

Nothing is assumed that POSIX does not promise. A file's bytes are on the medium once the file was synced, and a name
once its directory was; neither brings the other, and what was not synced may get there in any order, or not at all.
Stores into a mapped page get there whenever the kernel likes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from eventlog.files.mapping import Bytes


class Write(NamedTuple):
    """Bytes that were written at a position."""

    position: int
    data: bytes

    def apply(self, content: bytearray) -> None:
        """Put the bytes into ``content``; what lies between its end and them reads as zeros."""
        if self.data:
            content += bytes(max(self.position - len(content), 0))
            content[self.position : self.position + len(self.data)] = self.data


class Change(NamedTuple):
    """A change of a directory's names: a name that goes, a name that comes for a file, or both at once (a rename)."""

    removed: str | None
    added: str | None = None
    node: SimulatedFile | SimulatedDirectory | None = None

    def apply(self, names: Names) -> None:
        """Make the change in ``names``."""
        if self.removed is not None:
            names.pop(self.removed, None)
        if self.added is not None and self.node is not None:
            names[self.added] = self.node


class SimulatedFile:
    """``durable`` is on the medium, and ``unsynced`` are the writes since; ``path`` is where it came to lie, to tell.

    Of a file with mapped pages, ``states`` are all the contents that it had since it was synced, oldest first.
    """

    def __init__(self, path: str, content: bytes = b"") -> None:
        self.path = path
        self.durable = content
        self.unsynced: list[Write] = []
        self.page: Bytes | None = None
        self.states: list[bytes] = []
        self._written = bytearray(content)

    def write(self, position: int, data: bytes) -> None:
        """Note a write."""
        write = Write(position, data)
        write.apply(self._written)
        if data:
            self.unsynced.append(write)

    def map(self, page: Bytes) -> None:
        """Follow the file through a mapping from now on."""
        if self.page is None:
            self.page = page
            self.look()

    def content(self) -> bytes:
        """Return what every process sees."""
        if self.page is None:
            return bytes(self._written)
        return self.page.tobytes() + bytes(self._written[len(self.page) :])

    def look(self) -> None:
        """Note the state of the mapped pages, if it is a new one."""
        state = self.content()
        if not self.states or self.states[-1] != state:
            self.states.append(state)

    def sync(self) -> None:
        """Everything written and stored so far is on the medium."""
        self.durable = self.content()
        self.unsynced.clear()
        if self.page is not None:
            self.states = [self.durable]


class SimulatedDirectory:
    """``durable`` are the names on the medium, ``names`` those that every process sees, ``unsynced`` leads there."""

    def __init__(self) -> None:
        self.durable: Names = {}
        self.names: Names = {}
        self.unsynced: list[Change] = []

    def change(self, change: Change) -> None:
        """Make a change, in memory."""
        change.apply(self.names)
        self.unsynced.append(change)

    def sync(self) -> None:
        """All names are on the medium; what they stand for need not be."""
        self.durable = dict(self.names)
        self.unsynced.clear()


Names = dict[str, SimulatedFile | SimulatedDirectory]


class SimulatedDisk:
    """The tree below ``root``, whose own name always lasts. What lies there at the beginning is on the medium."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.top = _read_directory(root) if os.path.isdir(root) else SimulatedDirectory()
        self.mapped: list[SimulatedFile] = []

    def holds(self, path: str) -> bool:
        """Tell whether the path belongs to this disk."""
        return path == self.root or path.startswith(self.root + os.sep)

    def find(self, path: str) -> SimulatedFile | SimulatedDirectory | None:
        """Return what lies at the path, None when there is nothing."""
        node: SimulatedFile | SimulatedDirectory | None = self.top
        for part in self.relative(path).split(os.sep):
            if part:
                node = node.names.get(part) if isinstance(node, SimulatedDirectory) else None
        return node

    def place(self, path: str) -> tuple[SimulatedDirectory, str]:
        """Return the directory that the path's last part is, or would be, a name in; and that name."""
        above, name = os.path.split(path)
        directory = self.find(above)
        assert isinstance(directory, SimulatedDirectory), f"{above} is no directory on the simulated disk"
        return directory, name

    def relative(self, path: str) -> str:
        """Return the path as seen from the root."""
        return path[len(self.root) + 1 :]

    def look(self) -> None:
        """Note the state of every mapped page that has changed."""
        for file in self.mapped:
            file.look()

    def map(self, file: SimulatedFile, page: Bytes) -> None:
        """Follow a file through a mapping, which sees what every process stores."""
        if file.page is None:
            self.mapped.append(file)
        file.map(page)

    def check(self) -> None:
        """Raise AssertionError unless the real directory holds what the simulated disk does, to the byte.

        A difference is a change that went past the file system object, and that no crash could have undone.
        """
        real, simulated = dict(walk(_read_directory(self.root))), dict(walk(self.top))
        assert real.keys() == simulated.keys(), f"only one of the two has {sorted(real.keys() ^ simulated.keys())}"
        for path, content in real.items():
            assert content == simulated[path], f"{path} holds something else"


def walk(directory: SimulatedDirectory, above: str = "") -> Iterator[tuple[str, bytes | None]]:
    """Go through all paths, with the content of files and None for directories."""
    for name, node in directory.names.items():
        path = os.path.join(above, name)
        if isinstance(node, SimulatedDirectory):
            yield path, None
            yield from walk(node, path)
        else:
            yield path, node.content()


def _read_directory(path: str) -> SimulatedDirectory:
    directory = SimulatedDirectory()
    for entry in os.scandir(path):
        node: SimulatedFile | SimulatedDirectory
        if entry.is_dir():
            node = _read_directory(entry.path)
        else:
            with open(entry.path, "rb") as file:
                node = SimulatedFile(entry.path, file.read())
        directory.durable[entry.name] = directory.names[entry.name] = node
    return directory
