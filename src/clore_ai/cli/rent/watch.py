"""`clore watch`: waits for an offer, and reports or rents it."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import output, plans, units
from clore_ai.cli.account import connect, now
from clore_ai.cli.errors import Late, Nothing
from clore_ai.cli.options import bids, watch_file, wishes
from clore_ai.cli.options.length import Length
from clore_ai.cli.rent import renting
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai import CloreAI
    from clore_ai.cli.options.watch_file import Asked
    from clore_ai.models import MarketplaceServer
    from clore_ai.rental.rent.attempt import Rented
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.watch.market import Found, MarketEvent, MarketWatch

_LINES = 5
"""Most offers of one check to print; the rest is only counted."""


@click.command()
@wishes.options
@click.option("--rent", is_flag=True, help="Rent the best matching server once, then exit.")
@click.option("--first", is_flag=True, help="Exit after the first offer.")
@click.option("--once", is_flag=True, help="Check once; exit 6 if nothing matches.")
@click.option("--every", type=Length(1), default="60s", show_default=True,
              metavar="LENGTH", help="Time between checks.")  # fmt: skip
@click.option("--for", "for_s", type=Length(endless=True), metavar="LENGTH",
              help="How long to watch: 30m, 6h, 2d; exit 8 if nothing came.")  # fmt: skip
@click.option("--notify-cmd", metavar="CMD",
              help="Shell command to run for each event, with the event's JSON on "
                  "stdin.")  # fmt: skip
@click.option("--webhook", metavar="URL", callback=output.typed,
              help="POST each event as JSON to this address; - asks for it.")  # fmt: skip
@click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False),
              help="File of watches: one [[watch]] table each, with the options as "
                  "keys.")  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help="Don't ask before --rent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, one line per event.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click's options, all read below
    """Wait for an offer, then report it or rent it.

    An offer is reported when it appears, returns, or falls in price. All watches of one key, in all
    processes, share one request per check.
    """
    if options["once"] and options["for_s"] is not None:
        raise click.UsageError("--once looks once, --for for a time; give one of them.")
    if options["path"] is None:
        asked = [watch_file.asked(" or ".join(options["gpu"]) or "any GPU", options)]
    else:
        asked = watch_file.read(options["path"], ctx.command, options)
    wanted = [(each.watch.name, each.watch.wish) for each in asked if each.watch.wish]
    for name, wish in wanted:
        bid = "" if wish.type == "on-demand" else " by spot"
        what = f"rented{bid} as soon as it is offered, {_most(wish)}, plus fees."
        output.note(f"  {name}: {what}")
    if wanted:
        output.agree("Rent when an offer comes?", "nothing was rented", yes=options["yes"])
    from clore_ai.rental.watch.market import MarketWatch

    for_s = 0 if options["once"] else options["for_s"] or inf
    watches = [each.watch for each in asked]
    state = MarketWatch(watches, options["every"], for_s, first=options["first"])
    with connect(ask=False) as api:
        _Watching(api, asked, state, as_json=options["as_json"]).run()


def _most(wish: Wish) -> str:
    limit = wish.most_usd_per_hour
    if limit is not None:
        return f"up to {prices.in_words(limit)}"
    return "at any price" if wish.spot_price is None else "at your bid"


class _Watching:
    """Drives the flow `taking.step`, and prints its events."""

    def __init__(
        self, api: CloreAI, asked: list[Asked], state: MarketWatch, *, as_json: bool
    ) -> None:
        self.api, self.state, self.as_json = api, state, as_json
        self.once = state.for_s == 0
        self.goes_on = "" if self.once else " Still watching."
        self.by_name = {each.watch.name: each for each in asked}

    def run(self) -> None:
        """Check until the end; see `command`.

        Raises:
            Nothing: with `--once`, no offer fits.
            Late: the time is over, and no offer came or was rented.
            CloreAPIError: no check succeeded.
            KeyboardInterrupt: with a message about what was rented.
        """
        state, wishes = self.state, [each for each in self.state.watches if each.wish]
        if not self.once:
            output.note(f"Checking every {state.every_s:g} s; stop with Ctrl-C.")
        try:
            state.pending = [
                w for w in wishes if w.wish and renting.earlier(self.api, w.wish.client_ref)
            ]
            while (events := self._step()) is not None:
                for event in events:
                    self._report(event)
        except KeyboardInterrupt as exc:
            left = "" if all(each.found for each in wishes) else "; nothing was rented"
            raise KeyboardInterrupt(str(exc) or f"Stopped watching{left}.") from None
        if not any(each.found for each in state.watches):
            self._none()

    def _step(self) -> list[MarketEvent] | None:
        from clore_ai.rental.watch import taking

        first = next(iter(self.state.pending), None)
        wish = None if first is None else first.wish
        if first is None or wish is None:
            return self.api.drive(taking.step(self.api.session, self.state))
        reporter, force = renting.Reporter(self.api), self.by_name[first.name].force

        def tries(offers: list[Offer]) -> renting.Reporter | str:
            try:
                bids.guard_offers(wish, offers, yes=True, force=force)
            except click.UsageError as exc:  # far above the price on demand
                return exc.message
            return reporter

        try:
            return self.api.drive(taking.step(self.api.session, self.state, tries))
        except KeyboardInterrupt:
            if reporter.last is None:
                raise
            raise KeyboardInterrupt(reporter.interrupted()) from None

    def _none(self) -> NoReturn:
        state = self.state
        if state.failure is not None and (self.once or not state.looks):
            raise state.failure
        missed = [f" {each.name}: {each.missed}" for each in state.watches if each.missed]
        why = "".join(missed)
        if self.once:
            raise Nothing(f"No offer fits now.{why} To see all offers: clore search")
        what = "Nothing was rented" if why else "No offer came"
        raise Late(f"{what} in {duration(state.for_s)}.{why} Watch longer, or ask for less.")

    def _report(self, event: MarketEvent) -> None:
        from clore_ai.rental.watch import market

        if isinstance(event, market.Taken):
            self._rented(event.rented, self.by_name[event.watch])
            return
        facts = event.row()
        if self.as_json:
            output.event(facts)
        if isinstance(event, market.Found):
            self._offers(event, self.by_name[event.watch], facts)
        elif isinstance(event, market.Missed):
            output.note(f"{event.watch}: {event.message}{self.goes_on}")
        elif isinstance(event, market.Trouble) and not self.once:
            output.note(f"{event.message}{self.goes_on}")

    def _offers(self, event: Found, asked: Asked, facts: dict[str, Any]) -> None:
        rents = asked.watch.wish is not None
        if not self.as_json:
            name = f"{event.watch}: " if len(self.by_name) > 1 else ""
            for server in event.servers[:_LINES]:
                # With --rent, stdout is for the ids of orders.
                line = _offer(server, asked.watch.price_usd(server))
                output.line(f"{output.stamp()}  {name}{line}", err=rents)
            if len(event.servers) > _LINES:
                output.note(f"… and {len(event.servers) - _LINES} more that fit, at higher prices.")
        if not rents:
            self._notify(asked, facts)

    def _rented(self, done: Rented, asked: Asked) -> None:
        from clore_ai.cli.supervise import keeper
        from clore_ai.rental.reports.orders import row
        from clore_ai.rental.spend.lease import moment

        order, wish = done.order, asked.watch.wish
        if wish is not None:
            renting.note_hold(wish, done)
        facts = {
            "event": "rented",
            "watch": asked.watch.name,
            "at": now(self.api),
            "order_id": order.id,
            "server_id": order.server_id,
            "order": row(order),
        }
        if self.as_json:
            output.event(facts)
        else:
            output.line(order.id)
        intent = self.api.ledger.by_order(order.id)
        if intent is not None and intent.ends_at is not None:
            output.note(
                f"Order {order.id} ends at {moment(intent.ends_at)}. Keep it: "
                f"clore lease extend {order.id} 6h"
            )
        keeper.ensure_running(self.api)  # while this command keeps watching
        plans.use(order, ssh=True)
        self._notify(asked, facts)

    def _notify(self, asked: Asked, facts: dict[str, Any]) -> None:
        from clore_ai.rental.watch.notify import notify

        if asked.notify_cmd is not None or asked.webhook is not None:
            for wrong in self.api.drive(notify(facts, asked.notify_cmd, asked.webhook)):
                output.note(f"{wrong}.{self.goes_on}")


def _offer(server: MarketplaceServer, price_usd: float | None) -> str:
    facts = (
        f"server {server.id}: {units.gpu(server.gpu_model)}",
        prices.in_words(price_usd),
        server.location,
        None if server.reliability is None else f"reliability {server.reliability:.0%}",
    )
    return ", ".join(fact for fact in facts if fact)
