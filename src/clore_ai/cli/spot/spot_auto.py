"""`clore spot auto`: a spot order's bid is kept at the lowest that wins."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import output, units
from clore_ai.cli.account import connect
from clore_ai.cli.options import bids, period
from clore_ai.cli.options.length import Length
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai.client import CloreAI
    from clore_ai.rental.spot.fallback import Fallback
    from clore_ai.rental.spot.run import SpotEvent, SpotReport, SpotRun

_WAY_IN = ("image", "ports", "env", "startup", "ssh_password", "ssh_key", "ssh_key_file",
           "jupyter_token")  # fmt: skip


@click.command()
@click.argument("order_id", type=int)
@click.option("--max", "most", type=bids.read_limit, required=True, metavar="PRICE",
              help="Highest bid: 0.4/h or 9.6/day in USD, or 0.0001 BTC/day.")  # fmt: skip
@click.option("--every", type=Length(1, 3600), default="20s", show_default=True,
              metavar="LENGTH", help="How often to check; a check is one request.")  # fmt: skip
@click.option("--for", "for_s", type=Length(), metavar="LENGTH",
              help="Stop after 30m, 6h, 2d. Default: when the order ends.")  # fmt: skip
@click.option("--once", is_flag=True, help="Check once, act on the result and exit, e.g. for cron.")
@click.option("--headroom", type=click.FloatRange(0, 100), default=0, metavar="PERCENT",
              help="Bid this much above the best rival: it costs more and is outbid less "
                  "often.")  # fmt: skip
@click.option("--fallback", type=click.Choice(["none", "on-demand", "server"]), default="none",
              show_default=True, help="What to rent instead if the order does not run for "
                  "--patience: the same server on demand, or another server at spot.")  # fmt: skip
@click.option("--patience", type=Length(), default="15m", show_default=True, metavar="LENGTH",
              help="How long the order may wait before the fallback.")  # fmt: skip
@click.option("--fallback-max", type=units.read_usd_per_hour, metavar="PRICE",
              help="Highest on-demand price of the fallback: 0.6/h or 14/day. Default: its "
                  "current price.")  # fmt: skip
@click.option("--image", help="Image of the fallback. Default: the order's image.")
@click.option("--port", "ports", multiple=True, metavar="PORT:KIND",
              help="Port of the fallback, as in `clore deploy`. Default: 22:tcp.")  # fmt: skip
@click.option("--env", multiple=True, metavar="KEY=VALUE",
              help="Environment variable of the fallback; KEY alone takes the value from your "
                  "environment; repeatable.")  # fmt: skip
@click.option("--command", "startup", help="Command that the fallback runs at start-up.")
@click.option("--ssh-password", callback=output.typed,
              help="SSH password of the fallback, up to 32 characters; - asks for it.")  # fmt: skip
@click.option("--ssh-key", help="Text of the public SSH key for the fallback.")
@click.option("--ssh-key-file", type=click.Path(dir_okay=False),
              help="File of the public SSH key for the fallback. Default: clore's own "
                  "key.")  # fmt: skip
@click.option("--jupyter-token", callback=output.typed,
              help="Jupyter token of the fallback, up to 32 characters; - asks for "
                  "it.")  # fmt: skip
@bids.force_option
@click.option("-y", "--yes", is_flag=True, help="Don't ask; required without a terminal.")
@click.option("--json", "as_json", is_flag=True,
              help="Print JSON on stdout: one line per event, then the report.")  # fmt: skip
def auto(order_id: int, **options: Any) -> None:  # noqa: ANN401 - click's options, all read below
    """Keep a spot order at the lowest bid that wins.

    Raises the bid of ORDER_ID when it is outbid, up to --max, and lowers it as far and as often as
    the service allows. At the end, and with --once, it reports the savings. After Ctrl-C the order
    keeps running at its last bid. An order that reaches its limit (clore lease) is cancelled, with
    exit 7. The id of a fallback order goes to stdout.
    """
    _check(options)
    with connect() as api:
        fallback, identity = _fallback(options)
        run(api, order_id, options, fallback, identity)


def hold(api: CloreAI, order_id: int, most: float | None, as_json: bool) -> None:
    """Steer an order that was just rented, below `most` USD per hour; without a question.

    Raises:
        KeyboardInterrupt: saying which order goes on, and at which bid.
    """
    limit = bids.Bid(most or 0.0, in_usd=True)
    options = {"most": limit, "every": 20, "for_s": None, "headroom": 0, "once": False}
    # What is far above the price on demand was refused before it was rented.
    run(api, order_id, {**options, "yes": True, "force": True, "as_json": as_json})


def run(
    api: CloreAI,
    order_id: int,
    options: dict[str, Any],
    fallback: Fallback | None = None,
    identity: Path | None = None,
) -> SpotReport:
    """Steer an order as the options say, told on the way; also for who has just rented it.

    Args:
        api: the client.
        order_id: a spot order of the user's.
        options: `most` (from ``--max``), `every`, `for_s`, `once`, `headroom`, `yes`, `force`,
            `as_json`.
        fallback: what to rent instead.
        identity: the private key that opens that.

    Raises:
        LimitReached: its lease, or what it may cost: it was cancelled.
        KeyboardInterrupt: saying which order goes on, and at which bid.
    """
    from clore_ai.exceptions import CloreAPIError
    from clore_ai.rental.limits import enforce
    from clore_ai.rental.spot import autopilot
    from clore_ai.rental.spot import run as spot

    most: bids.Bid = options["most"]
    coin = most.coin
    wishes = spot.SpotSettings(
        None if coin else most.amount, most.amount if coin else None, options["every"],
        options["for_s"], options["headroom"] / 100, fallback, options["once"],
    )  # fmt: skip
    steered = spot.SpotRun(order_id, wishes)
    api.drive(autopilot.prepare(api.session, steered))
    if coin and coin != steered.coin:
        raise click.UsageError(
            f"Order {order_id} is paid in {steered.coin}; give --max in USD (0.4/h) or in that "
            "coin."
        )
    steered = _agree(steered, options)
    last = max((i.id or 0 for i in api.ledger.intents()), default=0)

    def on_event(event: SpotEvent) -> None:
        _report(steered, event, as_json=options["as_json"])
        if event.event == "rented" and steered.new_order is not None and identity is not None:
            api.session.access.remember(steered.new_order, identity)

    steered.on_event = on_event
    try:
        report = api.drive(autopilot.fly(api.session, steered))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped(api, steered, last, options)) from None
    except CloreAPIError:
        if steered.last:  # it was steered: what has failed is not the order
            output.note(_goes_on(api, steered, last))
        raise
    if steered.limit_reached is not None:
        enforce.note_reason(api.session, steered.limit_reached)
    _sum_up(report, as_json=options["as_json"])
    if steered.limit_reached is not None:
        raise enforce.reached(steered.limit_reached)
    return report


def _check(options: dict[str, Any]) -> None:
    if options["once"] and options["for_s"] is not None:
        raise click.UsageError("--once checks once: leave out --for, or --once.")
    if options["fallback"] == "none":
        given = [name for name in _WAY_IN if options[name]]
        if given or options["fallback_max"] is not None:
            raise click.UsageError("These options are for the fallback: add --fallback.")
    if options["fallback"] != "on-demand" and options["fallback_max"] is not None:
        raise click.UsageError(
            "--fallback-max is for --fallback on-demand; another server is limited by --max."
        )
    if not options["yes"] and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(
            "The autopilot bids, and so spends, by itself. This needs confirmation and there is "
            "no terminal. Add --yes."
        )


def _fallback(options: dict[str, Any]) -> tuple[Fallback | None, Path | None]:
    """What to rent instead, and the private key that opens it."""
    if options["fallback"] == "none":
        return None, None
    from pathlib import Path

    from clore_ai.cli.options import order_options
    from clore_ai.rental.spot.fallback import Fallback

    file = options["ssh_key_file"]
    key, identity = order_options.key(
        {**options, "ssh_key_file": None if file is None else Path(file)}
    )
    fallback = Fallback(
        options["fallback"],
        options["patience"],
        options["fallback_max"],
        options["image"],
        options["ssh_password"],
        key,
        order_options.ports(options["ports"]),
        order_options.env(options["env"]) or None,
        options["jupyter_token"],
        options["startup"],
    )
    return fallback, identity


# -- what is shown ---------------------------------------------------------------------------------


def _price(steered: SpotRun, per_day: float | None) -> str:
    """In both units and the coin."""
    from clore_ai.models.price import USD

    usd = steered.usd_per_hour(per_day)
    paid = "" if steered.coin == USD else f" = {units.coin(per_day)} {steered.coin}/day"
    return f"{prices.in_words(usd)}{paid}"


def _agree(steered: SpotRun, options: dict[str, Any]) -> SpotRun:
    """Show what will be done, and ask where somebody is there."""
    from clore_ai.rental.market.cost import FEE_SHARE

    order, fallback, wishes = steered.order, steered.wishes.fallback, steered.wishes
    share = FEE_SHARE["spot"]
    until = "one look" if wishes.once else f"every {wishes.every_s:g} s"
    if not wishes.once:
        lasts = "until the order ends"
        if wishes.for_s is not None:
            lasts = f"for {duration(wishes.for_s)}"
        until = f"{until}, {lasts}"
    if fallback is not None and fallback.to == "on-demand" and fallback.max_usd_per_hour is None:
        now = steered.usd_per_hour(steered.on_demand)
        fallback = replace(fallback, max_usd_per_hour=None if now is None else now * 1.0001)
        steered.wishes = replace(wishes, fallback=fallback)
    for name, value in (
        ("order", f"{steered.order_id} on server {order and order.server_id}"),
        ("bid", _price(steered, None if order is None else order.price)),
        ("at most", _price(steered, steered.limit)),
        ("with fee", _price(steered, steered.limit * (1 + share))),
        ("on demand", _price(steered, steered.on_demand)),
        ("lowers", _lowers(steered)),
        ("looks", until),
        ("fallback", "none" if fallback is None else _instead(steered, fallback)),
    ):
        output.note(f"  {name:9} {value}")
    server_id = None if order is None else order.server_id
    bids.guard(
        "The limit", server_id, steered.price(steered.limit), steered.on_demand,
        yes=options["yes"], force=options["force"],
    )  # fmt: skip
    if order is not None and (order.price or 0.0) > steered.limit:
        output.note(
            "The bid is already above that. It is lowered step by step, as the service allows, "
            "and not below what the host asks."
        )
    if not options["yes"]:
        output.ask("Start bidding?", "the bid is unchanged")
    return steered


def _lowers(steered: SpotRun) -> str:
    """How far the next lowering goes, and when, as far as is known."""
    from clore_ai.rental.spend.lease import moment

    step = steered.auto.step
    most = "" if step is None else f"by at most {_price(steered, step)}, "
    at = steered.auto.lower_at
    when = f"at {moment(at)}" if at > time.time() else "now"
    return f"{most}once in 10m; next {when}"


def _instead(steered: SpotRun, fallback: Fallback) -> str:
    after = f"after {duration(fallback.after_s)} without it"
    if fallback.to == "server":
        return f"spot on another server with the same GPUs, at most as above, {after}"
    usd = fallback.max_usd_per_hour
    most = "" if usd is None else f", at most {prices.in_words(usd)}"
    return f"on demand on server {steered.order and steered.order.server_id}{most}, {after}"


_TELLING = 10
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
        row = {k: v for k, v in asdict(event).items() if v is not None}
        output.event({**row, "currency": steered.coin})
    elif event.new_order_id is not None:
        output.line(event.new_order_id)
    said = _WORDS[event.event].format(event.message, _price(steered, event.bid), steered.coin)
    if event.event == "lowered":
        said += f"; lowers {_lowers(steered)}"
    if said:
        output.note(f"{period.stamp()} {said}")


def _sum_up(report: SpotReport, *, as_json: bool) -> None:
    """What came of it, in the end and after one look."""
    if as_json:
        output.event({"event": "report", **row(report)})
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
    said = f"It cost {_amount(report, cost)}, fees in"
    if saved is None or not report.on_demand:
        unknown = "; what on demand would have cost is not known" if saved is None else ""
        output.note(f"{said}{unknown}.")
        return
    less, part = "less" if saved >= 0 else "more", abs(saved) / report.on_demand
    # Of some seconds a share says nothing: the service bills whole minutes.
    shown = f" ({part:.0%})" if part < _TELLING else ""
    output.note(
        f"{said}: {_amount(report, abs(saved))}{shown} {less} than "
        f"on demand for the same time, {_amount(report, report.on_demand)}.",
        bold=True,
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _amount(report: SpotReport, amount: float) -> str:
    """``$1.23 (0.00001337 bitcoin)``."""
    from clore_ai.models.price import USD

    usd = None if report.usd_per_coin is None else f"${amount * report.usd_per_coin:.4f}"
    if usd is not None and report.currency == USD:
        return usd
    coin = f"{units.coin(amount)} {report.currency}"
    return coin if usd is None else f"{usd} ({coin})"


def row(report: SpotReport) -> dict[str, Any]:
    """The report for ``--json``; amounts in `currency`."""
    left_out = ("order", "new_order", "moved_from")
    found = {f: getattr(report, f) for f in report.__dataclass_fields__ if f not in left_out}
    found |= {
        "held_share": report.held_share,
        "saved": report.saved,
        "saved_usd": report.saved_usd,
        "new_order_id": report.new_order and report.new_order.id,
    }
    if report.moved_from is not None:
        found["moved_from"] = row(report.moved_from)
    return found


def _stopped(api: CloreAI, steered: SpotRun, last: int, options: dict[str, Any]) -> str:
    """What goes on after Ctrl-C; and, if the service answers, what came of it so far."""
    from clore_ai.exceptions import CloreAPIError
    from clore_ai.rental.spot.hold import reread_order

    once = replace(api.session, rules=replace(api.session.rules, max_retries=0))
    try:
        api.drive(reread_order(once, steered))
        _sum_up(steered.report("stopped"), as_json=options["as_json"])
    except (KeyboardInterrupt, CloreAPIError):
        pass  # what matters is said below
    return f"Interrupted. {_goes_on(api, steered, last)}"


def _goes_on(api: CloreAI, steered: SpotRun, last: int) -> str:
    """What may be billed from now on, and how to stop it."""
    number, bid = f"{steered.order_id}", _price(steered, steered.auto.bid)
    if steered.asked is not None and steered.asked != steered.auto.bid:
        bid += f", or at {_price(steered, steered.asked)}, which was on its way"
    said = f"Order {number} goes on; while it runs it is billed at {bid}."
    if steered.over:
        said = f"Order {number} has ended."
    mine = [i for i in api.ledger.intents() if (i.id or 0) > last and i.state != "refused"]
    for order_id in (i.order_id for i in mine if i.state == "created"):
        if order_id != steered.order_id:
            said += f" Order {order_id} was rented instead, and is billed."
            number = f"{number} {order_id}"
    if any(i.state != "created" for i in mine):
        said += " Another order may exist and be billed; check now with: clore orders."
    return f"{said} Stop paying with: clore cancel {number}"
