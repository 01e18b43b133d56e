"""Docstrings as Markdown: fences for doctests, literal blocks and drawn tables, which stand bare in the code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_DOCTEST = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)
_TABLE = re.compile(r"^=+(?: +=+)+ *\n(?:.+\n)+?=+(?: +=+)+ *$(?:\n(?:.+\n)*?=+(?: +=+)+ *$)?", re.MULTILINE)


def to_markdown(text: str) -> str:
    """Return the docstring with what Markdown would garble inside fences."""
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
    text = re.sub(r"\A:$|^:$", "", text, flags=re.MULTILINE)
    text = _TABLE.sub(lambda match: f"```text\n{match[0]}\n```", text)
    return _DOCTEST.sub(lambda match: f"```pycon\n{match[0]}\n```", text)


class Fences(griffe.Extension):
    """Applies `to_markdown` to every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
