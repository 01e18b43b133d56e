"""Deliberate defects, one at a time: the suite must catch each one, or else it would not catch an accidental one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.driver import CONTROL

Results = dict[str, dict[str, Any]]
pytestmark = pytest.mark.xdist_group("mutations")  # all share one run
_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Results:
    """What became of the proofs of each mutation that is selected."""
    names = [item.callspec.params["name"] for item in request.session.items if item.path == request.path]
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutations.driver", *names], cwd=_ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {result["name"]: result for result in found}


@pytest.mark.parametrize("name", [CONTROL])
def test_the_proofs_hold_without_a_defect(name: str, results: Results) -> None:
    """Each test that is named as a proof passes on the product as it is, where the mutations run."""
    result = results[name]
    failed = [report for report in result["reports"] if report["outcome"] != "passed"]
    assert result["reports"] and not failed, (failed, result["printed"])


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_defect_is_caught(name: str, results: Results) -> None:
    """With the defect, each of its proofs fails: by what it states, and not because the defect itself cannot run."""
    mutation, result = MUTATIONS[name], results[name]
    print(mutation.defect, *result["reports"], result["printed"], sep="\n")
    assert result["was_called"], "the product never ran into the defect"
    survived = [proof for proof in mutation.proofs if not _is_caught(proof, result["reports"])]
    assert not survived, f"{mutation.defect} Not caught by {survived}"


def _is_caught(proof: str, reports: list[dict[str, Any]]) -> bool:
    """A proof is a test, or all variants of one: at least one of these must fail."""
    mine = [report for report in reports if report["proof"] == proof or report["proof"].startswith(proof + "[")]
    failed = [report for report in mine if report["outcome"] == "failed"]
    return bool(failed) and all(report["is_finding"] for report in failed)
