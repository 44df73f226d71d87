"""Imports what a package offers when it is first used: most programs use little of it.

For a package's ``__getattr__``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import ModuleType


def attribute(package: str, homes: Mapping[str, Collection[str]], name: str) -> object:
    """What one of a package's modules defines; `homes`: the names that each module has.

    Raises:
        AttributeError: none has it.
    """
    for home, names in homes.items():
        if name in names:
            value: object = getattr(import_module(f"{package}.{home}"), name)
            setattr(sys.modules[package], name, value)  # not looked up again
            return value
    raise AttributeError(f"module {package!r} has no attribute {name!r}")


def submodule(package: str, name: str) -> ModuleType:
    """A package's module.

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
