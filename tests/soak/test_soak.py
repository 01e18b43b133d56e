"""Real processes under seeded faults keep what the log promises; and a soak of something broken fails."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from eventlog.testing.soak.plan import KINDS
from eventlog.testing.soak.volume import can_mount

ROOT = Path(__file__).resolve().parents[2]
DEFECTIVE = Path(__file__).with_name("defective.py")
SEEDS = 3
SECONDS = float(os.environ.get("EVENTLOG_SOAK_SECONDS", "30"))
OPERATIONS = ("poll ok", "send ok", "txn ok", "txn fail")


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def output_of(process: subprocess.Popen[str]) -> str:
    output = process.communicate()[0]
    print(output)
    return output


def soak(seeds: Sequence[int], seconds: float) -> None:
    """Run the seeds side by side: each leaves the processors alone most of the time."""
    running = [start("-m", "eventlog.testing.soak", "--seconds", seconds, "--seed", seed) for seed in seeds]
    outputs = [output_of(process) for process in running]
    assert [process.returncode for process in running] == [0] * len(seeds)
    for output in outputs:
        counts = {name: int(count.replace(",", "")) for name, count in re.findall(r"^  (.+?) +([\d,]+)$", output, re.M)}
        possible = [kind for kind in KINDS if kind != "power" or not can_mount()]
        assert {kind: counts.get(kind, 0) for kind in possible if not counts.get(kind)} == {}
        assert all(counts[name] > SECONDS for name in OPERATIONS)


@pytest.mark.timeout(240 + 3 * SECONDS)
def test_what_was_promised_survives_the_faults() -> None:
    """Nothing is lost, doubled, skipped or seen too early, whatever is killed, stopped, full, broken or torn."""
    soak(random.sample(range(2**32), SEEDS), SECONDS)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_what_was_promised_survives_the_faults_for_hours() -> None:
    """The same for EVENTLOG_SOAK_SECONDS, in episodes of a minute."""
    soak(random.sample(range(2**32), SEEDS), max(SECONDS, 3600.0))


# --- it can fail ---


@pytest.mark.parametrize(
    ("defect", "found"),
    [
        pytest.param("loses", {"lost-write", "inconsistent-offsets", "unseen"}, id="a producer that loses records"),
        pytest.param("repeats", {"duplicate"}, id="a producer that sends twice"),
        pytest.param("skips", {"poll-skip"}, id="a reader that drops records"),
        pytest.param("dies", {"died"}, id="a worker that dies"),
        pytest.param("goes on", {"unprocessed"}, id="a stage that does not go back after an abort"),
        pytest.param("commits no offsets", {"processed-twice"}, id="a stage that commits no offsets"),
        pytest.param("aborts half", {"aborted-read"}, id="a transaction that leaks a record"),
    ],
)
def test_a_defect_is_found(defect: str, found: set[str]) -> None:
    """A worker that does not do what it should is reported, with what it did, and the exit status is 1."""
    process = start(DEFECTIVE, defect, "--seconds", 2, "--faults", "kill", "--patience", 3)
    output = output_of(process)
    assert process.returncode == 1
    assert found & set(re.findall(r"^  ([a-z-]+): ", output, re.M))
    assert "replay: python -m eventlog.testing.soak" in output


def test_without_the_defect_nothing_is_found() -> None:
    """The same workers, as they should be, pass."""
    process = start(DEFECTIVE, "none", "--seconds", 2, "--faults", "kill")
    assert "anomalies: none" in output_of(process)
    assert process.returncode == 0


@pytest.mark.root
@pytest.mark.skipif(bool(can_mount()) and os.environ.get("CI") != "true", reason="needs root and a loop device")
def test_a_disk_that_does_not_sync_is_found() -> None:
    """Where syncs do nothing, a power cut takes what was acknowledged as durable, and the soak says so."""
    process = start(DEFECTIVE, "syncs nothing", "--seconds", 3, "--faults", "power")
    assert re.search(r"^  (lost-write|unseen): ", output_of(process), re.M)
    assert process.returncode == 1
