"""Child processes with a deadline: nothing here can hang the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class ChildError(Exception):
    """The child failed or missed its deadline; the message ends with what it last wrote to stderr."""


def start(module: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start ``python -m module arguments`` at the root of the repository."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)


def finish(child: subprocess.Popen[str], timeout: float) -> str:
    """What the child wrote to stdout, once it ended well. It is gone afterwards in any case."""
    try:
        output, errors = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ChildError(f"stopped after {timeout:.0f} s") from None
    finally:
        kill(child)
    if child.returncode:
        raise ChildError(_last_words(errors) or f"exit status {child.returncode}")
    return output


def kill(child: subprocess.Popen[str]) -> None:
    """End the child, and what it started where it leads a session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()
    for stream in filter(None, (child.stdout, child.stderr)):
        stream.close()


def answer(output: str) -> dict[str, Any]:
    """The JSON object on the last line."""
    lines = output.strip().splitlines()
    if not lines:
        raise ChildError("no answer")
    return json.loads(lines[-1])


def call(module: str, *arguments: object, timeout: float) -> dict[str, Any]:
    """Run ``python -m module arguments`` to its end, in a session of its own, and return its answer."""
    child = start(module, *arguments, stderr=subprocess.PIPE, start_new_session=True)
    return answer(finish(child, timeout))


def _last_words(errors: str | None) -> str:
    lines = [line.strip() for line in (errors or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""
