"""Every example runs, and does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def run(*command: str, **variables: str) -> str:
    """Run a program as a user would, and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tour_ends_well() -> None:
    """The tour writes a real file, reads every line back in order per key, and finds nothing damaged."""
    shown = run("examples/tour.py")
    assert "2000 lines under" in shown and "came back byte for byte" in shown
    assert "nothing is damaged" in shown
    assert shown.count("$ eventlog ") == 5


def test_event_sourcing_rebuilds_state_as_of_any_time() -> None:
    """Balances follow from the events, now and at a moment in the past."""
    assert run("examples/event_sourcing.py").splitlines() == [
        "on the device: True",
        "before 3000: {'ada': 100, 'grace': 50}",
        "now: {'ada': 70, 'grace': 50}",
    ]


def test_two_processes_form_a_pipeline() -> None:
    """Every number that one process writes comes back squared by the other, once."""
    assert run("examples/pipeline.py") == f"1000 squares, sum {sum(n * n for n in range(1000))}\n"


def test_killed_workers_neither_lose_an_order_nor_bill_it_twice() -> None:
    """After three workers were killed between reading and committing, each order has one invoice."""
    assert run("examples/exactly_once.py") == "3 workers died, 1000 invoices for 1000 of 1000 orders\n"


def test_the_example_tests_pass(tmp_path: Path) -> None:
    """The tests that show how to test with a log pass themselves."""
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_with_eventlog.py"]
    assert "2 passed" in run(*command, PYTEST_DEBUG_TEMPROOT=str(tmp_path))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_is_run_above(path: Path) -> None:
    """No example is left out of this file."""
    assert f"examples/{path.name}" in Path(__file__).read_text()
