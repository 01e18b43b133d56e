"""The examples in the package's docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import eventlog


def modules() -> list[ModuleType]:
    """Every module of the package but the one that runs the command line."""
    names = [found.name for found in pkgutil.walk_packages(eventlog.__path__, "eventlog.")]
    return [eventlog, *(importlib.import_module(name) for name in names if not name.endswith("__main__"))]


WITH_EXAMPLES = [module for module in modules() if ">>> " in Path(module.__file__ or "").read_text(encoding="utf-8")]


@pytest.mark.parametrize("module", WITH_EXAMPLES, ids=lambda module: module.__name__)
def test_the_examples_of_a_module_are_true(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a docstring shows is what happens, in a directory that is removed afterwards."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0, capsys.readouterr().out


def test_examples_are_found() -> None:
    """The list above is not empty by mistake: the classes that a user holds have examples."""
    assert {"eventlog.opening", "eventlog.event_log", "eventlog.producer.producer", "eventlog.consumer.consumer"} <= {
        module.__name__ for module in WITH_EXAMPLES
    }
