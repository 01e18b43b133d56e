"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import eventlog
from tests.interrupting import Interrupter, files_in_use, interrupts

# Deadlines and "too slow" measure the machine, not the code: a busy one must not fail a correct test.
settings.register_profile("eventlog", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("eventlog")

# What a shell runs in its background inherits an ignored SIGINT, and so would all programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Whoever started us may have ignored SIGCHLD, which is inherited: the exit status of a child would be lost.
signal.signal(signal.SIGCHLD, signal.SIG_DFL)

RunPython = Callable[..., Any]

_ROOT = Path(__file__).resolve().parents[1]
_PRELUDE = "import json, sys\nARGS = sys.argv[1:]\ndef answer(result): print(json.dumps(result))\n"


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    """A directory for a log, not there yet."""
    return tmp_path / "log"


@pytest.fixture
def log(log_path: Path) -> Iterator[eventlog.EventLog]:
    """An open, empty log; closed when the test ends."""
    with eventlog.open(log_path) as opened:
        yield opened


@pytest.fixture
def run_python() -> RunPython:
    """Run a script in a fresh process and return what it gave to ``answer()``, as JSON.

    ``run_python("import eventlog; answer(ARGS)", "a", "b", timeout=60) == ["a", "b"]``. The script finds its
    arguments in ``ARGS``. Fails with the script's own error output when its exit status is not ``status``; answers
    None when the script gave no answer.
    """

    def run(script: str, *args: object, timeout: float = 60, status: int = 0, env: dict[str, str] | None = None) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", _PRELUDE + script, *map(str, args)],
            cwd=_ROOT, env={**os.environ, "PYTHONPATH": str(_ROOT), **(env or {})},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"status {done.returncode}, not {status}\n{done.stdout}\n{done.stderr}"
        lines = done.stdout.splitlines()
        return json.loads(lines[-1]) if lines else None

    return run


@pytest.fixture
def interrupter(tmp_path: Path) -> Iterator[Interrupter]:
    """Interrupts calls by a real timer's signal, and sees that in the end nothing of the log is open or mapped."""
    with interrupts(seed=20240229) as made:
        yield made
    gc.collect()
    if sys.platform == "linux":
        assert files_in_use(tmp_path) == []
