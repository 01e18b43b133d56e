"""One measurement in a process of its own, so that no contestant lives with another's heap or threads.

    python -m benchmarks.child contestants.sqlite:insert_one DIRECTORY AMOUNT

The answer is one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.workloads import NotMeasurableError, is_timed, rate

WARM_UP_SHARE = 20  # one twentieth of the work goes first: imports, caches, specialised bytecode


def resolve(target: str) -> Any:
    """``contestants.sqlite:insert_one`` as the function itself."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(f"benchmarks.{module}"), name)


def measure(target: str, directory: Path, amount: int) -> dict[str, float]:
    """The figures of one measurement; a directory beside ``directory`` holds what rounds share."""
    function = resolve(target)
    if not is_timed(function):
        return function(directory, amount)
    rate(function, directory / "warm-up", max(1, amount // WARM_UP_SHARE))
    return rate(function, directory / "counted", amount)


def main() -> None:
    target, directory, amount = sys.argv[1:]
    try:
        figures: dict[str, Any] = measure(target, Path(directory), int(amount))
    except NotMeasurableError as reason:
        figures = {"skipped": str(reason)}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
