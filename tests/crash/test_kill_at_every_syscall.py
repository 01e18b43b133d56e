"""A writer that is killed at any point of its work loses nothing that it acknowledged.

After each death a process that never saw the log reads every acknowledged record back byte for byte, in order and
with dense offsets, at most one record more, finds nothing with `verify`, appends, opens the log again and reads it
all once more. The driver beside this file says how the points are reached.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(1200)  # half a minute on a quiet machine; a hang fails all the same
_DRIVER = Path(__file__).with_name("kill_driver.py")
_IN_CI = os.environ.get("CI") == "true"
_STEP = 4  # of the calls of a scenario the suite takes every so many, from a random one on; `pytest -m soak` takes all
needs_strace = pytest.mark.skipif(not _IN_CI and shutil.which("strace") is None, reason="strace is not installed")


def _drive(*arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(_DRIVER), *map(str, arguments)], capture_output=True, text=True, timeout=1100
    )
    assert done.returncode == 0, done.stderr
    print(done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _assert_survived(report: dict[str, Any], at_least: int) -> None:
    assert report["bad"] == []
    assert report["points"] >= at_least
    assert [status for _, status in report["survived"] if status != 0] == []
    missed = report["points"] - report["killed"]  # now and then a run makes a system call less than another
    assert missed <= max(3, 0.05 * report["points"])


_CALLS = pytest.mark.parametrize(
    ("scenario", "at_least"),
    [
        pytest.param("create_log", 60, id="creating a log"),
        pytest.param("create_topic", 100, id="creating a topic and adding partitions"),
        pytest.param("delete_topic", 120, id="deleting a topic and making it anew"),
        pytest.param("append", 180, id="appending over several segments"),
        pytest.param("append_accompanied", 120, id="appending while another process has the log open"),
        pytest.param("take_over", 80, id="tidying up behind a writer that died"),
        pytest.param("recover", 100, id="recovering a log that nobody else has open"),
        pytest.param("commit_offsets", 100, id="committing offsets for the first time"),
        pytest.param("commit_thousandth", 80, id="committing offsets, and writing a snapshot of them"),
        pytest.param("change_group", 200, id="joining, rebalancing, committing in and leaving a group"),
    ],
)


@needs_strace
@_CALLS
def test_killed_at_system_calls(scenario: str, at_least: int) -> None:
    """Killed instead of making one of its system calls, a process leaves a log that lost nothing."""
    first = random.randrange(_STEP)
    print(f"from call {first} on")
    _assert_survived(_drive(scenario, "calls", _STEP, first), at_least // _STEP)


@pytest.mark.soak
@needs_strace
@_CALLS
def test_killed_at_every_system_call(scenario: str, at_least: int) -> None:
    """The same for each of them."""
    _assert_survived(_drive(scenario, "calls", 1, 0), at_least)


@needs_strace
@pytest.mark.parametrize("scenario", ["append", "append_accompanied", "take_over", "recover", "commit_thousandth"])
def test_killed_in_the_middle_of_every_write(scenario: str) -> None:
    """Killed with half of any write done, a process leaves a log that lost nothing."""
    _assert_survived(_drive(scenario, "tears", 1, 0), at_least=7)


@pytest.mark.parametrize(
    ("scenario", "step"),
    [("append", 71), ("append_accompanied", 37), ("take_over", 23), ("recover", 31), ("change_group", 53)],
)
def test_killed_between_two_lines(scenario: str, step: int) -> None:
    """Killed between two lines of its floor's code, so between two stores into a page, it leaves a whole log."""
    first = random.randrange(step)
    print(f"from line {first} on")
    _assert_survived(_drive(scenario, "lines", step, first), at_least=15)


@needs_strace
@pytest.mark.parametrize("scenario", ["create_topic", "delete_topic", "append_accompanied", "take_over", "recover"])
def test_the_file_system_object_sees_every_change(scenario: str) -> None:
    """Each call that changes a file goes through the log's FileSystem: what it notes is what the kernel sees."""
    report = _drive(scenario, "seam", 1, 0)
    assert report["seam"] == report["kernel"]
    assert "renameat" in report["seam"] or "pwritev2" in report["seam"]
