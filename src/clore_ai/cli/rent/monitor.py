"""`clore monitor` (001, Monitor My Orders): a live view of orders and their events."""

from __future__ import annotations

import sys
from math import inf
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect, now, status
from clore_ai.cli.errors import LIMIT
from clore_ai.cli.options.length import Length
from clore_ai.cli.rent import board
from clore_ai.cli.supervise import cancelling, reaping, watching
from clore_ai.jobs.reap.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai.client import CloreAI
    from clore_ai.models.price import Price
    from clore_ai.rental.limits.expiry import Limit
    from clore_ai.rental.orders.cancel import Cancelling
    from clore_ai.rental.watch.orders import OrderEvent
    from clore_ai.rental.watch.view import OrdersWatch

_TICK_S = 0.5
_NO_MONEY, _WALLET_EMPTY = 7, "wallet empty"


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
        loop = _Loop(api, state, turns, as_json=options["as_json"])
        code = 0
        try:
            code = loop.run(once=options["once"])
        except KeyboardInterrupt as exc:
            output.note(str(exc) or cancelling.interrupted(state.ends.todo) or loop.left())
        finally:
            state.close()
    return code


class _Loop:
    """Checks the orders at intervals and reads their GPUs continuously."""

    def __init__(self, api: CloreAI, state: OrdersWatch, turns: Turns, *, as_json: bool) -> None:
        self.api, self.state, self.turns, self.as_json = api, state, turns, as_json
        self.monitor = state.monitor
        self.board = board.Board(live=not as_json and sys.stdout.isatty())
        self.costs: dict[int, Price | None] = {}
        self.code = 0
        state.on_message = self.board.note

    def run(self, *, once: bool) -> int:
        """Check until all named orders have ended; with `once`, check once.

        The exit code: 1 if a single check could not read everything, 7 if an empty wallet or a
        limit ended an order.
        """
        from clore_ai.rental.market import rates
        from clore_ai.rental.watch import view as overview

        state = self.state
        with self.board:
            while True:
                view = self.api.drive(overview.step(self.api.session, state, _TICK_S))
                if view is None or (once and state.failure is not None):
                    break
                self._report(view.events)
                if view.looked:
                    listed = [seen.order for seen in view.orders]
                    self.costs = self.api.drive(rates.prices(self.api.session, listed))
                if once:
                    self._report(self.api.drive(overview.end(self.api.session, state)))
                    self._report(self.api.drive(overview.first_readings(self.api.session, state)))
                if view.looked:
                    self._show()
                if once or state.over:
                    code = LIMIT if self.turns.tried else self.code
                    return code or (status(self.api) if once else 0)
                self.board.draw(self._rows())
        if state.failure is not None:
            raise state.failure
        return self.code

    def left(self) -> str:
        """The message after Ctrl-C: the orders that keep running."""
        running = " ".join(map(str, self.monitor.seen))
        if not running:
            return "Stopped."
        return (
            f"Stopped watching. Your orders keep running and are billed: {running}. "
            f"Stop paying: clore cancel {running}"
        )

    def _report(self, events: Sequence[OrderEvent]) -> None:
        for event in events:
            if event.cancelling is not None:
                self._ended(event.cancelling, event.limit)
                continue
            line = {"event": event.what, "order_id": event.order_id, "message": event.message}
            if event.limit is not None:
                line = {**reaping.facts(event.limit), **line}
            self._line(line if event.reason is None else {**line, "reason": event.reason})
            self.board.note(event.message)
            if event.reason == _WALLET_EMPTY:
                self.code = _NO_MONEY

    def _ended(self, done: Cancelling, limit: Limit | None) -> None:
        with self.board.away():
            cancelling.show(done)
            if limit is not None:
                reaping.failure(done, as_json=self.as_json)
                self._line(reaping.ended(limit, done))
                return
        if done.error is not None:
            self.board.note(str(done.error))
        self._line({"event": "cancelled" if done.gone else "failed", **cancelling.row(done)})

    def _rows(self) -> list[board.Row]:
        at = now(self.api)
        return [
            board.row(seen, self.costs.get(order_id), at)
            for order_id, seen in self.monitor.seen.items()
        ]

    def _show(self) -> None:
        if not self.as_json:
            self.board.show(self._rows(), whole=not self.api.session.unread)
            return
        at = now(self.api)
        states = [
            board.facts(seen, self.costs.get(order_id), at)
            for order_id, seen in self.monitor.seen.items()
        ]
        self._line({"event": "status", "orders": states})

    def _line(self, event: dict[str, Any]) -> None:
        if self.as_json:
            output.event({**event, "at": now(self.api)})
