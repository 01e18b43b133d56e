"""A file in memory: read in place, unmapped when nobody has it any more, and never in another's place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from eventlog.files.mapping import map_readonly, map_shared
from tests.conftest import RunPython
from tests.interrupting import files_in_use

FAILS = """
import gc, mmap, socket
from eventlog.files.mapping import map_readonly
SIZE = 1 << 20
with socket.socket(socket.AF_UNIX) as unmappable:  # the kernel has freed the place when this turns out
    try:
        map_readonly(unmappable.fileno(), SIZE)
    except OSError as error:
        failed = error
others = [mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE) for _ in range(64)]  # one of them gets the place
del failed
gc.collect()
for other in others:
    other[:4] = b"mine"
answer(sum(other[:4] == b"mine" for other in others))
"""


@pytest.mark.parametrize("length", [1, 4095, 4096, 4097, 1 << 20])
def test_a_mapping_shows_what_is_written_later(tmp_path: Path, length: int) -> None:
    """A read-only mapping may be longer than its file, and shows what the file gets later; it cannot be written."""
    path = tmp_path / "file"
    path.write_bytes(b"")
    with path.open("r+b") as file:
        data = map_readonly(file.fileno(), length)
        os.pwrite(file.fileno(), b"x" * length, 0)
    assert len(data) == length
    assert data.tobytes() == b"x" * length
    with pytest.raises(ValueError, match="WRITEABLE"):
        data.flags.writeable = True


def test_a_shared_mapping_is_written_through(tmp_path: Path) -> None:
    """What is stored into a shared mapping is in the file, and in every other mapping of it, at once."""
    path = tmp_path / "file"
    path.write_bytes(bytes(4096))
    with path.open("r+b") as file:
        one, other = map_shared(file.fileno(), 4096), map_readonly(file.fileno(), 4096)
    one.view(np.uint64)[3] = 7
    assert other.view(np.uint64)[3] == 7
    assert path.read_bytes()[24] == 7


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_mapping_goes_with_its_last_view(tmp_path: Path) -> None:
    """The file stays mapped as long as any view of it is there, and no longer."""
    path = tmp_path / "file"
    path.write_bytes(bytes(4096))
    with path.open("rb") as file:
        view = map_readonly(file.fileno(), 1 << 20)[100:200].view(np.uint8)
    assert files_in_use(tmp_path) == [f"mapped: {path}"]
    assert view.sum() == 0
    del view
    assert files_in_use(tmp_path) == []


def test_what_cannot_be_mapped_takes_nothing_from_others(run_python: RunPython) -> None:
    """When the kernel fails to map a file, its place may be someone else's a moment later: it is not freed again."""
    assert run_python(FAILS) == 64


def test_what_cannot_be_mapped_says_why(tmp_path: Path) -> None:
    """A file that was opened for writing alone cannot be read in memory: OSError."""
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(PermissionError):
            map_readonly(fd, 4096)
    finally:
        os.close(fd)
