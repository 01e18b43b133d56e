"""The package beside other distributions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import eventlog


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory of installed packages, with this one."""
    shutil.copytree(Path(eventlog.__file__).parent, tmp_path / "eventlog", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "eventlog_embedded-0.1.0.dist-info").mkdir()
    return tmp_path


def imported(site: Path) -> subprocess.CompletedProcess[str]:
    script = f"import sys; sys.path.insert(0, {str(site)!r}); import eventlog; print(eventlog.__file__)"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=site.parent)


def test_a_mixture_of_two_distributions(site: Path) -> None:
    """Where the other project of this name is installed too, the import fails, and says what to do."""
    (site / "eventlog-0.3.0.dist-info").mkdir()
    done = imported(site)
    assert done.returncode == 1
    assert "pip uninstall -y eventlog eventlog-embedded && pip install eventlog-embedded" in done.stderr


def test_the_distribution_alone(site: Path) -> None:
    """Beside its own distribution, and others whose names begin likewise, the package is imported."""
    (site / "eventlogger-1.0.dist-info").mkdir()
    done = imported(site)
    assert done.stdout.startswith(str(site)), done.stderr
