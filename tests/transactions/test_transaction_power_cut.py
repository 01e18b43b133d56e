"""A power cut takes no transaction that was acknowledged as durable, and leaves none half.

Each cut is a real one for the file system: see ``tests/crash/test_power_cut.py``. The driver beside this file does it,
as root and in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_DRIVER = Path(__file__).with_name("transaction_power_driver.py")
_ROOT = Path(__file__).resolve().parents[2]
_IS_ROOT = os.geteuid() == 0 and sys.platform == "linux"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not _IS_ROOT and os.environ.get("CI") != "true", reason="needs root and a loop device"),
]


@pytest.mark.parametrize(
    ("kind", "cuts"),
    [
        pytest.param("load", 7, id="while a producer is in the middle of something"),
        pytest.param("step", 4, id="right after an acknowledgement"),
    ],
)
def test_power_cut(kind: str, cuts: int) -> None:
    """After the cut every transaction that was acknowledged with durability="disk" is whole, in all partitions and with
    its offsets; the one that was under way is whole or absent; nothing is corrupt, and transactions go on.
    """
    assert _IS_ROOT, "power cuts need root"
    seeds = list(range(1, cuts + 1))
    print("seeds", seeds)
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, str(_DRIVER), json.dumps({kind: seeds})],
        env={**os.environ, "PYTHONPATH": str(_ROOT)}, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["seed"] for result in results if not result["good"]] == [], done.stderr
    assert len(results) == cuts
    assert sum(result["commits"] for result in results) >= 10 * cuts
