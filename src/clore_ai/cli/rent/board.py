"""The view of `clore monitor`: a table that stays in place on a terminal, lines elsewhere."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clore_ai._values.text import LONGEST, one_line
from clore_ai.cli import output, units
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.live import Live
    from rich.table import Table
    from typing_extensions import Self

    from clore_ai.rental.watch.orders import WatchedOrder

Row = dict[str, str]
_LONGEST = 1_000

_RIGHT = {"ID", "Server", "$/h", "$/day", "Spent", "Lease", "Use", "Temp", "VRAM"}
_SPARE = ("VRAM", "Address", "Server", "Coin", "Host")
"""Columns that are omitted first if the terminal is narrow."""
_NONE = "No active orders; new ones will show up here."


def row(seen: WatchedOrder, now: float) -> Row:
    """The cells of one order."""
    order = seen.order
    use, heat = seen.use_percent, seen.temperature_c
    usd_h, usd_day = prices.columns(seen.price.usd_per_day if seen.price else None)
    cells = {
        "ID": str(order.id),
        "Server": str(order.server_id or "-"),
        "GPU": units.gpu(order.gpu_model),
        "State": order.status or "-",
        "Host": "offline" if seen.lost else "online" if order.online else "-",
        "$/h": usd_h,
        "$/day": usd_day,
        "Spent": prices.coin(order.spend),
        "Coin": prices.short(order.currency),
        "Lease": units.left(seen.ends_at and seen.ends_at - now),
        "Use": "-" if use is None else f"{use:.0f}%",
        "Temp": "-" if heat is None else f"{heat:.0f}°C",
        "VRAM": _memory(seen),
        "SSH": _ssh(seen),
        "Address": order.ssh_address or "-",
    }
    return {name: one_line(cell, LONGEST) for name, cell in cells.items()}


def _memory(seen: WatchedOrder) -> str:
    used = [g.memory_used_mib for g in seen.gpus if g.memory_used_mib is not None]
    return f"{sum(used) / 1024:.1f}G" if used else "-"


def _ssh(seen: WatchedOrder) -> str:
    if seen.order.ssh_command is None:
        return "-"
    if seen.why:
        why = seen.why.rpartition(": ")[2].partition(" (")[0].rstrip(".")
        return f"{seen.ssh or 'no'}: {why}"
    return seen.ssh or "connecting"


class Board:
    """Shows the rows, as a live table or as lines; a context manager."""

    def __init__(self, *, live: bool) -> None:
        self._wanted = live
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop(leave=True)

    @contextmanager
    def away(self) -> Generator[None]:
        """Take the table off the terminal for the block, so that other output can be written."""
        self._stop(leave=False)
        try:
            yield
        finally:
            self._start()

    def _start(self) -> None:
        if not self._wanted:
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(no_color=bool(os.environ.get("NO_COLOR")), highlight=False)
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def _stop(self, *, leave: bool) -> None:
        if self._live is not None:
            self._live.transient = not leave
            self._live.stop()
            self._live = None

    def note(self, sentence: str) -> None:
        """Print an event above the table, or on stderr."""
        line = one_line(f"{output.stamp()}  {sentence}", _LONGEST)
        if self._live is not None:
            self._live.console.print(line, markup=False, soft_wrap=True)
        else:
            output.note(line)

    def draw(self, rows: list[Row]) -> None:
        """Update the table, on a terminal."""
        if self._live is not None:
            from rich.console import Group
            from rich.text import Text

            table = _table(rows, self._live.console.width) if rows else Text(_NONE)
            # An empty line for the terminal's ^C, which would wrap beside a full row.
            self._live.update(Group(table, ""), refresh=True)

    def show(self, rows: list[Row], *, whole: bool = True) -> None:
        """Show the result of a check: the table, or one line per order on stdout."""
        if self._live is not None:
            self.draw(rows)
            return
        if not rows and whole:
            output.note("No active orders.")
        for each in rows:
            output.line(
                f"{output.stamp()}  order {each['ID']}: server {each['Server']}, "
                f"{each['GPU']}, {each['State']}, host {each['Host']}, SSH {each['SSH']} "
                f"({each['Address']}), "
                f"${each['$/h']}/h = ${each['$/day']}/day, spent {each['Spent']} {each['Coin']}, "
                f"lease {each['Lease']}, GPU {each['Use']} {each['Temp']}"
            )


def _table(rows: list[Row], room: int) -> Table:
    titles = [f">{name}" if name in _RIGHT else name for name in rows[0]]
    table, _ = output.fitted(titles, [list(each.values()) for each in rows], _SPARE, room)
    for drawn, each in zip(table.rows, rows):
        drawn.style = "red" if each["Host"] == "offline" or each["Lease"] == "over" else None
    return table
