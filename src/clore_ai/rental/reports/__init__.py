"""Reports on orders: what they cost, where the budgets stand, and when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.lazy import submodule

if TYPE_CHECKING:
    from clore_ai.rental.reports import budgets, costs, hosts, leases, orphans

__all__ = ["budgets", "costs", "hosts", "leases", "orphans"]


def __getattr__(name: str) -> object:
    return submodule(__name__, name)
