"""With the kernel's own errors: a device that is full for a moment costs no record that was acknowledged as durable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_DRIVER = Path(__file__).with_name("full_device_driver.py")
_IS_ROOT = os.geteuid() == 0 and sys.platform == "linux"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not _IS_ROOT and os.environ.get("CI") != "true", reason="needs root and a loop device"),
]


@pytest.mark.parametrize(
    "kind", ["recovered_by_another", "opened_when_another_was_told", "recovered_while_another_reads"]
)
def test_what_was_acknowledged_is_on_the_device(kind: str) -> None:
    """Whatever a process was told while another one's sync failed, a power cut leaves what was acknowledged."""
    assert _IS_ROOT, "loop devices need root"
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, str(_DRIVER), kind], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    told = {name: offset for name, offset in found["told"].items() if isinstance(offset, int)}
    assert {name: found["held"][offset : offset + 1] for name, offset in told.items()} == {
        name: [name] for name in told
    }
    assert len(set(told.values())) == len(told)
