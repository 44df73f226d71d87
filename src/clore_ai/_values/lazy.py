"""Imports what a package offers when it is first used: most programs use little of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def submodule(package: str, name: str) -> ModuleType:
    """A package's module; for its ``__getattr__``.

    Raises:
        AttributeError: it has no such module.
    """
    whole = f"{package}.{name}"
    try:
        return import_module(whole)
    except ModuleNotFoundError as exc:
        if exc.name != whole:
            raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
