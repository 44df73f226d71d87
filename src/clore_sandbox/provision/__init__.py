"""Rooms: what runs behind the ports of an order on this machine.

A provisioner reserves public ports, boots a room behind them, and clears it. Clearing is idempotent
and leaves no process and no open port. Provisioners know nothing of market rules, money and HTTP.

- A **room** is what an order gets: processes behind its ports. Its **kind** says how it is
  isolated.
- A **builder** builds rooms of one kind: `fence.process` (not isolated), `fence.bwrap`,
  `fence.docker`.
- The **interior** starts programs in a room; in an isolated one its first process does (`fenced`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "Gpus", "Kind", "Nothing", "Ports", "Provisioner", "RoomPlan"]

Kind = Literal["process", "bwrap", "docker"]
"""How a room is isolated: not at all, by namespaces, by a container of the order's image."""
KINDS: tuple[Kind, ...] = ("process", "bwrap", "docker")


@dataclass(frozen=True)
class Gpus:
    """The GPUs that `nvidia-smi` shows, one entry per GPU."""

    names: tuple[str, ...]
    memory_gb: float
    power_limits_w: tuple[float, ...]
    cuda_version: str


@dataclass(frozen=True)
class RoomPlan:
    """The specification of an order's room."""

    order: int
    ports: Mapping[int, str]
    env: Mapping[str, str]
    password: str | None
    public_key: str | None
    command: str | None
    gpus: Gpus
    ssh_answers: bool = True
    lets_in: bool = True
    image: str = ""


@dataclass(frozen=True)
class Ports:
    """Public ports by inner port; the http port as (inner, public)."""

    host: str
    tcp: Mapping[int, int]
    http: tuple[int, int] | None


class Provisioner(Protocol):
    """All methods run on the marketplace's event loop."""

    async def open(self) -> None:
        """Prepare; end what an earlier marketplace with the same state left behind."""

    async def reserve(self, plan: RoomPlan) -> Ports:
        """Reserve public ports, which refuse connections until the room has booted."""
        ...

    async def boot(self, order: int) -> None:
        """Start the room behind its ports. Nothing happens if the order is gone."""

    async def clear(self, order: int) -> None:
        """End every process of the room and close its ports. Idempotent."""

    async def close(self) -> None:
        """Clear all rooms."""


class Nothing:
    """Provisions nothing: orders have no ports. For tests of the market alone."""

    async def open(self) -> None:
        """Nothing to prepare."""

    async def reserve(self, plan: RoomPlan) -> Ports:  # noqa: ARG002 - the protocol's
        """No ports."""
        return Ports("127.0.0.1", {}, None)

    async def boot(self, order: int) -> None:
        """Nothing starts."""

    async def clear(self, order: int) -> None:
        """Nothing to end."""

    async def close(self) -> None:
        """Nothing to end."""
