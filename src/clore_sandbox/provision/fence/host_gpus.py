"""The machine's own GPUs, and which orders have them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_sandbox.provision import Gpus

__all__ = ["HostGpus"]


class HostGpus:
    """GPUs by the ids that the NVIDIA runtime knows them by."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._taken: dict[str, set[int]] = {gpu: set() for gpu in ids}

    @classmethod
    def of_this_machine(cls) -> HostGpus:
        """What the driver's nvidia-smi lists; none where it lists nothing."""
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
        """As many as the order is for, or all; those first that the fewest orders have."""
        by_use = sorted(self._taken, key=lambda gpu: len(self._taken[gpu]))
        chosen = tuple(by_use[: len(gpus.names)])
        for gpu in chosen:
            self._taken[gpu].add(order)
        return chosen

    def give_back(self, order: int) -> None:
        """The order has ended."""
        for orders in self._taken.values():
            orders.discard(order)
