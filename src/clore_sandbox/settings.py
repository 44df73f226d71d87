"""`Settings`: the options of a `Sandbox`, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox.provision import KINDS
from clore_sandbox.store import is_postgres

if TYPE_CHECKING:
    from pathlib import Path

    from clore_sandbox.api.order_shapes import Dialect
    from clore_sandbox.books.orders import Delays
    from clore_sandbox.faults.faults import Faults
    from clore_sandbox.faults.journal import Journal
    from clore_sandbox.fleet.inventory import Inventory
    from clore_sandbox.opening import Opening
    from clore_sandbox.provision import Kind
    from clore_sandbox.provision.address import PublicAddress
    from clore_sandbox.rules.limits import Limits

__all__ = ["Settings", "check"]

_HIGHEST_PORT = 65_535
_LONGEST_S = 365 * 86_400


@dataclass(frozen=True)
class Settings:
    """The checked options of a `Sandbox`, and what outlives its runs: limits, faults, journal."""

    host: str
    port: int
    address: PublicAddress
    inventory: Inventory
    dialect: Dialect
    db: str | Path | None
    opening: Opening
    instance: str
    control_key: str
    delays: Delays
    alive: bool
    seed: int
    time_scale: float
    provisioner: Kind | None
    work_dir: Path | None
    workers: int
    limits: Limits | None
    faults: Faults
    journal: Journal


def check(
    *,
    host: str,
    dialect: str,
    provisioner: str,
    port: int,
    delays_s: tuple[float, float],
    host_servers: int,
    workers: int,
    db: str | Path | None,
) -> None:
    """ValueError if an option is invalid."""
    if dialect not in ("live", "reference"):
        raise ValueError(f"dialect must be live or reference, not {dialect!r}")
    if provisioner not in KINDS:
        raise ValueError(f"provisioner must be one of {', '.join(KINDS)}, not {provisioner!r}")
    if not host.strip():
        raise ValueError("host must be the address to listen on, e.g. 127.0.0.1; it is empty")
    if not 0 <= port <= _HIGHEST_PORT:
        raise ValueError(f"port must be 0 (any free port) to {_HIGHEST_PORT}, not {port}")
    if not all(0 <= delay_s <= _LONGEST_S for delay_s in delays_s):
        raise ValueError("visibility_lag_s and boot_s must be between 0 and a year")
    if host_servers < 0:
        raise ValueError(f"host_servers must be 0 or more, not {host_servers}")
    if isinstance(db, str) and "://" in db and not is_postgres(db):
        raise ValueError("db must be the path of a SQLite file, or postgresql://…")
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, not {workers}")
    if workers > 1 and not is_postgres(db):
        raise ValueError(
            "several workers need db=postgresql://…: one process alone can use a SQLite file"
        )
