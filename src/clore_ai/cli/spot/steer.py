"""Steers a spot order: shows the plan, reports each event, and sums up at the end."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from clore_ai._values.lengths import duration
from clore_ai.cli import output, units
from clore_ai.cli.options import bids, period
from clore_ai.exceptions import CloreAPIError
from clore_ai.models import price as prices
from clore_ai.models.price import USD
from clore_ai.rental.limits import enforce
from clore_ai.rental.market.cost import FEE_SHARE
from clore_ai.rental.rent import high_bid
from clore_ai.rental.spend.lease import moment
from clore_ai.rental.spot import autopilot
from clore_ai.rental.spot.run import SpotRun, SpotSettings

if TYPE_CHECKING:
    from clore_ai import CloreAI
    from clore_ai.rental.spot.fallback import Fallback
    from clore_ai.rental.spot.run import SpotEvent, SpotReport


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
    steered.on_event = partial(_report, steered, as_json=as_json)
    try:
        report = api.drive(autopilot.fly(api.session, steered))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped(api, steered, as_json=as_json)) from None
    except CloreAPIError:
        if steered.last:  # steering had begun, so the order keeps running
            output.note(_goes_on(api, steered))
        raise
    _sum_up(report, as_json=as_json)
    if steered.limit_reached is not None:
        raise enforce.reached(steered.limit_reached)


def _price(steered: SpotRun, per_day: float | None) -> str:
    """A price per hour and per day in USD, and in the coin."""
    usd = steered.usd_per_hour(per_day)
    paid = "" if steered.coin == USD else f" = {units.coin(per_day)} {steered.coin}/day"
    return f"{prices.in_words(usd)}{paid}"


def agree(steered: SpotRun, *, yes: bool, force: bool) -> None:
    """Show the plan and ask, if there is a terminal."""
    order, wishes, fallback = steered.order, steered.wishes, steered.fix_fallback()
    server = None if order is None else order.server_id
    until = "one look" if wishes.once else f"every {wishes.every_s:g} s, until the order ends"
    if wishes.for_s is not None:
        until = f"every {wishes.every_s:g} s, for {duration(wishes.for_s)}"
    output.facts(
        ("order", f"{steered.order_id} on server {server}"),
        ("bid", _price(steered, None if order is None else order.price)),
        ("at most", _price(steered, steered.limit)),
        ("with fee", _price(steered, steered.limit * (1 + FEE_SHARE["spot"]))),
        ("on demand", _price(steered, steered.on_demand)),
        ("lowers", _lowers(steered)),
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


def _lowers(steered: SpotRun) -> str:
    """The size and time of the next lowering, as far as they are known."""
    step = steered.auto.step
    most = "" if step is None else f"by at most {_price(steered, step)}, "
    at = steered.auto.lower_at
    when = f"at {moment(at)}" if at > steered.at else "now"
    return f"{most}once in 10m; next {when}"


def _instead(steered: SpotRun, fallback: Fallback) -> str:
    after = f"after {duration(fallback.after_s)} without it"
    if fallback.to == "server":
        return f"spot on another server with the same GPUs, at most as above, {after}"
    usd = fallback.max_usd_per_hour
    most = "" if usd is None else f", at most {prices.in_words(usd)}"
    return f"on demand on server {steered.order and steered.order.server_id}{most}, {after}"


_MOST_SHARE = 10
_WORDS = {
    "begins": "Looking at {0}",
    "runs": "Runs at {1}",
    "outbid": "Outbid at {1}",
    "beaten": "The limit is outbid; waits, unbilled, at {1}",
    "waits": "Waits: {0}",
    "offline": "Its host is offline",
    "refused": "Its host no longer accepts {2}",
    "raised": "Raised to {1}",
    "lowered": "Lowered to {1}",
    "trouble": "{0}",
    "rented": "Rented instead: {0}",
    "near": "{0}",
    "ends": "",
}


def _report(steered: SpotRun, event: SpotEvent, *, as_json: bool) -> None:
    if as_json:
        row = {k: v for k, v in output.jsonable(event).items() if v is not None}
        output.event({**row, "currency": steered.coin})
    elif event.new_order_id is not None:
        output.line(event.new_order_id)
    text = _WORDS[event.event].format(event.message, _price(steered, event.bid), steered.coin)
    if event.event == "lowered":
        text += f"; lowers {_lowers(steered)}"
    if text:
        output.note(f"{period.stamp()} {text}")


def _sum_up(report: SpotReport, *, as_json: bool) -> None:
    """Print what the order cost and saved, at the end or after one check."""
    if as_json:
        output.event({"event": "report", **report.row()})
        return
    if report.moved_from is not None:
        _sum_up(report.moved_from, as_json=False)
    share = report.held_share
    if share is None:
        output.note(f"Order {report.order_id}: first check; savings are counted from now.")
        return
    output.note(
        f"Order {report.order_id} ran {duration(report.held_s)} of "
        f"{duration(report.seen_s)} ({share:.1%}), outbid {_times(report.outbids)}; the bid "
        f"was raised {_times(report.raised)} and lowered {_times(report.lowered)}."
    )
    if report.spend is None or report.fees is None:
        output.note("What it cost is not known.")
        return
    cost, saved = report.spend + report.fees, report.saved
    text = f"It cost {_amount(report, cost)}, fees included"
    if saved is None or not report.on_demand:
        unknown = "; what on demand would have cost is not known" if saved is None else ""
        output.note(f"{text}{unknown}.")
        return
    less, part = "less" if saved >= 0 else "more", abs(saved) / report.on_demand
    # After a few seconds the share means nothing: the service bills whole minutes.
    shown = f" ({part:.0%})" if part < _MOST_SHARE else ""
    output.note(
        f"{text}: {_amount(report, abs(saved))}{shown} {less} than "
        f"on demand for the same time, {_amount(report, report.on_demand)}.",
        bold=True,
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _amount(report: SpotReport, amount: float) -> str:
    """An amount as ``$1.23 (0.00001337 bitcoin)``."""
    usd = None if report.usd_per_coin is None else f"${amount * report.usd_per_coin:.4f}"
    if usd is not None and report.currency == USD:
        return usd
    coin = f"{units.coin(amount)} {report.currency}"
    return coin if usd is None else f"{usd} ({coin})"


def _stopped(api: CloreAI, steered: SpotRun, *, as_json: bool) -> str:
    """The message after Ctrl-C; prints the sum so far, if the service answers."""
    with suppress(KeyboardInterrupt, CloreAPIError):  # the message below matters more
        _sum_up(api.drive(autopilot.so_far(api.session, steered)), as_json=as_json)
    return f"Interrupted. {_goes_on(api, steered)}"


def _goes_on(api: CloreAI, steered: SpotRun) -> str:
    """The orders that may be billed from now on, and the command that stops them."""
    number, bid = f"{steered.order_id}", _price(steered, steered.auto.bid)
    if steered.asked is not None and steered.asked != steered.auto.bid:
        bid += f", or at {_price(steered, steered.asked)}, which was on its way"
    text = f"Order {number} goes on; while it runs it is billed at {bid}."
    if steered.over:
        text = f"Order {number} has ended."
    rented, uncertain = autopilot.instead(api.session, steered)
    for order_id in rented:
        text += f" Order {order_id} was rented instead, and is billed."
        number = f"{number} {order_id}"
    if uncertain:
        text += " Another order may exist and be billed; check now with: clore orders."
    return f"{text} Stop paying with: clore cancel {number}"
