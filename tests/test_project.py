"""The project's files agree with each other, and speak of the project alone."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog
from tests.conftest import RunPython

ROOT = Path(__file__).resolve().parents[1]

# Written so that this file does not match itself.
REGISTRY_HOST = re.compile(
    r"pypi\.(?:org|python\.org)|pythonhosted\.org|anaconda\.(?:org|com)|npmjs\.(?:org|com)"
    r"|crates\.io|proxy\.golang\.org|rubygems\.org|\b(?:docker|ghcr|quay)\.io\b",
    re.IGNORECASE,
)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")

# Tests of one group, each of which notes the worker that it runs in.
GROUPED = """
import os, pathlib, pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(10))
def test_says_where_it_runs(number):
    place = pathlib.Path(__file__).with_name(str(number))
    place.mkdir()
    (place / os.environ["PYTEST_XDIST_WORKER"]).touch()
"""

# A run of pytest, while another one puts a file into each old directory that it tidies away.
TIDIED_BY_TWO = """
import os, pytest

def add_a_file(event, details):
    if event == "os.rmdir" and "/garbage-" in str(details[0]):
        open(f"{details[0]}/.lock", "w").close()

root = f"{os.environ['PYTEST_DEBUG_TEMPROOT']}/pytest-of-{os.environ['LOGNAME']}"
for number in (0, 9):  # of these the last few are kept
    os.makedirs(f"{root}/pytest-{number}", mode=0o700)
sys.addaudithook(add_a_file)
status = pytest.main(["-q", "-p", "no:cacheprovider", "examples/test_with_eventlog.py"])
answer([status, os.listdir(root)])
"""


def readme_test_command() -> str:
    section = re.search(r"^## Test it\n(.*?)(?=^## |\Z)", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert section, "README.md has no section '## Test it'"
    block = re.search(r"^```sh\n(.*?)^```", section[1], re.M | re.S)
    assert block, "'## Test it' has no sh block"
    return block[1].strip()


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    # A checkout may belong to another user than the one who tests it.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def matching_lines(pattern: re.Pattern[str]) -> Iterator[str]:
    for path in tracked_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


def test_ci_runs_the_readme_test_command() -> None:
    """What .ci/run runs as the tests is, character by character, what README tells a reader to run."""
    command = [ROOT / ".ci" / "run", "--print-test-command"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.strip() == readme_test_command()


def test_readme_test_command_starts_fresh() -> None:
    """README's test command is one line that makes a virtual environment, installs into it, and tests."""
    steps = readme_test_command().split(" && ")
    assert steps[0] == "python3 -m venv .venv"
    assert steps[-1].split()[0] == "pytest"
    assert "\n" not in readme_test_command()


def test_runs_that_tidy_at_the_same_time_both_pass(run_python: RunPython, tmp_path: Path) -> None:
    """A run of pytest whose clearing of old temporary directories meets another's is none the worse for it."""
    status, left = run_python(TIDIED_BY_TWO, env={"PYTEST_DEBUG_TEMPROOT": str(tmp_path), "LOGNAME": "ada"})
    assert any(name.startswith("garbage-") for name in left), "nothing was in the way"
    assert status == 0


def test_a_group_of_tests_stays_together(run_python: RunPython, tmp_path: Path) -> None:
    """Tests that share an `xdist_group` run in one worker, so that they share a fixture: versions of pytest-xdist and
    pytest that do not fit each other scatter them, and say nothing.
    """
    (tmp_path / "test_grouped.py").write_text(GROUPED, encoding="utf-8")
    command = ["-q", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", tmp_path]
    script = "import pytest; answer(pytest.main(ARGS))"
    assert run_python(script, *command, env={"PYTEST_DEBUG_TEMPROOT": str(tmp_path)}) == 0
    workers = [path.name for path in tmp_path.glob("*/gw*")]
    assert len(workers) == 10 and len(set(workers)) == 1, workers


def test_version_is_the_same_everywhere() -> None:
    """The version that the package reports is the one it is published under."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert eventlog.__version__ == project["version"]


def test_changelog_has_an_unreleased_section() -> None:
    """A change always has a place in the changelog."""
    assert re.search(r"^## \[Unreleased\]$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the installing machine's setting; no tracked file names a host for them."""
    assert list(matching_lines(REGISTRY_HOST)) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    """No tracked file depends on, or speaks of, where somebody's checkout or home directory is."""
    assert list(matching_lines(MACHINE_PATH)) == []


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("https://" + "pypi" + ".org/simple", REGISTRY_HOST),
        ("files." + "pythonhosted" + ".org", REGISTRY_HOST),
        ("see /" + "work/main", MACHINE_PATH),
        ('open("/' + 'home/ada/log")', MACHINE_PATH),
    ],
)
def test_the_patterns_find_what_they_look_for(text: str, pattern: re.Pattern[str]) -> None:
    """The two scans above recognise what they exist to find."""
    assert pattern.search(text)
