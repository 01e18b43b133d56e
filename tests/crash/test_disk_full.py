"""A full disk is an error that says so, for exactly the records concerned, and nothing else happens.

A small tmpfs and a small ext4 image are filled up to every amount of room that is left, page by page. The driver
beside this file does it, as root and in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_DRIVER = Path(__file__).with_name("full_driver.py")
_IS_ROOT = os.geteuid() == 0 and sys.platform == "linux"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not _IS_ROOT and os.environ.get("CI") != "true", reason="needs root and a loop device"),
]
PAGES = 24


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize(
    "end", [pytest.param("live", id="and the log is closed"), pytest.param("die", id="and the writer is killed")]
)
def test_disk_full(kind: str, end: str) -> None:
    """Appends, sends, rolls, new topics and new partitions raise LogFullError or succeed, whatever room there is.

    Never a SIGBUS. Every record that was acknowledged is readable, none that was refused; the log opens on the full
    disk; and once there is room again it goes on, with nothing for `verify` to find.
    """
    assert _IS_ROOT, "disks of its own need root"
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, str(_DRIVER), kind, str(PAGES), end],
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    first = 0 if end == "live" else -9
    assert [result for result in results if result["statuses"] != [first, 0, 0]] == [], done.stderr
    assert [result["pages"] for result in results] == list(range(PAGES))
    assert all(result["failures"] > 0 for result in results)  # it did become full
