"""Which options of a `Sandbox` are no use; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.provision import KINDS
from clore_sandbox.store import is_postgres

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check"]

_HIGHEST_PORT = 65_535
_LONGEST_S = 365 * 86_400


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
    """ValueError, in words, where options are no use."""
    if dialect not in ("live", "reference"):
        raise ValueError(f"dialect is live or reference, not {dialect!r}")
    if provisioner not in KINDS:
        raise ValueError(f"provisioner is {', '.join(KINDS)}, not {provisioner!r}")
    if not host.strip():
        raise ValueError("host is the address to listen on, e.g. 127.0.0.1; it is empty")
    if not 0 <= port <= _HIGHEST_PORT:
        raise ValueError(f"port is 0 (any free one) to {_HIGHEST_PORT}, not {port}")
    if not all(0 <= delay_s <= _LONGEST_S for delay_s in delays_s):
        raise ValueError("visibility_lag_s and boot_s must not be negative, nor above a year")
    if host_servers < 0:
        raise ValueError(f"host_servers must be 0 or more, not {host_servers}")
    if isinstance(db, str) and "://" in db and not is_postgres(db):
        raise ValueError("db is the path of a SQLite file, or postgresql://…")
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, not {workers}")
    if workers > 1 and not is_postgres(db):
        raise ValueError("several workers need db=postgresql://…: SQLite's books are one process's")
