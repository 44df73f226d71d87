"""`clore servers` (004, CLI Reference)."""

from __future__ import annotations

import click

from clore_ai.cli import _output, _units
from clore_ai.cli._account import connect


@click.command()
@_output.json_option
def command(as_json: bool) -> None:  # noqa: FBT001 - an option
    """List the servers that you host.

    Prices are per DAY, in the coin named.
    """
    with connect() as api:
        servers = api.my_servers()
    if as_json:
        _output.data([s.model_dump() | {"status": s.status} for s in servers])
        return
    if not servers:
        _output.note("You host no servers.")
        return
    _output.table(
        [">ID", "Name", "GPU", ">GPUs", ">RAM", "Status", "Visibility", "On-demand per day"],
        [
            [
                "-" if s.id is None else str(s.id),
                s.name or "-",
                s.gpu_model or "-",
                str(s.gpu_count or "-"),
                "-" if s.ram_gb is None else f"{s.ram_gb:.0f}G",
                s.status,
                s.visibility or "-",
                ", ".join(f"{_units.coin(p)} {c}" for c, p in (s.pricing or {}).items()) or "-",
            ]
            for s in servers
        ],
        spare=["RAM", "Visibility", "GPUs"],
    )
