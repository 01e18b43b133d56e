"""What type checkers say of programs that use the public names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import attrs
import pytest

import eventlog

HERE = Path(__file__).parent / "typing"
ROOT = Path(__file__).parents[1]

Place = tuple[str, int]  # a file's name and a line
Found = dict[Place, str]


def mypy(*paths: Path) -> Found:
    """What mypy finds with all its checks."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-pretty",
        "--no-error-summary",
        "--explicit-package-bases",
    ]
    told = subprocess.run([*command, *map(str, paths)], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode in (0, 1), told.stderr
    found = re.findall(r"^(.+?):(\d+): error: (.*)$", told.stdout, re.MULTILINE)
    return {(Path(path).name, int(line)): message for path, line, message in found}


def pyright(*paths: Path) -> Found:
    """What pyright finds with its standard checks."""
    config = {
        "include": list(map(str, paths)),
        "typeCheckingMode": "standard",
        "venvPath": str(Path(sys.prefix).parent),
    }
    config |= {"venv": Path(sys.prefix).name, "extraPaths": [str(ROOT)]}
    project = paths[0].parent / "pyrightconfig.json"
    project.write_text(json.dumps(config))
    try:
        command = [sys.executable, "-m", "basedpyright", "--outputjson", "--level", "error", "--project", str(project)]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    finally:
        project.unlink()
    assert told.returncode in (0, 1), told.stderr
    found = json.loads(told.stdout)["generalDiagnostics"]
    return {(Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"] for each in found}


@pytest.fixture(scope="module", params=[mypy, pyright])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What a type checker says of the files beside this one, copied to where no other settings hold."""
    directory = tmp_path_factory.mktemp("uses")
    paths = [directory / path.name for path in sorted(HERE.glob("*.py"))]
    for path in paths:
        path.write_text((HERE / path.name).read_text(encoding="utf-8"), encoding="utf-8")
    checked: Found = request.param(*paths)
    return checked


def test_right_uses_are_accepted(found: Found) -> None:
    """Type checkers find no fault with settings and calls that are right."""
    assert {place: message for place, message in found.items() if place[0] == "right.py"} == {}


def test_wrong_uses_are_refused(found: Found) -> None:
    """Type checkers find each misspelt setting and each impossible value, and nothing else."""
    lines = (HERE / "wrong.py").read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert {line for name, line in found if name == "wrong.py"} == wrong


def test_the_code_that_users_copy(tmp_path: Path) -> None:
    """README's code and the examples pass a type checker that knows nothing of `Any`."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert blocks
    paths = [tmp_path / f"readme_{number}.py" for number in range(len(blocks))]
    for path, block in zip(paths, blocks, strict=True):
        path.write_text(block, encoding="utf-8")
    assert mypy(*paths, *sorted((ROOT / "examples").glob("*.py"))) == {}


KINDS: list[tuple[Any, Any]] = [
    (eventlog.TopicSettings, eventlog.TopicConfig),
    (eventlog.ProducerSettings, eventlog.ProducerConfig),
    (eventlog.ConsumerSettings, eventlog.ConsumerConfig),
]


@pytest.mark.parametrize(("typed", "config"), KINDS)
def test_the_settings_that_types_know_are_those_there_are(typed: Any, config: Any) -> None:
    """The typed settings are the fields of the configuration, in the same order."""
    assert list(typed.__annotations__) == [field.name for field in attrs.fields(config)]


@pytest.mark.parametrize(("typed", "config"), KINDS)
def test_what_types_allow_is_possible(typed: Any, config: Any) -> None:
    """Each word that a setting's type allows is accepted."""
    for name, hint in typing.get_type_hints(typed).items():
        for word in words(hint):
            extra = {"group": "g"} if name == "group_instance_id" else {}
            assert config(**{name: word, **extra})


def words(hint: Any) -> list[Any]:
    """The literal values within a type."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    return [word for inner in typing.get_args(hint) for word in words(inner)]


@pytest.mark.parametrize(("typed", "config"), KINDS)
def test_each_typed_setting_tells_its_default(typed: Any, config: Any) -> None:
    """The text behind each typed setting, which editors show, ends with the default that it has."""
    source = (ROOT / "eventlog" / "settings.py").read_text(encoding="utf-8")
    name = "ReadSettings" if typed is eventlog.ConsumerSettings else typed.__name__
    body = source.split(f"class {name}(")[1]
    for field in attrs.fields(config):
        text = body.split(f"    {field.name}: ")[1].split('"""')[1:]
        told = re.search(r"Default (\"[^\"]*\"|[\w.-]+)", " ".join(text))
        default = getattr(config(), field.name)
        wanted = f'"{default}"' if isinstance(default, str) else str(default)
        assert told is not None and told[1].rstrip(".") == wanted, field.name
