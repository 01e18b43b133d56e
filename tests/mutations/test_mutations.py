"""Deliberate defects, one at a time: the suite must catch each one, or else it would not catch an accidental one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.driver import CONTROL

Result = dict[str, Any]
ResultOf = Callable[[str], Result]
pytestmark = pytest.mark.xdist_group("mutations")  # all share one run
_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def result_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResultOf]:
    """Tell what became of the proofs of a mutation; those that are selected run in this order, each in its own time."""
    names = [item.callspec.params["name"] for item in request.session.items if item.path == request.path]
    command = [sys.executable, "-m", "tests.mutations.driver", *names]
    temporary = str(tmp_path_factory.mktemp("mutations"))  # what is left when it is killed
    env = {**os.environ, "TMPDIR": temporary, "EVENTLOG_CRASH_STRIDE": "1"}  # a defect may show at one step alone
    found: dict[str, Result] = {}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, cwd=_ROOT, env=env, stdout=subprocess.PIPE, stderr=errors, text=True) as driver,
    ):
        assert driver.stdout is not None

        def result_of(name: str) -> Result:
            while name not in found:
                line = driver.stdout.readline()
                if not line:
                    errors.seek(0)
                    pytest.fail(f"the driver has ended: {errors.read()}")
                result = json.loads(line)
                found[result["name"]] = result
            return found[name]

        try:
            yield result_of
        finally:
            driver.kill()


@pytest.mark.parametrize("name", [CONTROL])
def test_the_proofs_hold_without_a_defect(name: str, result_of: ResultOf) -> None:
    """Each test that is named as a proof passes on the product as it is, where the mutations run."""
    result = result_of(name)
    failed = [report for report in result["reports"] if report["outcome"] != "passed"]
    assert result["reports"] and not failed, (failed, result["printed"])


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_defect_is_caught(name: str, result_of: ResultOf) -> None:
    """With the defect, each of its proofs fails: by what it states, and not because the defect itself cannot run."""
    mutation, result = MUTATIONS[name], result_of(name)
    print(mutation.defect, *result["reports"], result["printed"], sep="\n")
    assert result["has_answered"], "the run of the proofs broke off, or took too long"
    assert result["was_called"], "the product never ran into the defect"
    survived = [proof for proof in mutation.proofs if not _is_caught(proof, result["reports"])]
    assert not survived, f"{mutation.defect} Not caught by {survived}"


def _is_caught(proof: str, reports: list[dict[str, Any]]) -> bool:
    """A proof is a test, or all variants of one: at least one of these must fail."""
    mine = [report for report in reports if report["proof"] == proof or report["proof"].startswith(proof + "[")]
    failed = [report for report in mine if report["outcome"] == "failed"]
    return bool(failed) and all(report["is_finding"] for report in failed)
