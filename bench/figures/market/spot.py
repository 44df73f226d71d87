"""The spot autopilot in a week of the living market, beside two others (`bench.spot.bidders`)."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from bench.report import Row
from bench.spot.bidders import add_up, judge
from bench.spot.bidding import simulate

if TYPE_CHECKING:
    from bench.setting import Setting
    from bench.spot.bidders import Outcome, Sums

HELD_AT_LEAST, PRICE_AT_MOST = 0.99, 1.10
SERVERS, RENTERS, ORDERS = 40, 32, 8
# Each seed gives a different market.
MOST_WEEKS = 3
HEADROOM = 0.15


def measure(setting: Setting) -> list[Row]:
    """Simulate some weeks, each with its own seed; quick: some hours."""
    days = 0.2 if setting.quick else 7
    weeks = min(setting.runs, MOST_WEEKS)
    # Nothing is timed here, and other figures are counted meanwhile.
    clean = multiprocessing.get_context("spawn")  # this process has threads: no fork
    with ProcessPoolExecutor(mp_context=clean, initializer=os.nice, initargs=(5,)) as pool:
        headrooms = [0.0] * weeks + [HEADROOM] * weeks
        played = list(pool.map(partial(_play, days), [*range(weeks)] * 2, headrooms))
    plain, roomy = (add_up(list(chain(*half))) for half in (played[:weeks], played[weeks:]))
    what = f"spot autopilot, {days:g} simulated days, {plain.orders} orders"
    return [
        Row(
            f"{what}: time held, of what could be",
            f"{plain.held:.2%} (worst {plain.worst_held:.2%})",
            target=f">= {HELD_AT_LEAST:.0%}",
            met=plain.held >= HELD_AT_LEAST,
            notes=[_history(plain)],
        ),
        Row(
            f"{what}: mean price, of the best there was",
            f"{plain.price:.4f}",
            target=f"<= {PRICE_AT_MOST}",
            met=plain.price <= PRICE_AT_MOST,
            notes=[_prices(plain)],
        ),
        Row(
            f"the same with a headroom of {HEADROOM:.0%}: mean price",
            f"{roomy.price:.4f}",
            notes=[f"held {roomy.held:.2%}; {_history(roomy)} {_prices(roomy)}"],
        ),
    ]


def _play(days: float, seed: int, headroom: float) -> list[Outcome]:
    courses = simulate(
        days=days, servers=SERVERS, renters=RENTERS, ours=ORDERS, seed=seed, headroom=headroom
    )
    return [judge(course) for course in courses]


def _history(sums: Sums) -> str:
    return (
        f"the limit allows to hold {sums.possible:.0%} of the time; outbid {sums.outbids} times, "
        f"{sums.unavoidable} of them beyond the limit, by "
        f"{sums.rivals} orders of others; contested {sums.contested:.0%} of the time that could "
        f"be held, at {sums.contested_price:.4f} of the best price then."
    )


def _prices(sums: Sums) -> str:
    return (
        f"${sums.ours:.4f}/h while held; all-knowing ${sums.knowing:.4f}/h, fixed at the limit "
        f"${sums.fixed:.4f}/h, on demand ${sums.on_demand:.4f}/h."
    )
