"""Real processes under seeded faults keep what the log promises; and a soak of something broken fails."""

from __future__ import annotations

import itertools
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from eventlog.testing.soak.plan import KINDS
from eventlog.testing.soak.volume import can_mount

ROOT = Path(__file__).resolve().parents[2]
DEFECTIVE = Path(__file__).with_name("defective.py")
SEEDS = 3
pytestmark = pytest.mark.xdist_group("soak")  # runs of many processes, one after the other
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
    """Run the seeds side by side: each leaves the processors alone most of the time.

    No promise is broken, and among all of them every kind of fault has met some worker, and every operation was done.
    """
    running = [start("-m", "eventlog.testing.soak", "--seconds", seconds, "--seed", seed) for seed in seeds]
    outputs = [output_of(process) for process in running]
    assert [process.returncode for process in running] == [0] * len(seeds)
    happened = set(re.findall(r"^  (.+?) +[1-9][\d,]*$", "".join(outputs), re.M))
    possible = {kind for kind in KINDS if kind != "power" or not can_mount()}
    assert possible.union(OPERATIONS) - happened == set()


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

FOUND = {  # by defect: how the soak of it is run, and what it may find
    "loses": ("--seconds 3 --faults tail", {"lost-write", "inconsistent-offsets", "unseen"}),
    "repeats": ("--seconds 3 --faults tail", {"duplicate"}),
    "skips": ("--seconds 3 --faults tail", {"poll-skip"}),
    "dies": ("--seconds 3 --faults tail", {"died"}),
    "goes on": ("--seconds 3 --faults tail", {"unprocessed"}),
    "commits no offsets": ("--seconds 3 --faults tail", {"processed-twice"}),
    "leaks": ("--seconds 3 --faults tail", {"aborted-read"}),
    "ignores epochs": ("--seconds 9 --faults stop --seed 1", {"late-commit"}),
    "ignores generations": ("--seconds 6 --faults stop", {"processed-twice"}),
    "publishes what failed": ("--seconds 6 --faults eio", {"aborted-read", "inconsistent-offsets", "lost-write"}),
}

EPISODES = 6  # at most: where processes hardly get to work, or no fault meets them, a defect may not come into play


def episodes(defect: str, how: str) -> Iterator[tuple[int, str]]:
    """Run the soak of a defect again and again, and yield the exit status and the output of each."""
    while True:
        process = start(DEFECTIVE, defect, "--patience", 3, *how.split())
        output = output_of(process)
        yield process.returncode, output


def check_found(kinds: set[str], outcomes: Iterable[tuple[int, str]]) -> None:
    """One of the first EPISODES reports an anomaly of these kinds: exit status 1, and how to see it again."""
    for status, output in itertools.islice(outcomes, EPISODES):
        if kinds & set(re.findall(r"^  ([a-z-]+): ", output, re.M)):
            assert status == 1
            assert "replay: python -m eventlog.testing.soak" in output
            return
    pytest.fail(f"{EPISODES} episodes have found none of {kinds}")


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, tuple[int, str]]]:
    """The exit status and the output of the soak of each defect, run side by side; "none" is the one without."""
    options = {"none": "--seconds 3 --faults tail", **{defect: how for defect, (how, _) in FOUND.items()}}
    running = {
        defect: start(DEFECTIVE, defect, "--patience", 60 if defect == "none" else 3, *how.split())
        for defect, how in options.items()
    }
    try:
        outputs = {defect: process.communicate()[0] for defect, process in running.items()}
        yield {defect: (running[defect].returncode, output) for defect, output in outputs.items()}
    finally:
        for process in running.values():
            process.kill()
            process.wait()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("defect", FOUND)
def test_a_defect_is_found(outcomes: dict[str, tuple[int, str]], defect: str) -> None:
    """A worker that does not do what it should, or a log without one of its checks, is reported: exit status 1."""
    how, kinds = FOUND[defect]
    print(outcomes[defect][1])
    check_found(kinds, itertools.chain([outcomes[defect]], episodes(defect, how)))


def test_without_the_defect_nothing_is_found(outcomes: dict[str, tuple[int, str]]) -> None:
    """The same workers, as they should be, pass."""
    status, output = outcomes["none"]
    assert "anomalies: none" in output
    assert status == 0


@pytest.mark.root
@pytest.mark.skipif(bool(can_mount()) and os.environ.get("CI") != "true", reason="needs root and a loop device")
def test_a_disk_that_does_not_sync_is_found() -> None:
    """Where syncs do nothing, a power cut takes what was acknowledged as durable, and the soak says so."""
    check_found({"lost-write", "unseen"}, episodes("syncs nothing", "--seconds 3 --faults power --patience 60"))
