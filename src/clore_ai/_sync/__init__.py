"""The blocking client, generated from `_async`: `make sync`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.lazy import submodule

if TYPE_CHECKING:
    from clore_ai._sync import rental

__all__ = ["rental"]


def __getattr__(name: str) -> object:
    return submodule(__name__, name)
