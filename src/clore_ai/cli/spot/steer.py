"""Steers a spot order: shows the plan, reports each event, and sums up at the end."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from clore_ai._values.lengths import duration
from clore_ai.cli import output
from clore_ai.cli.options import bids
from clore_ai.exceptions import CloreAPIError
from clore_ai.models import price as prices
from clore_ai.rental.limits import enforce
from clore_ai.rental.market.cost import FEE_SHARE
from clore_ai.rental.rent import high_bid
from clore_ai.rental.spot import autopilot
from clore_ai.rental.spot.run import SpotRun, SpotSettings

if TYPE_CHECKING:
    from clore_ai import CloreAI
    from clore_ai.rental.spot.fallback import Fallback
    from clore_ai.rental.spot.report import SpotReport
    from clore_ai.rental.spot.run import SpotEvent


def hold(api: CloreAI, order_id: int, most: float | None, as_json: bool) -> None:
    """Steer an order that was just rented, below `most` USD per hour, without asking."""
    steered = prepared(api, order_id, SpotSettings(most))
    # A bid far above the on-demand price was refused before renting.
    agree(steered, yes=True, force=True)
    fly(api, steered, as_json=as_json)


def prepared(api: CloreAI, order_id: int, settings: SpotSettings) -> SpotRun:
    """Look at the order; nothing is bid yet."""
    steered = SpotRun(order_id, settings)
    api.drive(autopilot.prepare(api.session, steered))
    return steered


def fly(api: CloreAI, steered: SpotRun, *, as_json: bool) -> None:
    """Steer an order and report each event.

    Raises:
        LimitReached: the order reached its lease or cost limit and was cancelled.
        KeyboardInterrupt: the message names the order that keeps running, and its bid.
    """
    steered.on_event = partial(_report, as_json=as_json)
    try:
        report = api.drive(autopilot.fly(api.session, steered))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped(api, steered, as_json=as_json)) from None
    except CloreAPIError:
        if steered.last:  # steering had begun, so the order keeps running
            output.note(autopilot.goes_on(api.session, steered))
        raise
    _sum_up(report, as_json=as_json)
    if steered.limit_reached is not None:
        raise enforce.reached(steered.limit_reached)


def agree(steered: SpotRun, *, yes: bool, force: bool) -> None:
    """Show the plan and ask, if there is a terminal."""
    order, wishes, fallback = steered.order, steered.wishes, steered.fix_fallback()
    server = None if order is None else order.server_id
    until = "one look" if wishes.once else f"every {wishes.every_s:g} s, until the order ends"
    if wishes.for_s is not None:
        until = f"every {wishes.every_s:g} s, for {duration(wishes.for_s)}"
    output.facts(
        ("order", f"{steered.order_id} on server {server}"),
        ("bid", steered.in_words(None if order is None else order.price)),
        ("at most", steered.in_words(steered.limit)),
        ("with fee", steered.in_words(steered.limit * (1 + FEE_SHARE["spot"]))),
        ("on demand", steered.in_words(steered.on_demand)),
        ("lowers", steered.lowers),
        ("looks", until),
        ("fallback", "none" if fallback is None else _instead(steered, fallback)),
    )
    found = high_bid.high(server, steered.price(steered.limit), steered.on_demand)
    bids.guard("The limit", found, yes=yes, force=force)
    if order is not None and (order.price or 0.0) > steered.limit:
        output.note(
            "The bid is already above that. It is lowered step by step, as the service allows, "
            "and not below what the host asks."
        )
    output.ask("Start bidding?", "the bid is unchanged", yes=yes)


def _instead(steered: SpotRun, fallback: Fallback) -> str:
    after = f"after {duration(fallback.after_s)} without it"
    if fallback.to == "server":
        return f"spot on another server with the same GPUs, at most as above, {after}"
    usd = fallback.max_usd_per_hour
    most = "" if usd is None else f", at most {prices.in_words(usd)}"
    return f"on demand on server {steered.order and steered.order.server_id}{most}, {after}"


def _report(event: SpotEvent, *, as_json: bool) -> None:
    if as_json:
        output.event(event.row())
    elif event.new_order_id is not None:
        output.line(event.new_order_id)
    if event.sentence:
        output.note(f"{output.stamp()} {event.sentence}")


def _sum_up(report: SpotReport, *, as_json: bool) -> None:
    """Print what the order cost and saved, at the end or after one check."""
    if as_json:
        output.event({"event": "report", **report.row()})
        return
    *before, last = report.sentences()
    for sentence in before:
        output.note(sentence)
    output.note(last, bold=True)


def _stopped(api: CloreAI, steered: SpotRun, *, as_json: bool) -> str:
    """The message after Ctrl-C; prints the sum so far, if the service answers."""
    with suppress(KeyboardInterrupt, CloreAPIError):  # the message below matters more
        _sum_up(api.drive(autopilot.so_far(api.session, steered)), as_json=as_json)
    return f"Interrupted. {autopilot.goes_on(api.session, steered)}"
