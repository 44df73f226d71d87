"""Rents the best offer, and reports the plan and each attempt on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clore_ai.cli import output, plans, units
from clore_ai.cli.account import now
from clore_ai.cli.options import bids, limits, wishes
from clore_ai.exceptions import NoOffer
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_ai import CloreAI
    from clore_ai.models import Order
    from clore_ai.models.records import RentEvent
    from clore_ai.rental.rent.attempt import Rented
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish


def planned(
    api: CloreAI, wish: Wish, options: Mapping[str, Any], by: str | None = None
) -> list[Offer]:
    """The offers to try in turn, shown and agreed to; empty if an earlier order has this `--ref`.

    `options`: ``--yes``, ``--force``, ``--top``, and ``--dry-run``, which only shows them. `by`:
    what ends the order at its limit, as in `limits.lines`.

    Raises:
        NoOffer: no offer fits; the message names the options.
    """
    from clore_ai.rental.rent import deploy, no_match, ranking
    from clore_ai.rental.rent import rent as flows

    is_only_shown = options.get("dry_run", False)
    if not is_only_shown and earlier(api, wish.client_ref) is not None:
        return []
    try:
        offers = api.drive(flows.find(api.session, wish))
    except NoOffer as exc:
        raise NoOffer(no_match.sentence(exc.no_match, wishes.fields()), exc.no_match) from exc
    show(wish, offers, now(api), options.get("top"), by)
    at_most = ranking.at_most(offers[0].cost, wish)
    api.drive(deploy.check_budgets(api.session, offers[0], wish.type, at_most))
    yes, force = options["yes"] or is_only_shown, options["force"] or is_only_shown
    bids.guard_offers(wish, offers, yes=yes, force=force)
    output.agree("Rent it?", "nothing was rented", yes=yes)
    return offers


def show(
    wish: Wish, offers: list[Offer], now: float, top: int | None = None, by: str | None = None
) -> None:
    """Print the plan for the best offer, and the next offers; with `top`, a table first."""
    best = offers[0]
    if top is not None:
        _table(offers[:top])
    most = wish.most_usd_per_hour if wish.max_bid_usd is not None else None
    plans.show(best, wish.type, wish.image, limits.lines(best, wish.limits, now, by), most)
    then = offers[1 : wish.attempts]
    if then:
        listed = ", ".join(
            f"{o.server.id} ({prices.hourly(o.cost.total.usd_per_hour)})" for o in then
        )
        output.facts(("else", f"{listed}, fees included; {len(offers)} servers fit"))


def earlier(api: CloreAI, ref: str | None) -> Order | None:
    """The order that an earlier command made for `--ref`, reported; None if there is none."""
    from clore_ai.rental.watch import taking

    order = api.drive(taking.earlier(api.session, ref))
    if order is not None:
        ended = "" if order.active else " It has ended; for a new one, give another --ref."
        output.note(
            f"The same as before: --ref {ref} is order {order.id} on server {order.server_id}; "
            f"nothing was rented now.{ended}"
        )
    return order


def go(api: CloreAI, wish: Wish, offers: list[Offer], *, holds: bool = False) -> Rented:
    """Try the offers in turn, reporting each step on stderr; `holds`: the caller steers the bid.

    The message of a `KeyboardInterrupt` names the order's state, if there is an order.
    """
    from clore_ai.rental.rent import rent as flows

    reporter = Reporter(api)
    try:
        rented = api.drive(flows.rent(api.session, wish, reporter, offers))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(reporter.interrupted()) from None
    if not holds:
        note_hold(wish, rented)
    return rented


def note_hold(wish: Wish, rented: Rented) -> None:
    """Print the command that keeps a new order's bid, if one is needed."""
    if wish.max_bid_usd is not None and rented.order.active:
        output.note(
            "Nothing raises its bid now; hold it with: clore spot auto "
            f"{rented.order.id} --max {wish.most_usd_per_hour:g}/h"
        )


def left_behind(api: CloreAI, newest: int) -> str:
    """The message after Ctrl-C: what became of the intents after `newest`."""
    for intent in api.ledger.after(newest):
        if intent.runs:
            return plans.goes_on(intent.order_id)
        if intent.state != "created":
            return (
                f"Interrupted while renting server {intent.server_id}: an order may exist and be "
                "billed. Check now with: clore orders"
            )
    return "Interrupted; nothing was rented."


class Reporter:
    """Reports each event in a line; `last` is the latest event."""

    def __init__(self, api: CloreAI) -> None:
        self._api, self._newest = api, api.ledger.newest()
        self.last: RentEvent | None = None

    def interrupted(self) -> str:
        """The message after Ctrl-C: what became of the order."""
        last = self.last
        if last is None or last.order_id is None:
            return left_behind(self._api, self._newest)
        if last.what == "cancelled":
            return plans.was_cancelled(last.order_id)
        if last.what in ("cancelling", "uncancelled"):
            return (
                f"Interrupted. Order {last.order_id} is not confirmed as ended and may be billed. "
                f"Check with: clore orders. Try again with: clore cancel {last.order_id}"
            )
        return plans.goes_on(last.order_id)

    def __call__(self, event: RentEvent) -> None:
        """Report an event."""
        self.last = event
        output.note(event.message, bold=event.what == "rented")


def _table(offers: list[Offer]) -> None:
    output.rows(
        offers,
        {
            ">Server": lambda o: o.server.id,
            "GPU": lambda o: units.gpu(o.server.gpu_model),
            ">VRAM": lambda o: units.gb(o.server.vram_gb),
            ">RAM": lambda o: units.gb(o.server.ram_gb),
            "Where": lambda o: o.server.location,
            ">Rel.": lambda o: units.share(o.server.reliability),
            ">Down": _down,
            "Coin": lambda o: prices.short(o.cost.coin),
            ">$/h": lambda o: prices.columns(o.cost.price.usd_per_day)[0],
            ">$/day": lambda o: prices.columns(o.cost.price.usd_per_day)[1],
            ">With fees $/h": lambda o: prices.columns(o.effective.usd_per_day)[0],
        },
        spare=["Down", "VRAM", "Where", "RAM", "Coin"],
        err=True,
    )


def _down(offer: Offer) -> str | None:
    net = offer.server.specs.net if offer.server.specs else None
    return None if net is None or net.down is None else f"{net.down:.0f}"
