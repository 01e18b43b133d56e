"""Logs with damage of one place, of any kind, in any file: nothing wrong is read, nothing is lost in silence.

Each example damages a copy of a log, and then, in a process of its own, opens it, reads it by every API, appends to
it, and reads it again. Right data or an `EventLogError` that names the place are answers; a hang, a signal, another
exception, a record that is wrong, or gone without a word, or gone although its bytes are whole, are failures.

``pytest -m soak tests/fuzz`` goes on for an hour, or for ``EVENTLOG_FUZZ_SECONDS``.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.expectation import expect
from tests.fuzz.mutation import KINDS, Mutation, mutations
from tests.fuzz.survey import survey
from tests.fuzz.template import Template, make

_LONGEST_SECONDS = 120  # of one example, which takes less than one: a hang
_EXAMPLES = 40  # of each log, in the suite


@pytest.fixture(scope="module", params=["closed", "killed"])
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A log that was closed, or whose process was killed."""
    return make(tmp_path_factory.mktemp("template") / "log", killed=request.param == "killed")


def outcome(template: Template, mutation: Mutation, scratch: Path) -> str:
    """Damage a copy of the log and survey it in a process of its own; return what went wrong, or nothing."""
    root = scratch / "log"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(template.path, root)
    mutation.apply(root, template.files)
    expected = expect(template, mutation, root)
    answers, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_LONGEST_SECONDS)
        try:
            survey(root, template, expected)
        except BaseException:
            os.write(answer, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(answer)
    with os.fdopen(answers, "rb") as file:
        told = file.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return told or ("" if status == 0 else f"ended by signal {-status}")


def check(template: Template, mutation: Mutation) -> None:
    told = outcome(template, mutation, template.path.parent / "damaged")
    assert not told, f"{mutation} of {mutation.target(template.files)}\n{told}"


def test_damage_of_one_place(template: Template) -> None:
    """Whatever is damaged, all APIs tell right data or say what is wrong; whole records stay, and appends go on."""

    @settings(max_examples=_EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(mutations)
    def run(mutation: Mutation) -> None:
        check(template, mutation)

    run()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_damage_of_one_place_for_long(template: Template) -> None:
    """The same with new examples each time, for as long as you like."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    until = time.monotonic() + float(os.environ.get("EVENTLOG_FUZZ_SECONDS", "3600")) / 2  # there are two logs
    while time.monotonic() < until:
        check(template, Mutation(rng.choice(KINDS), *(rng.randrange(2**32) for _ in range(3))))
