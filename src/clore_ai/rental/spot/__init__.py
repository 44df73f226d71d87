"""Spot orders: bids, the autopilot, and switching from spot to on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.lazy import submodule

if TYPE_CHECKING:
    from clore_ai.rental.spot import autopilot, report, run, set_price

__all__ = ["autopilot", "report", "run", "set_price"]


def __getattr__(name: str) -> object:
    return submodule(__name__, name)
