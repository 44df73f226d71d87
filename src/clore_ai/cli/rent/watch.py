"""`clore watch`: waits for an offer, and reports or rents it."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import output, units
from clore_ai.cli.account import connect
from clore_ai.cli.errors import Late, Nothing
from clore_ai.cli.options import bids, period, watch_file, wishes
from clore_ai.cli.options.length import Length
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.cli.options.watch_file import Asked
    from clore_ai.client import CloreAI
    from clore_ai.models import MarketplaceServer
    from clore_ai.rental.rent.attempt import Rented
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.watch.market import Found, MarketEvent, MarketWatch

_LINES = 5
"""Most offers of one check to print; the rest is only counted."""
_ROWS = 20
"""The same with --json."""


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
    for_s = None if options["for_s"] == inf else options["for_s"]
    if options["path"] is None:
        asked = [watch_file.asked(" or ".join(options["gpu"]) or "any GPU", options)]
    else:
        asked = watch_file.read(options["path"], ctx.command, options)
    renting = [each for each in asked if each.watch.wish is not None]
    if renting:
        _agree(renting, yes=options["yes"])
    with connect(ask=False) as api:
        loop = _Loop(api, asked, once=options["once"], as_json=options["as_json"])
        loop.run(options["every"], for_s, first=options["first"])


def _agree(renting: list[Asked], *, yes: bool) -> None:
    from clore_ai.cli.rent import renting as _rent

    for each in renting:
        wish = each.watch.wish
        limit = None if wish is None else wish.most_usd_per_hour
        price = (
            ("at any price" if wish is None or wish.spot_price is None else "at your bid")
            if limit is None
            else f"up to {prices.in_words(limit)}"
        )
        bid = "" if wish is None or wish.type == "on-demand" else " by spot"
        what = f"rented{bid} as soon as it is offered, {price}, plus fees."
        output.note(f"  {each.watch.name}: {what}")
    _rent.agree("Rent when an offer comes?", yes=yes)


class _Loop:
    """Checks the offers until no watch waits any more."""

    def __init__(self, api: CloreAI, asked: list[Asked], *, once: bool, as_json: bool) -> None:
        self.api, self.asked, self.once, self.as_json = api, asked, once, as_json
        self.by_name = {each.watch.name: each for each in asked}
        self.found = False
        self.missed: dict[str, str] = {}

    def run(self, every_s: float, for_s: float | None, *, first: bool) -> None:
        """Check until the end; see `command`.

        Raises:
            Nothing: `once`, and no offer fits.
            Late: the time is over, and no offer came or was rented.
            CloreAPIError: no check succeeded.
            KeyboardInterrupt: with a message about what was rented.
        """
        from clore_ai.rental.watch import market

        watches = [each.watch for each in self.asked]
        state = market.MarketWatch(watches, every_s, inf if for_s is None else for_s)
        if not self.once:
            output.note(f"Checking every {every_s:g} s; stop with Ctrl-C.")
        try:
            self._earlier()
            while not self._over(first=first):
                events = self.api.drive(market.step(self.api.session, state))
                if events is None:
                    break
                for event in events:
                    self._report(event)
                for each in self.asked:
                    if each.watch.wish is not None and each.watch.fits and not each.rented:
                        self._rent(each, each.watch.wish)
                if self.once:
                    break
        except KeyboardInterrupt as exc:
            left = any(each.watch.wish is not None and not each.rented for each in self.asked)
            stopped = "Stopped watching; nothing was rented." if left else "Stopped watching."
            raise KeyboardInterrupt(str(exc) or stopped) from None
        if not self.found:
            self._none(state, for_s)

    def _earlier(self) -> None:
        """Find orders that exist for a `--ref`; they are not rented again."""
        from clore_ai.cli.rent import renting

        for each in self.asked:
            wish = each.watch.wish
            if wish is not None and renting.earlier(self.api, wish.client_ref) is not None:
                self._rented(each, renting.go(self.api, wish, []))

    def _over(self, *, first: bool) -> bool:
        if all(each.watch.wish is not None for each in self.asked):
            return all(each.rented for each in self.asked)
        return first and self.found

    def _none(self, state: MarketWatch, for_s: float | None) -> NoReturn:
        if state.failure is not None and (self.once or not state.looks):
            raise state.failure
        why = "".join(f" {name}: {reason}" for name, reason in self.missed.items())
        if self.once:
            raise Nothing(f"No offer fits now.{why} To see all offers: clore search")
        what = "Nothing was rented" if why else "No offer came"
        raise Late(f"{what} in {duration(for_s)}.{why} Watch longer, or ask for less.")

    # -- events --------------------------------------------------------------------------------

    def _report(self, event: MarketEvent) -> None:
        from clore_ai.rental.watch import market

        if isinstance(event, market.Found):
            self._offers(event, self.by_name[event.watch])
        elif isinstance(event, market.Gone):
            self._line("gone", watch=event.watch, at=event.at, server_ids=list(event.ids))
        else:
            if not self.once:
                output.note(f"{event.message} Still watching.")
            self._line("trouble", message=event.message, at=event.at)

    def _offers(self, event: Found, asked: Asked) -> None:
        from clore_ai.cli.rent.search import row

        renting = asked.watch.wish is not None
        self.found = self.found or not renting
        rows = [row(server) for server in event.servers[:_ROWS]]
        more = len(event.servers) - len(rows)
        facts = self._line(
            "offer", watch=event.watch, at=event.at, offer=rows[0], offers=rows, more=more
        )
        if not self.as_json:
            name = f"{event.watch}: " if len(self.asked) > 1 else ""
            for server in event.servers[:_LINES]:
                # With --rent, stdout is for the ids of orders.
                line = _offer(server, asked.watch.price_usd(server))
                output.line(f"{period.stamp()}  {name}{line}", err=renting)
            if len(event.servers) > _LINES:
                output.note(f"… and {len(event.servers) - _LINES} more that fit, at higher prices.")
        if not renting:
            self._notify(asked, facts)

    def _line(self, what: str, **facts: object) -> dict[str, Any]:
        event = {"event": what, **facts}
        if self.as_json:
            output.event(event)
        return event

    def _notify(self, asked: Asked, facts: dict[str, Any]) -> None:
        from clore_ai.rental.watch.notify import notify

        if asked.notify_cmd is not None or asked.webhook is not None:
            for wrong in self.api.drive(notify(facts, asked.notify_cmd, asked.webhook)):
                output.note(f"{wrong}. Still watching.")

    # -- renting -------------------------------------------------------------------------------

    def _rent(self, asked: Asked, wish: Wish) -> None:
        """Try the offers that fit; keep waiting after a lost race or a temporary error."""
        from clore_ai.cli.rent import renting
        from clore_ai.rental.watch import taking

        reporter = renting.Reporter(self.api, wish, [])

        def listener(offers: list[Offer]) -> renting.Reporter:
            bids.guard_offers(wish, offers, yes=True, force=asked.force)
            reporter.tries(offers)
            return reporter

        try:
            done = self.api.drive(taking.take(self.api.session, asked.watch, wish, listener))
        except click.UsageError as exc:  # far above the price on demand
            done = exc.message
        except KeyboardInterrupt:
            if reporter.last is None:
                raise
            raise KeyboardInterrupt(reporter.interrupted()) from None
        if not isinstance(done, str):
            renting.note_hold(wish, done)
            self._rented(asked, done)
            return
        name = asked.watch.name
        if self.missed.get(name) != done:
            output.note(f"{name}: {done} Still watching.")
            self._line("missed", watch=name, at=renting.now(self.api), message=done)
        self.missed[name] = done

    def _rented(self, asked: Asked, done: Rented) -> None:
        from clore_ai.cli.rent import orders, renting
        from clore_ai.cli.supervise import keeper
        from clore_ai.rental.market.rates import price_of
        from clore_ai.rental.spend.lease import moment

        asked.rented = self.found = True
        order = done.order
        if not self.as_json:
            output.line(order.id)
        facts = self._line(
            "rented",
            watch=asked.watch.name,
            at=renting.now(self.api),
            order_id=order.id,
            server_id=order.server_id,
            order=orders.row(order, price_of(order)),
        )
        intent = self.api.ledger.by_order(order.id)
        if intent is not None and intent.ends_at is not None:
            output.note(
                f"Order {order.id} ends at {moment(intent.ends_at)}. Keep it: "
                f"clore lease extend {order.id} 6h"
            )
        keeper.ensure_running(self.api)  # while this command keeps watching
        output.note(f"Shell: clore ssh {order.id}   Stop paying: clore cancel {order.id}")
        self._notify(asked, facts)


def _offer(server: MarketplaceServer, price_usd: float | None) -> str:
    facts = (
        f"server {server.id}: {units.gpu(server.gpu_model)}",
        prices.in_words(price_usd),
        server.location,
        None if server.reliability is None else f"reliability {server.reliability:.0%}",
    )
    return ", ".join(fact for fact in facts if fact)
