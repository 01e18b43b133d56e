"""Defects put into the package from outside: each replaces a function by one that does something wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs

Defect = Callable[..., Any]


class Patch:
    """Puts one defect into this process, for good, and knows whether the product has run into it."""

    def __init__(self) -> None:
        self.was_called = False

    def replace(self, owner: Any, name: str, defect: Defect) -> None:
        """Call ``defect(real, *arguments)`` wherever ``owner.name`` is called, a method, a property or a function.

        Raises LookupError when the owner has no such name of its own: the product has changed, and this must, too.
        """
        if name not in vars(owner):
            raise LookupError(f"{owner.__name__} has no {name}")
        found = vars(owner)[name]
        is_property = isinstance(found, property)
        real = found.fget if is_property else found

        @functools.wraps(real)
        def defective(*arguments: Any, **more: Any) -> Any:
            self.was_called = True
            return defect(real, *arguments, **more)

        setattr(owner, name, property(defective) if is_property else defective)


@attrs.frozen
class Mutation:
    """A defect, what is wrong with it, and the tests that must fail for it."""

    name: str
    apply: Callable[[Patch], None]
    proofs: tuple[str, ...]

    @property
    def defect(self) -> str:
        """What it does wrong."""
        return " ".join((self.apply.__doc__ or "").split())


MUTATIONS: dict[str, Mutation] = {}


def caught_by(*proofs: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Enter the decorated function in the list of mutations; ``proofs`` are node ids of tests, below ``tests/``."""

    def enter(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
        MUTATIONS[apply.__name__] = Mutation(apply.__name__, apply, tuple(f"tests/{proof}" for proof in proofs))
        return apply

    return enter


def nothing(real: Any, *arguments: Any, **more: Any) -> None:
    """Do nothing, instead of what is real."""
