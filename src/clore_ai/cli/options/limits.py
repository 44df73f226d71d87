"""The options that limit an order: ``--lease``, ``--max-hours``, ``--max-cost``."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Callable

import click

from clore_ai import _windows
from clore_ai.cli.options import F, bundle
from clore_ai.cli.options.length import Length
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.spend.lease import Limits


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (isfinite(value) and value > 0):
        raise click.BadParameter(f"{text!r} is not a number above 0.")
    return value


_ASLEEP = "While the machine sleeps or is off, the order keeps running and is billed."
BY_RUN = f"clore run on this machine, or its background process. {_ASLEEP}"
BY_HOLD = f"this command, and then a background process on this machine. {_ASLEEP}"
_BY_KEEPER = (
    f"a background process on this machine. {_ASLEEP} After a restart, the next clore command "
    "starts it again; to start it automatically: clore reap --install"
)
_BY_NOBODY = (
    "the next clore reap, monitor or spot auto; with --no-keeper nothing on this machine ends the "
    "order by itself"
)


def _options(default: str) -> Callable[[F], F]:
    return bundle(
        click.option("--lease", type=Length(endless=True), metavar="LENGTH",
                     help="How long the order may run before it is cancelled: 90s, 30m, 6h, 2d, "
                         f"none. Default: {default}."),
        click.option("--max-hours", type=Length(alone="h"), metavar="HOURS",
                     help="Longest time that the order may run: 6, 6h, 90m."),
        click.option("--max-cost", type=_positive, metavar="USD",
                     help="The most that the order may cost in USD, fees included, before it is "
                         "cancelled."),
        click.option("--no-keeper", is_flag=True,
                     help="Start no background process that cancels the order at its limit."),
    )  # fmt: skip


options = _options("24h, or less if the limits below require it")
"""The options that limit an order, for a command that rents."""
options_of_deploy = _options("none, or what the limits below allow")


def read(given: dict[str, Any], *, default: bool = True) -> Limits:
    """The limits that the options set; with `default` there is always one."""
    from clore_ai.rental.spend import lease

    lease_s, most_s = given["lease"], given["max_hours"]
    if lease_s not in (None, inf) or most_s is not None or given["max_cost"] is not None:
        _windows.refuse("An end (--lease, --max-hours, --max-cost), which a process here keeps,")
    return lease.Limits(
        None if lease_s == inf else lease_s,
        lease_s is not None,
        None if most_s is None else most_s / 3600,
        given["max_cost"],
        lease.DEFAULT_S if default else None,
        "watched" if given["no_keeper"] else "always",
    )


def lines(offer: Offer, limits: Limits, now: float, by: str | None = None) -> list[tuple[str, str]]:
    """Two lines of a plan: when the order ends, its maximum cost, and what ends it.

    `now`: unix seconds on the service's clock. `by`: what ends the order, if not a background
    process.
    """
    from clore_ai.rental.spend.lease import moment, words

    settled, longest_h = offer.end, offer.server.mrl
    if settled.lease_s is not None:
        at = moment(now + settled.lease_s)
        why = f" by {settled.because}" if settled.because else ""
        end = f"at {at} ({words(settled.lease_s)}{why})"
    elif limits.max_cost_usd is not None:
        end = "when --max-cost is reached"
    else:
        end = "does not end by itself: cancel it, or give it an end with clore lease set"
        if longest_h:
            end += f"; its host ends it after {longest_h:g} h"
    if settled.at_most_usd is not None:
        end += f", at most {prices.usd(settled.at_most_usd)}"
    elif settled.at_most is not None:
        end += f", at most {prices.coin(settled.at_most)} {offer.cost.coin}"
    if settled.lease_s is None and limits.max_cost_usd is None:
        return [("ends", end)]
    return [
        ("ends", end),
        ("ended by", by or (_BY_NOBODY if limits.enforced == "watched" else _BY_KEEPER)),
    ]
