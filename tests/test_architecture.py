"""The floors of the package, and what every file on them keeps to."""

from __future__ import annotations

import ast
import builtins
import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import eventlog

PACKAGE = Path(eventlog.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = sorted(
    ".".join(("eventlog", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCES
)

# Lowest first. `eventlog` itself is the roof: it only gathers the public names.
FLOORS: list[set[str]] = [
    {
        "errors",
        "model",
        "clock",
        "metrics",
        "config",
        "quantities",
        "read_limits",
        "partitioners",
        "texts",
        "notebooks",
        "pickling",
    },
    {"files"},
    {"format", "serializers"},
    {"storage"},
    {"replication"},
    {"topics"},
    {"coordination"},
    {"producer", "consumer"},
    {"aio", "monitoring", "admin", "settings", "clients", "event_log", "opening"},
    {"cli", "__main__", "testing", "kafka"},
]
ROOF = len(FLOORS) - 1  # the command line and the test fixtures stand on the public names


def floor_of(module: str) -> int:
    """The floor of ``eventlog.<part>...``; the package itself lies between the last two."""
    parts = module.split(".")
    if len(parts) == 1:
        return ROOF - 1
    return next(number for number, names in enumerate(FLOORS) if parts[1] in names)


def imports_of(path: Path, *, for_types: bool) -> Iterator[str]:
    """The modules of this package that a file imports; those under TYPE_CHECKING only if ``for_types``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in skipped and not for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] == "eventlog")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import hides which floor it reaches"
            if node.module and node.module.split(".")[0] == "eventlog":
                for name in node.names:
                    longer = f"{node.module}.{name.name}"
                    yield longer if longer in MODULES else node.module


def module_of(path: Path) -> str:
    return ".".join(("eventlog", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def graph(*, for_types: bool) -> dict[str, set[str]]:
    return {module_of(path): set(imports_of(path, for_types=for_types)) for path in SOURCES}


def test_every_module_stands_on_a_floor() -> None:
    """No file lies outside the floors that the design names."""
    known = set.union(*FLOORS)
    assert {module.split(".")[1] for module in MODULES if "." in module} <= known


def test_nobody_imports_from_a_higher_floor() -> None:
    """A file imports only from lower floors or from its own, also for types alone."""
    upward = [
        f"{module} imports {other}"
        for module, others in graph(for_types=True).items()
        for other in others
        if floor_of(other) > floor_of(module) and module != "eventlog"
    ]
    assert not upward


def test_the_package_is_imported_by_its_programs_only() -> None:
    """The public names are gathered for users: inside, each file says where it really gets a name from."""
    users = [module for module, others in graph(for_types=True).items() if "eventlog" in others]
    assert all(floor_of(module) == ROOF for module in users)


def test_there_is_no_import_circle() -> None:
    """Within a floor, files have an order: each imports only from earlier ones, also for types alone."""
    imports = graph(for_types=True)
    done: set[str] = set()
    while ready := {module for module in imports if module not in done and not imports[module] - done - {module}}:
        done |= ready
    assert set(imports) == done, f"circle among {sorted(set(imports) - done)}"


def test_only_the_files_floor_touches_the_operating_system() -> None:
    """Memory mappings, ctypes and calls of the kernel stay on the floor of the files."""
    for path in SOURCES:
        if floor_of(module_of(path)) not in (1, ROOF):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
            assert not names & {"mmap", "ctypes", "shutil", "tempfile"}, path


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_a_file_is_short_enough_to_read_at_once(path: Path) -> None:
    """No file is longer than 400 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_a_file_opens_with_what_it_is_for(path: Path) -> None:
    """Every file has a docstring, and postpones the evaluation of annotations if it has any code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    if len(tree.body) > 1:
        assert "from __future__ import annotations" in path.read_text(encoding="utf-8")


def test_the_public_names_are_complete_and_sorted() -> None:
    """``__all__`` holds every public name that the package imports or defines, sorted, and nothing else."""
    assert eventlog.__all__ == sorted(eventlog.__all__)
    assert len(set(eventlog.__all__)) == len(eventlog.__all__)
    there = {
        name for name, value in vars(eventlog).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    } - {"Any", "annotations"}
    assert set(eventlog.__all__) - {"__version__"} == there


def test_every_error_is_public() -> None:
    """Whatever error a caller may want to catch is importable from ``eventlog``, and stands in the drawn tree."""
    errors = importlib.import_module("eventlog.errors")
    names = {
        name for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == "eventlog.errors"
    }  # fmt: skip
    assert names <= set(eventlog.__all__)
    drawn = re.findall(r"── (\w+Error)", errors.__doc__ or "")
    assert sorted(drawn) == sorted(names - {"EventLogError"})


def public_functions() -> Iterator[tuple[str, FunctionType]]:
    """Every public function, method and property of every public class and module function, by full name."""
    for module in map(importlib.import_module, (name for name in MODULES if name != "eventlog.__main__")):
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if isinstance(value, FunctionType):
                yield f"{module.__name__}.{name}", value
            elif inspect.isclass(value):
                yield from methods_of(value)


def methods_of(cls: type[Any]) -> Iterator[tuple[str, FunctionType]]:
    for name, value in vars(cls).items():
        plain = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        ours = isinstance(plain, FunctionType) and plain.__module__ == cls.__module__
        written = ours and plain.__code__.co_filename.startswith(str(PACKAGE))  # attrs generates some
        if written and (not name.startswith("_") or name == "__init__"):
            yield f"{cls.__module__}.{cls.__qualname__}.{name}", plain


def test_every_public_signature_is_typed() -> None:
    """Each parameter and each result of each public function has a type."""
    untyped = []
    for name, function in public_functions():
        annotations = function.__annotations__
        parameters = [
            parameter.name for parameter in inspect.signature(function).parameters.values()
            if parameter.name not in ("self", "cls")
        ]  # fmt: skip
        untyped += [f"{name}({parameter})" for parameter in parameters if parameter not in annotations]
        untyped += [] if "return" in annotations else [f"{name} -> ?"]
    assert not untyped
    assert (PACKAGE / "py.typed").exists()


def test_every_public_name_is_explained() -> None:
    """Every public class, function, method and property has a docstring."""
    bare = [
        name for name, function in public_functions()
        if not name.endswith("__init__") and not inspect.getdoc(function)
    ]  # fmt: skip
    for module in map(importlib.import_module, (name for name in MODULES if name != "eventlog.__main__")):
        bare += [
            f"{module.__name__}.{name}" for name, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__
            and not name.startswith("_") and not value.__doc__
        ]  # fmt: skip
    assert not bare


def test_there_are_examples() -> None:
    """The classes that users meet first each show an example that runs."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for public in (eventlog.open, eventlog.Partition, eventlog.Topic, eventlog.RecordBatch, eventlog.Record):
        assert any(found.examples for found in finder.find(public, module=inspect.getmodule(public)))


# --- calls within calls, and what signal handlers raise ---

INSIDE = [path for path in SOURCES if not {"testing", "cli"} & set(path.relative_to(PACKAGE).parts)]
SYSTEM_ERRORS = {
    name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError)
}  # fmt: skip
# Locks by which one thread wakes another, and that of a consumer, for which nobody waits: see decision 0022.
PLAIN_LOCKS = {"_awake", "awake", "_signal", "_in_use", "_in_callback"}
TELLS_THEM_APART = {"pass_on_handlers", "is_from_handler", "_wait_in_turn"}


def _names(node: ast.AST | None) -> set[str]:
    return set() if node is None else {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _called(node: ast.AST) -> set[str]:
    functions = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    return {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in functions}


@pytest.mark.parametrize("path", INSIDE, ids=module_of)
def test_a_handlers_error_is_never_taken_for_the_systems(path: Path) -> None:
    """Who catches an OSError first passes on what a signal handler has raised: `pass_on_handlers`, or `suppress`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and _names(node.type) & SYSTEM_ERRORS:
            is_raised = ast.unparse(node.body[0]) == "raise"
            assert is_raised or set.union(*map(_called, node.body[:2])) & TELLS_THEM_APART, f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "contextlib.suppress":
            assert not set.union(set(), *map(_names, node.args)) & SYSTEM_ERRORS, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", INSIDE, ids=module_of)
def test_a_lock_knows_its_thread(path: Path) -> None:
    """Locks between threads are `Mutex`es: who would wait for himself is told so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Assign) or not {"Lock", "RLock", "Condition", "Event"} & _called(node.value):
            continue
        (target,) = node.targets
        name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
        assert name in PLAIN_LOCKS, f"{path.name}:{node.lineno}: {ast.unparse(node)}"
