"""A power cut takes nothing that was acknowledged as durable, and leaves nothing corrupt to be read.

Each cut is a real one for the file system: an ext4 image that stops accepting writes in mid-work, is mounted anew
and replays its journal. The driver beside this file does it, as root and in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_DRIVER = Path(__file__).with_name("power_driver.py")
_IS_ROOT = os.geteuid() == 0 and sys.platform == "linux"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not _IS_ROOT and os.environ.get("CI") != "true", reason="needs root and a loop device"),
]


@pytest.mark.parametrize(
    ("kind", "cuts", "appends"),
    [
        pytest.param("load", 24, 500, id="while writers are in the middle of something"),
        pytest.param("step", 16, 400, id="right after an acknowledgement"),
        pytest.param("creating", 8, 0, id="right after a topic was created"),
        pytest.param("roll", 8, 50, id="right after a segment was rolled"),
    ],
)
def test_power_cut(kind: str, cuts: int, appends: int) -> None:
    """After the cut every record acknowledged as durable is there byte for byte, no corrupt one is returned, every
    topic whose creation returned exists, the indexes fit, and appending goes on.
    """
    assert _IS_ROOT, "power cuts need root"
    seeds = list(range(1, cuts + 1))
    print("seeds", seeds)
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, str(_DRIVER), json.dumps({kind: seeds})],
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["seed"] for result in results if not result["good"]] == [], done.stderr
    assert len(results) == cuts
    assert sum(result["appends"] for result in results) >= appends  # the power did not go before there was anything
