"""`clore monitor` (001, Monitor My Orders): a live view of orders and their events."""

from __future__ import annotations

import sys
from math import inf
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect, status
from clore_ai.cli.errors import LIMIT
from clore_ai.cli.options.length import Length
from clore_ai.cli.rent import board
from clore_ai.cli.supervise import cancelling, reaping, watching
from clore_ai.jobs.reap.turns import Turns
from clore_ai.rental.orders.ending import WALLET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai import CloreAI
    from clore_ai.rental.watch.orders import OrderEvent, WatchedOrder
    from clore_ai.rental.watch.view import OrdersView

_TICK_S = 0.5


@click.command()
@click.argument("order_ids", type=int, nargs=-1, metavar="[ORDER_ID]...")
@click.option("--every", type=Length(1), default="30s", show_default=True, metavar="LENGTH",
              help="Time between checks of the orders; GPUs are read every 5 s.")  # fmt: skip
@click.option("--idle-cancel", type=Length(endless=True), metavar="LENGTH",
              help="Cancel an order that has been idle for this long (30m, 2h), after a "
                  "warning: each ORDER_ID, or all orders of this ledger.")  # fmt: skip
@click.option("--others", is_flag=True,
              help="With --idle-cancel: include orders that this ledger does not "
                  "know.")  # fmt: skip
@click.option("--once", is_flag=True, help="Check once, GPUs included, then exit.")
@click.option("--no-gpu", is_flag=True, help="Open no SSH connections.")
@click.option("--json", "as_json", is_flag=True,
              help="Print JSON on stdout: one line per event and one per check.")  # fmt: skip
def command(order_ids: tuple[int, ...], **options: Any) -> int:  # noqa: ANN401 - click's options
    """Watch your orders: their state, host, cost, and GPUs.

    Watches all orders, or each ORDER_ID until those have ended. It reports a lost host or
    connection, idle GPUs, a lease near its end, and a wallet that runs out. An order that reaches
    its limit (clore lease) is cancelled, with exit 7. Ctrl-C leaves the orders running.
    """
    from clore_ai import _gpu_feeds
    from clore_ai.rental.watch import view as overview

    idle_s = None if options["idle_cancel"] == inf else options["idle_cancel"]
    if idle_s is not None and options["no_gpu"]:
        raise click.UsageError("--idle-cancel reads the GPUs over SSH; leave out --no-gpu.")
    if options["others"] and (idle_s is None or order_ids):
        raise click.UsageError("--others needs --idle-cancel, without an ORDER_ID.")
    if not options["no_gpu"]:
        watching.need_ssh("; or add --no-gpu")
    with connect(ask=False) as api:
        turns = Turns(api.session)
        state = _gpu_feeds.watching(
            order_ids, options["every"], None, gpus=not options["no_gpu"], idle_cancel_s=idle_s,
            others=options["others"],
            at_limit=turns.take,
        )  # fmt: skip
        state.once, state.most_s = options["once"], _TICK_S
        shown = _Shown(api, as_json=options["as_json"])
        state.on_message = shown.board.note
        try:
            with shown.board:
                while (view := api.drive(overview.step(api.session, state))) is not None:
                    shown.update(view, once=state.once)
                if state.once:
                    shown.status()
        except KeyboardInterrupt as exc:
            output.note(str(exc) or cancelling.interrupted(state.ends.todo) or shown.left())
            return 0
        finally:
            state.close()
        code = LIMIT if turns.tried else shown.code
        return code or (status(api) if state.once else 0)


class _Shown:
    """Prints the views of the orders, and their events."""

    def __init__(self, api: CloreAI, *, as_json: bool) -> None:
        self.api, self.as_json = api, as_json
        self.board = board.Board(live=not as_json and sys.stdout.isatty())
        self.orders: Sequence[WatchedOrder] = ()
        self.at = 0.0
        self.code = 0
        """7 if an empty wallet ended an order."""

    def update(self, view: OrdersView, *, once: bool) -> None:
        """Print what is new; the orders after each look, unless it is the only one."""
        self.orders, self.at = view.orders, view.at
        for event in view.events:
            self._report(event)
        if view.looked and not once:
            self.status()
        self.board.draw(self._rows())

    def status(self) -> None:
        """Print the orders: on a terminal as the table, else as lines."""
        if self.as_json:
            self._line({"event": "status", "orders": [seen.row(self.at) for seen in self.orders]})
        else:
            self.board.show(self._rows(), whole=not self.api.session.unread)

    def left(self) -> str:
        """The message after Ctrl-C: the orders that keep running."""
        running = " ".join(str(seen.order.id) for seen in self.orders)
        if not running:
            return "Stopped."
        return (
            f"Stopped watching. Your orders keep running and are billed: {running}. "
            f"Stop paying: clore cancel {running}"
        )

    def _report(self, event: OrderEvent) -> None:
        done = event.cancelling
        if done is not None:
            with self.board.away():
                cancelling.show(done)
                if event.limit is not None:
                    reaping.failure(done, as_json=self.as_json)
            if event.limit is None and done.error is not None:
                self.board.note(str(done.error))
        else:
            self.board.note(event.message)
        self._line(event.row())
        if event.reason == WALLET:
            self.code = LIMIT

    def _rows(self) -> list[board.Row]:
        return [board.row(seen, self.at) for seen in self.orders]

    def _line(self, event: dict[str, Any]) -> None:
        if self.as_json:
            output.event({**event, "at": self.at})
