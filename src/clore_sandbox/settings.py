"""`Settings`: the options of a `Sandbox`, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clore_sandbox.books.orders import Delays
from clore_sandbox.provision import KINDS
from clore_sandbox.store import is_postgres

if TYPE_CHECKING:
    from clore_sandbox.api.order_shapes import Dialect
    from clore_sandbox.faults.faults import Faults
    from clore_sandbox.faults.journal import Journal
    from clore_sandbox.fleet.inventory import Inventory
    from clore_sandbox.opening import Opening
    from clore_sandbox.provision import Kind
    from clore_sandbox.provision.address import PublicAddress
    from clore_sandbox.rules.limits import Limits

__all__ = ["Settings", "checked_db", "delays_of"]

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

    def __post_init__(self) -> None:
        """Raise ValueError if an option is invalid."""
        if self.dialect not in ("live", "reference"):
            raise ValueError(f"dialect must be live or reference, not {self.dialect!r}")
        if self.provisioner not in (None, *KINDS):
            kinds = ", ".join(KINDS)
            raise ValueError(f"provisioner must be one of {kinds}, not {self.provisioner!r}")
        if not self.host.strip():
            raise ValueError("host must be the address to listen on, e.g. 127.0.0.1; it is empty")
        if not 0 <= self.port <= _HIGHEST_PORT:
            raise ValueError(f"port must be 0 (any free port) to {_HIGHEST_PORT}, not {self.port}")
        if self.opening.host_servers < 0:
            raise ValueError(f"host_servers must be 0 or more, not {self.opening.host_servers}")
        if self.workers < 1:
            raise ValueError(f"workers must be 1 or more, not {self.workers}")
        if self.workers > 1 and not is_postgres(self.db):
            raise ValueError(
                "several workers need db=postgresql://…: one process alone can use a SQLite file"
            )


def checked_db(db: str | Path | None) -> str | Path | None:
    """A PostgreSQL URL, or the path of a SQLite file; ValueError for another URL."""
    if db is None or is_postgres(db):
        return db
    if isinstance(db, str) and "://" in db:
        raise ValueError("db must be the path of a SQLite file, or postgresql://…")
    return Path(db)


def delays_of(visibility_lag_s: float, boot_s: float) -> Delays:
    """The delays of a new order; ValueError if one is out of range."""
    if not all(0 <= delay_s <= _LONGEST_S for delay_s in (visibility_lag_s, boot_s)):
        raise ValueError("visibility_lag_s and boot_s must be between 0 and a year")
    return Delays(
        visible_ms=round(visibility_lag_s * 1000),
        connected_ms=round((visibility_lag_s + boot_s / 3) * 1000),
        booted_ms=round((visibility_lag_s + boot_s) * 1000),
    )
