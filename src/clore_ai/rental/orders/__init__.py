"""The life of one order, from its request to why it ended.

`create` sends the request exactly once, and `claim` finds the order if its answer was lost;
`reconcile` updates the ledger each time the orders are read; `recover` and `orphans` report what
stopped commands left; `wait`, `cancel` and `ending` are the rest of its life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.lazy import submodule

if TYPE_CHECKING:
    from clore_ai.rental.orders import cancel, create, host_settings, orphans, reconcile, wait

__all__ = ["BOOT_DEADLINE_S", "cancel", "create", "host_settings", "orphans", "reconcile", "wait"]

BOOT_DEADLINE_S = 480.0


def __getattr__(name: str) -> object:
    return submodule(__name__, name)
