"""Compares three bidders on one recorded history: ours, an all-knowing one, a fixed one.

- **Ours**: the autopilot's bids as recorded.
- **All-knowing**: it knows the whole recorded history. Of all bid sequences that hold the server
  whenever a bid within the limit could, it takes the cheapest (found by dynamic programming). It
  follows the same rules: the limit, the host's lowest bid, one lowering in 600 s, by at most
  `max_step`; raising is free. It has three advantages: it acts at once instead of every 20 s; it
  knows `max_step` without asking; its rivals bid as they did against ours, whatever it bids.
- **Fixed**: bids the limit all the time, against the same rivals.

A server is *held* while our order runs and its host is online. The price is the mean over the time
held, without fees, which are the same share for all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from bench.spot.bidding import BEGIN_MS, STEP_MS
from clore_sandbox.fleet.rates import RATES_2026
from clore_sandbox.rules.auction import LOWERING_WINDOW_MS
from clore_sandbox.values.money import UNITS_PER_COIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.spot.bidding import Bids, Course, Needs

#: The cost so far, the bid, the time of the next allowed lowering, the previous way.
_Way = tuple[int, int, int, Optional[tuple[Any, ...]]]


@dataclass(frozen=True)
class Held:
    """How long a bidder held the server, at what cost, and how often it was outbid."""

    ms: int
    paid: float
    outbids: int

    @property
    def mean(self) -> float:
        """Units a day while held."""
        return self.paid / self.ms if self.ms else 0.0


@dataclass(frozen=True)
class Outcome:
    """One order's week with three bidders. Times in ms."""

    course: Course
    ours: Held
    knowing: Held
    fixed: Held
    contested: tuple[Held, Held]
    """Ours and the all-knowing one's, for the time in which a rival's bid made the winning bid
    higher than the host's lowest."""

    @property
    def held(self) -> float:
        """Our time held, as a share of the all-knowing bidder's."""
        return self.ours.ms / self.knowing.ms if self.knowing.ms else 1.0

    @property
    def price(self) -> float:
        """Our mean price over that of the all-knowing bidder."""
        return self.ours.mean / self.knowing.mean if self.knowing.mean else 1.0


def judge(course: Course) -> Outcome:
    """The outcome of all three bidders on this course."""
    end_ms = course.end_ms
    fixed: Bids = [(BEGIN_MS, course.limit)]
    knowing = all_knowing(course)
    contested: Needs = [
        (since, None if need is None or need <= (least or 0) else need)
        for (since, need), least in zip(course.needs, course.least)
    ]
    return Outcome(
        course,
        held(course.needs, course.bids, end_ms),
        held(course.needs, knowing, end_ms),
        held(course.needs, fixed, end_ms),
        (held(contested, course.bids, end_ms), held(contested, knowing, end_ms)),
    )


def _spans(needs: Needs, end_ms: int) -> list[tuple[int, int, Optional[int]]]:
    ends = [since for since, _ in needs[1:]] + [end_ms]
    return [(since, until, need) for (since, need), until in zip(needs, ends)]


def held(needs: Needs, bids: Bids, end_ms: int) -> Held:
    """What these bids hold of a server with these needs."""
    times = sorted({t for t, _ in needs} | {t for t, _ in bids} | {end_ms})
    need: Optional[int] = None
    ms = paid = outbids = at_need = at_bid = bid = 0
    held_before = False
    for since, until in zip(times, times[1:]):
        while at_need < len(needs) and needs[at_need][0] <= since:
            need, at_need = needs[at_need][1], at_need + 1
        while at_bid < len(bids) and bids[at_bid][0] <= since:
            bid, at_bid = bids[at_bid][1], at_bid + 1
        runs = need is not None and bid >= need
        outbids += held_before and not runs and need is not None
        held_before = runs
        if runs:
            ms, paid = ms + until - since, paid + bid * (until - since)
    return Held(ms, paid, outbids)


def all_knowing(course: Course) -> Bids:
    """The cheapest bids that hold the server whenever one within the limit can.

    Of two bid sequences so far, one is at least as good if it has cost no more, bids no more and
    may lower no later: raising is free, so it can copy the other's next bids. That leaves few at
    any time. For the same reason a bid is never raised further or sooner than needed, and a
    lowering is as large as allowed.
    """
    limit, step = course.limit, course.step
    courses: list[_Way] = [(0, course.bids[0][1], 0, (None, BEGIN_MS, course.bids[0][1]))]
    for (since, until, need), least in zip(_spans(course.needs, course.end_ms), course.least):
        for at in range(since, until, STEP_MS):
            lasts = min(until, at + STEP_MS) - at
            wanted = need if need is not None and need <= limit else None
            found: list[_Way] = []
            for cost, bid, ready, way in courses:
                lowest = max(wanted or 0, bid - step)
                if ready <= at and least is not None and (low := max(lowest, least)) < bid:
                    spent = cost + (low * lasts if wanted is not None else 0)
                    found.append((spent, low, at + LOWERING_WINDOW_MS, (way, at, low)))
                stays = bid if wanted is None else max(bid, wanted)
                spent = cost + (stays * lasts if wanted is not None else 0)
                found.append((spent, stays, ready, way if stays == bid else (way, at, stays)))
            courses = _undominated(found, at)
    return _way(min(courses, key=lambda c: c[0])[3])


def _undominated(found: list[_Way], at: int) -> list[_Way]:
    kept: list[_Way] = []
    for each in sorted(found, key=lambda c: (c[0], c[1], max(c[2], at))):
        if not any(k[1] <= each[1] and max(k[2], at) <= max(each[2], at) for k in kept):
            kept.append(each)
    return kept


def _way(last: Optional[tuple[Any, ...]]) -> Bids:
    bids: Bids = []
    while last is not None:
        last, at, bid = last
        bids.append((at, bid))
    return bids[::-1]


@dataclass(frozen=True)
class Sums:
    """Sums over several orders; prices in USD per hour, time-weighted."""

    orders: int
    rivals: int
    possible: float
    """The share of the time in which a bid at the limit holds the server."""
    held: float
    """Our time held, as a share of the all-knowing bidder's."""
    worst_held: float
    """The lowest such share of one order that the all-knowing bidder holds for an hour or more."""
    ours: float
    knowing: float
    fixed: float
    on_demand: float
    """The on-demand price for the time that ours held, without fees."""
    outbids: int
    unavoidable: int
    """How often the all-knowing bidder is outbid, because the limit itself is."""
    contested: float
    """The share of the all-knowing bidder's time held in which the host's lowest bid would not have
    been enough."""
    contested_price: float
    """`price` over that time only."""

    @property
    def price(self) -> float:
        """Our mean price over that of the all-knowing bidder."""
        return self.ours / self.knowing


def add_up(outcomes: Sequence[Outcome]) -> Sums:
    """The sums over these orders."""

    def usd_per_hour(of: Callable[[Outcome], tuple[float, int]]) -> float:
        """The mean price, from units per day times ms and from ms."""
        paid = hours = 0.0
        for each in outcomes:
            amount, ms = of(each)
            paid += amount / UNITS_PER_COIN * RATES_2026[each.course.coin]
            hours += ms
        return paid / hours / 24 if hours else 0.0

    knowing = sum(o.knowing.ms for o in outcomes)
    return Sums(
        len(outcomes),
        sum(len(o.course.rivals) for o in outcomes),
        knowing / sum(o.course.end_ms - BEGIN_MS for o in outcomes),
        sum(o.ours.ms for o in outcomes) / knowing if knowing else 1.0,
        min((o.held for o in outcomes if o.knowing.ms >= 3_600_000), default=1.0),
        usd_per_hour(lambda o: (o.ours.paid, o.ours.ms)),
        usd_per_hour(lambda o: (o.knowing.paid, o.knowing.ms)),
        usd_per_hour(lambda o: (o.fixed.paid, o.fixed.ms)),
        usd_per_hour(lambda o: (o.course.on_demand * o.ours.ms, o.ours.ms)),
        sum(o.ours.outbids for o in outcomes),
        sum(o.knowing.outbids for o in outcomes),
        sum(o.contested[1].ms for o in outcomes) / knowing if knowing else 0.0,
        usd_per_hour(lambda o: (o.contested[0].paid, o.contested[0].ms))
        / (usd_per_hour(lambda o: (o.contested[1].paid, o.contested[1].ms)) or 1.0),
    )
