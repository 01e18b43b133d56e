"""What the documentation shows is what happens: every Python block in README and docs runs.

The blocks of one page run in order and share their names, in a directory of their own. A block with ``>>>`` is a
doctest: what it prints is compared.
"""

from __future__ import annotations

import contextlib
import doctest
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import eventlog

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[int, str]]:
    """Yield each Python block of the page with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        yield text.count("\n", 0, match.start(1)), match[1]


def run_block(code: str, names: dict[str, Any], page: Path, line: int) -> None:
    """Run one block; a doctest's failures are shown as doctest shows them."""
    if ">>> " not in code:
        exec(compile("\n" * line + code, str(page), "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), line)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    shown: list[str] = []
    runner.run(test, out=shown.append, clear_globs=False)
    names.update(test.globs)  # get_doctest works on a copy
    assert not runner.failures, "".join(shown)


@contextlib.contextmanager
def closing(names: dict[str, Any]) -> Iterator[None]:
    """Close what the page left open, clients before their log."""
    try:
        yield
    finally:
        for kind in ("Producer", "Consumer", "EventLog"):
            for value in list(names.values()):
                if type(value).__name__ == kind:
                    value.close()


@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p))], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_python_block_runs(page: Path, tmp_path: Path) -> None:
    """The page's code runs from top to bottom as a reader would type it in, and prints what the page says."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(tmp_path), closing(names):
        for line, code in blocks(page):
            run_block(code, names, page, line)
    assert os.getcwd() != str(tmp_path)


def test_the_pages_have_code() -> None:
    """The parametrisation above finds the code: README's, and that of the tutorial and the how-to pages."""
    with_code = {str(page.relative_to(ROOT)) for page in PAGES if any(blocks(page))}
    assert {"README.md", "docs/tutorial.md", "docs/how-to/produce.md", "docs/how-to/consume.md"} <= with_code


def test_every_link_between_pages_leads_somewhere() -> None:
    """A relative link in README, CONTRIBUTING or the docs names a file that exists."""
    broken = []
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_the_settings_page_has_every_setting_with_its_default() -> None:
    """The tables of the settings page name each field of the configurations and limits, in order, with its default."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", page, re.MULTILINE)
    configurations = (eventlog.TopicConfig, eventlog.ProducerConfig, eventlog.ConsumerConfig, eventlog.Limits)
    fields = [
        (f.name, repr(getattr(configuration(), f.name)))
        for configuration in configurations for f in attrs.fields(configuration)
    ]  # fmt: skip
    assert documented == fields


def test_the_reference_shows_every_call() -> None:
    """What a public class inherits from one that is not public is named on its page, or else it would not be shown."""
    internal = {"Producer.place", "Producer.fail_transaction"}  # for the asynchronous producer
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = re.findall(
        r"^::: eventlog\.(\w+)\n(?:    options:\n      inherited_members: \[(.*?)\]\n)?", text, re.MULTILINE
    )
    missing = []
    for name, inherited in shown:
        value = getattr(eventlog, name)
        bases = value.__mro__[1:] if isinstance(value, type) and not issubclass(value, BaseException) else ()
        calls = {
            call for base in bases if base.__module__.startswith("eventlog") and base.__name__ not in eventlog.__all__
            for call, function in vars(base).items() if not call.startswith("_") and callable(function)
        }  # fmt: skip
        missing += [f"{name}.{call}" for call in sorted(calls - set(inherited.split(", ")))]
    assert shown and set(missing) <= internal


def test_every_test_that_the_docs_name_exists() -> None:
    """A promise that is "proven by" a test names one that is there."""
    named = {name for page in PAGES for name in re.findall(r"`(tests/[\w/]+\.py)`", page.read_text(encoding="utf-8"))}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    """A page of the docs that mkdocs.yml does not list would be found by nobody."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page not in navigation] == []
