"""Rent the best server that fits: find offers, try them in turn, verify the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.lazy import submodule

if TYPE_CHECKING:
    from clore_ai.rental.rent import attempt, deploy, find, ranking, rent, wish

__all__ = ["attempt", "deploy", "find", "ranking", "rent", "wish"]


def __getattr__(name: str) -> object:
    return submodule(__name__, name)
