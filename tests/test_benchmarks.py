"""The benchmarks run: eventlog's side of every contest, at tiny sizes, with nothing asserted about time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.xdist_group("benchmarks"),  # all share one run
    pytest.mark.timeout(2000),  # a minute on a quiet machine: about eighty processes, one after the other
]
ROOT = Path(__file__).resolve().parents[1]
SECONDS = 1800


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one quick run without the peers wrote."""
    place = tmp_path_factory.mktemp("benchmarks")
    command = [sys.executable, "benchmarks/compare.py", "--quick", "--ours"]
    command += ["--dir", str(place), "--json", str(place / "run.json")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [path.name for path in place.iterdir()] == ["run.json"], "the run left files behind"
    return json.loads((place / "run.json").read_text())


def test_every_contest_has_figures_of_ours(figures: dict[str, Any]) -> None:
    """Each contest measured eventlog, unless this system cannot: then the reason is given."""
    for contest in figures["contests"]:
        measured = set(figures["figures"].get(contest, ())) | set(figures["missing"].get(contest, ()))
        assert any(name.startswith("eventlog") for name in measured), contest


def test_a_peer_that_is_left_out_has_a_reason(figures: dict[str, Any]) -> None:
    """Nothing is dropped in silence: who has no figure has a reason."""
    reasons = [reason for contest in figures["missing"].values() for reason in contest.values()]
    assert reasons
    assert all(reasons)


def test_the_report_is_made_of_the_figures(figures: dict[str, Any], tmp_path: Path) -> None:
    """The page names the date and the command of the run, and every work that was measured."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: extra 'bench'")
    source = tmp_path / "run.json"
    source.write_text(json.dumps(figures))
    command = [sys.executable, "benchmarks/compare.py", "--from", str(source), "--report", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=SECONDS)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert figures["run"]["date"] in page
    assert figures["run"]["command"] in page
    assert page.count("\n### ") == len(figures["contests"])
