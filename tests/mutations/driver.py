"""Run the proofs of each mutation in a forked child that has the defect: `python -m tests.mutations.driver [NAME ...]`.

One process imports everything, once, the proofs as well; a child then costs a fork. One line of JSON for each mutation,
as it is known. Without a name all of them, and ``none`` first: the proofs of all, in a process without a defect.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from typing import Any

import pytest

import eventlog
from tests.mutations.catalogue import MUTATIONS, Patch

CONTROL = "none"
_PATIENCE = 250.0  # seconds for one mutation: a proof that waits for ever has not failed in the way it should
_OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--tb=short"]


class Verdicts:
    """A plugin of pytest that notes how each test ended, and with which kind of error."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        outcome = yield
        report = outcome.get_result()
        if report.when != "call" and report.passed:
            return
        error = call.excinfo.value if call.excinfo is not None else None
        self.reports.append({
            "proof": item.nodeid, "when": report.when, "outcome": report.outcome,
            "is_finding": is_finding(error), "error": "" if error is None else f"{type(error).__name__}: {error}"[:300],
        })  # fmt: skip


def is_finding(error: BaseException | None) -> bool:
    """Tell whether a test has failed by what it states, or by an error of the product's own; not by a bad patch."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_finding, error.exceptions))
    return isinstance(error, (AssertionError, pytest.fail.Exception, eventlog.EventLogError))


def run_proofs(name: str, proofs: list[str]) -> dict[str, Any]:
    """Put the defect in, and run the proofs. In a child."""
    patch, verdicts = Patch(), Verdicts()
    if name != CONTROL:
        MUTATIONS[name].apply(patch)
    status = pytest.main([*_OPTIONS, *proofs], plugins=[verdicts])
    return {"name": name, "was_called": patch.was_called, "status": int(status), "reports": verdicts.reports}


def in_child(name: str, proofs: list[str]) -> dict[str, Any]:
    """Run the proofs in a forked child; what it printed comes with the answer when there are no reports."""
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            try:
                os.write(writer, json.dumps(run_proofs(name, proofs)).encode())
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        os.close(writer)
        started = time.monotonic()
        answer = _read_until(reader, started + _PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # it has nothing more to say
        os.waitpid(child, 0)
        output.seek(0)
        printed = output.read().decode(errors="replace")
    found: dict[str, Any] = json.loads(answer) if answer else {"name": name, "was_called": False, "reports": []}
    seconds = round(time.monotonic() - started, 1)
    return {**found, "has_answered": bool(answer), "seconds": seconds, "printed": printed[-3000:]}


def _read_until(reader: int, deadline: float) -> bytes:
    answer = b""
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            break
        answer += chunk
    os.close(reader)
    return answer


def proofs_of(names: list[str]) -> list[str]:
    """Return the node ids of the tests that must fail for these mutations; of all of them for ``none``."""
    mutations = MUTATIONS if CONTROL in names else names
    return sorted({proof for name in mutations for proof in MUTATIONS[name].proofs})


def import_proofs(names: list[str]) -> None:
    """Import these tests, and what pytest needs for them, before the forks: it is most of what a child would do."""
    with contextlib.redirect_stdout(sys.stderr):
        pytest.main([*_OPTIONS, "--collect-only", *proofs_of(names)])
    gc.freeze()  # pytest collects garbage at its end, which need not look at all this again


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="eventlog-") as directory:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = directory  # what fails here is no example to try again
        os.environ["PYTEST_DEBUG_TEMPROOT"] = directory  # its own: pytest tidies up what others have left
        import_proofs(names)
        for name in names:
            print(json.dumps(in_child(name, proofs_of([name]))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or [CONTROL, *MUTATIONS])
