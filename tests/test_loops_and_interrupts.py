"""Where an interrupt must be seen, by who frees a lock or gives records back, no loop stands that could hide it.

From Python 3.12 on the compiler leaves the jump back of some loops out of the exception table: an interrupt that comes
there passes by the handlers around it (CPython issues 130279 and 148278). A loop in a function that is called from
there is safe. The rule is looked at in the source, so that it holds whatever Python runs the tests.
"""

from __future__ import annotations

import ast
import dis
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

import eventlog

PACKAGE = Path(eventlog.__file__).parent
# What runs in processes that end by a signal's default, and never goes on behind an interrupt.
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if "testing" not in path.relative_to(PACKAGE).parts]
PASSES_BY = {"suppress", "translated", "nullcontext"}  # context managers to which an interrupt is nothing
CATCHES_ALL = {"BaseException", "KeyboardInterrupt"}
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.GeneratorExp)


def must_see_interrupts(node: ast.AST) -> bool:
    if isinstance(node, ast.Try):
        return bool(node.finalbody) or any(
            handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id in CATCHES_ALL)
            for handler in node.handlers
        )
    if isinstance(node, ast.With | ast.AsyncWith):
        return any(_name(item.context_expr) not in PASSES_BY for item in node.items)
    return False


def _name(expression: ast.expr) -> str:
    called = expression.func if isinstance(expression, ast.Call) else expression
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def risky_loops(node: ast.AST) -> Iterator[int]:
    """Yield the lines of loops, in this function, whose jump back may not be covered."""
    if isinstance(node, SCOPES):
        return
    is_risky = (
        isinstance(node, ast.Continue)
        or (isinstance(node, ast.While) and not isinstance(node.test, ast.Constant))
        or (isinstance(node, ast.For | ast.While) and isinstance(node.body[-1], ast.If | ast.With | ast.Try))
        or (
            isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp)
            and any(generator.ifs for generator in node.generators)
        )
    )
    if is_risky:
        yield node.lineno  # type: ignore[attr-defined]
    for child in ast.iter_child_nodes(node):
        yield from risky_loops(child)


def hidden_interrupts(source: str) -> set[int]:
    """Return the lines of loops in which an interrupt may pass by whoever must see it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if must_see_interrupts(node):
            for statement in node.body:  # type: ignore[attr-defined]
                found |= set(risky_loops(statement))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_loop_hides_an_interrupt(path: Path) -> None:
    """Within a ``with`` or a ``try`` that must see interrupts, loops are in functions of their own."""
    assert hidden_interrupts(path.read_text()) == set()


HIDING = """
def f(lock, g):
    with lock:
        while g():
            pass
"""
SEEING = """
def f(lock, g):
    def loop():
        while g():
            pass
    with lock:
        loop()
"""


def uncovered_jumps(source: str) -> int:
    """How many jumps back of ``f`` no handler covers, by this interpreter's exception table."""
    module = compile(source, "f", "exec")
    (code,) = (each for each in module.co_consts if isinstance(each, CodeType))
    covered = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    return sum(
        instruction.opname == "JUMP_BACKWARD"
        and not any(entry.start <= instruction.offset < entry.end for entry in covered)
        for instruction in dis.get_instructions(code)
    )


def test_the_rule_finds_what_the_compiler_does() -> None:
    """The rule objects to a loop within a ``with``, which Python 3.12 and 3.13 do not cover, and not to a call."""
    assert hidden_interrupts(HIDING) == {4}
    assert hidden_interrupts(SEEING) == set()
    assert uncovered_jumps(SEEING) == 0
    if (3, 12) <= sys.version_info < (3, 14):
        assert uncovered_jumps(HIDING) == 1
