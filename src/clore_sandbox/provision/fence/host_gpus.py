"""Assigns the machine's own GPUs to orders."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_sandbox.provision import Gpus

__all__ = ["HostGpus"]


class HostGpus:
    """GPUs by the ids of the NVIDIA runtime, and the orders that use them."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._taken: dict[str, set[int]] = {gpu: set() for gpu in ids}

    @classmethod
    def of_this_machine(cls) -> HostGpus:
        """The GPUs that the driver's nvidia-smi lists, if any."""
        try:
            listed = subprocess.run(
                ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"],  # noqa: S607 - the driver's
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        except (OSError, subprocess.CalledProcessError):
            return cls(())
        return cls(listed.split())

    def take(self, order: int, gpus: Gpus) -> tuple[str, ...]:
        """Assign as many GPUs as the order has, or all; those with the fewest orders first."""
        by_use = sorted(self._taken, key=lambda gpu: len(self._taken[gpu]))
        chosen = tuple(by_use[: len(gpus.names)])
        for gpu in chosen:
            self._taken[gpu].add(order)
        return chosen

    def give_back(self, order: int) -> None:
        """Release an order's GPUs."""
        for orders in self._taken.values():
            orders.discard(order)
