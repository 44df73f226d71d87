"""An autopilot for spot orders among simulated renters.

The market is that of `--alive`: its rules, store, hosts and renters, with its own clock; most of
its renters bid (`SPOTS`). Our orders are real orders there, steered by
`clore_ai.rental.spot.bidding` as by `clore spot auto`, with a check every 20 s. The bid needed in
each minute is recorded; `bench.spot.bidders` compares other bidders with it.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

from clore_ai.exceptions import FieldError
from clore_ai.models import SpotMarket
from clore_ai.rental.spot.auction import down, read
from clore_ai.rental.spot.bidding import Autobid
from clore_sandbox import books
from clore_sandbox.alive.crowd import Crowd
from clore_sandbox.api.order_shapes import offer_rows
from clore_sandbox.books import lifecycle, orders
from clore_sandbox.books.hosts import fill
from clore_sandbox.fleet.inventory import on_demand_prices
from clore_sandbox.fleet.rates import RATES_2026
from clore_sandbox.fleet.sample import sample_fleet
from clore_sandbox.rules import Refusal, allowed_prices, auction
from clore_sandbox.rules.order_request import OrderRequest
from clore_sandbox.store import Store
from clore_sandbox.values.json_types import as_object
from clore_sandbox.values.money import DAY_S, UNITS_PER_COIN, to_units

if TYPE_CHECKING:
    from collections.abc import Callable

    from clore_sandbox.store import Tx
    from clore_sandbox.values.json_types import JsonObject

BEGIN_MS = 1_767_225_600_000  # 2026-01-01
STEP_MS, LOOK_MS = 60_000, 20_000
LOWERING_MS = auction.LOWERING_WINDOW_MS
_DAY_MS = DAY_S * 1000
SPOTS = 0.95
DEAREST_USD = 50
"""Highest on-demand price per day in the sample; higher ones are not serious offers."""
LIMIT = 1.0
"""The limit, as a share of the on-demand price at the start; rivals bid up to 1.1 of that price."""

#: (since ms, our lowest bid in units per day that wins; None if no bid does).
Needs = list[tuple[int, Optional[int]]]
#: (since ms, our bid).
Bids = list[tuple[int, int]]


@dataclass
class Course:
    """The history of one of our orders."""

    server: int
    coin: str
    order: int
    limit: int
    step: int
    on_demand: int
    pilot: Autobid
    needs: Needs = field(default_factory=list)
    least: list[Optional[int]] = field(default_factory=list)
    bids: Bids = field(default_factory=list)
    end_ms: int = BEGIN_MS
    refusals: int = 0
    spend: int = 0
    """The cost in the marketplace's books, in units, without fees."""
    rivals: set[int] = field(default_factory=set)
    #: The order's offset, in ms, within the 20 s between checks.
    phase: int = 0
    auction: Optional[tuple[object, ...]] = None
    market: Optional[SpotMarket] = None

    @property
    def bid(self) -> int:
        """The current bid, in units per day."""
        return self.bids[-1][1]


def simulate(
    *,
    days: float = 7,
    servers: int = 40,
    renters: int = 60,
    ours: int = 8,
    seed: int = 0,
    headroom: float = 0.0,
) -> list[Course]:
    """Simulate a market of `servers` for some days; we hold orders on `ours` of them."""
    rates = dict(RATES_2026)
    terms = lifecycle.Terms(lifecycle.Delays(2_000, 10_000, 90_000), auction.fixed_rates(rates))
    crowd = Crowd(seed, renters, rates, spots=SPOTS)
    draw = random.Random(seed)
    # Rentals long enough that the host's limit ends none of our orders.
    fleet = [{**record, "mrl": 24 * 30} for record in sample_fleet(seed, servers)]
    store = Store()
    now_ms = BEGIN_MS
    try:
        store.call(lambda tx: fill(tx, fleet))
        store.call(lambda tx: crowd.settle_in(tx, BEGIN_MS))
        courses = store.call(lambda tx: _open(tx, ours, draw, headroom, terms))
        for step in range(round(days * _DAY_MS / STEP_MS)):
            store.call(_minute(crowd, step, now_ms, terms, courses))
            now_ms += STEP_MS
        store.call(lambda tx: _close(tx, courses, now_ms, terms))
    finally:
        store.close()
    return courses


def _open(
    tx: Tx, ours: int, draw: random.Random, headroom: float, terms: lifecycle.Terms
) -> list[Course]:
    """Open our account and its orders, each at the lowest bid, on free servers."""
    account = books.account_of(tx, books.create_account(tx, None, {}, label="ours")) or 0
    for coin in RATES_2026:
        books.top_up(tx, account, coin, 1_000_000 * UNITS_PER_COIN)
    rows = tx.all("SELECT id, online, taken, record FROM servers ORDER BY position")
    draw.shuffle(rows)
    courses: list[Course] = []
    for row in rows:
        record = json.loads(row["record"])
        listed = allowed_prices(on_demand_prices(record), record)
        coins = sorted(lifecycle.least_bids(record).keys() & listed.keys())
        if len(courses) == ours or row["taken"] or not row["online"]:
            continue
        if not coins or record.get("gigaspot"):
            continue
        coin = draw.choice(coins)
        least, limit = lifecycle.least_bids(record)[coin], round(listed[coin] * LIMIT)
        usd = listed[coin] * terms.rates[coin] / UNITS_PER_COIN / 10**8
        if least >= limit or usd > DEAREST_USD:
            continue
        effects = lifecycle.Effects()
        ask = OrderRequest(row["id"], coin, "image", "spot", least)
        made = orders.create(
            tx, ask, account=account, now_ms=BEGIN_MS, terms=terms, effects=effects
        )
        if not isinstance(made, Refusal):
            limit = to_units(down(limit / UNITS_PER_COIN))
            step, bids = auction.max_step(coin, terms.rates), [(BEGIN_MS, least)]
            pilot = Autobid(headroom=headroom)
            course = Course(row["id"], coin, made.id, limit, step, listed[coin], pilot, bids=bids)
            course.phase = draw.randrange(1, LOOK_MS)
            courses.append(course)
    return courses


def _close(tx: Tx, courses: list[Course], now_ms: int, terms: lifecycle.Terms) -> None:
    lifecycle.settle(tx, now_ms, terms, lifecycle.Effects())
    for course in courses:
        course.end_ms = now_ms
        course.spend = tx.number("SELECT spend FROM orders WHERE id = ?", course.order)


def _minute(
    crowd: Crowd, step: int, now_ms: int, terms: lifecycle.Terms, courses: list[Course]
) -> Callable[[Tx], None]:
    """One minute: the other renters act, then our orders are checked and bid."""

    def work(tx: Tx) -> None:
        effects = lifecycle.Effects()
        if step % 12 == 0:
            lifecycle.settle(tx, now_ms, terms, effects)
        crowd.step(tx, now_ms, STEP_MS, terms, effects)
        for course in courses:
            _record(tx, course, now_ms, terms)
            for at_ms in range(now_ms + course.phase, now_ms + STEP_MS, LOOK_MS):
                _look(tx, course, at_ms, terms)

    return work


def _record(tx: Tx, course: Course, now_ms: int, terms: lifecycle.Terms) -> None:
    """Record the bid needed from now on, if anything has changed."""
    there = tx.one("SELECT online, taken, record FROM servers WHERE id = ?", course.server)
    assert there is not None
    rows = tx.all(
        "SELECT id, type, coin, price, running FROM orders WHERE server = ? AND ended_ms IS NULL",
        course.server,
    )
    offer = ("id", "type", "coin", "price", "running")
    now = (
        tuple(there[name] for name in ("online", "taken", "record")),
        *(tuple(row[name] for name in offer) for row in rows),
    )
    if now == course.auction:
        return
    course.auction, course.market = now, None
    minimum = lifecycle.least_bids(json.loads(there["record"]))
    others = [
        auction.Contender(row["id"], row["type"] == "on-demand", row["coin"], row["price"])
        for row in rows
        if row["id"] != course.order
    ]
    course.rivals |= {other.order for other in others}
    shut = not there["online"] or there["taken"] or any(other.on_demand for other in others)
    course.needs.append((now_ms, None if shut else _need(course, others, minimum, terms)))
    course.least.append(minimum.get(course.coin))


def _need(
    course: Course, others: list[auction.Contender], minimum: dict[str, int], terms: lifecycle.Terms
) -> Optional[int]:
    """Our lowest bid that wins the server, by the market's own rules."""
    need, rate = minimum.get(course.coin), terms.rates[course.coin]
    if need is None:
        return None
    for other in others:
        if other.coin in minimum and other.price >= minimum[other.coin]:
            value = auction.worth(other.price, other.coin, terms.rates)
            older = course.order < other.order
            need = max(need, -(-value // rate) if older else value // rate + 1)
    return need


def _look(tx: Tx, course: Course, now_ms: int, terms: lifecycle.Terms) -> None:
    """One check by the autopilot, and its bids."""
    if course.market is None:
        course.market = SpotMarket.model_validate(_body(tx, course, terms))
    limit = course.limit / UNITS_PER_COIN
    seen = read(course.market, course.order, course.coin, limit, now_ms / 1000)
    if seen is None:
        return
    decision = course.pilot.see(seen)
    while decision.price is not None and _set(tx, course, decision.price, now_ms, terms):
        decision = course.pilot.again(now_ms / 1000)


def _set(tx: Tx, course: Course, price: float, now_ms: int, terms: lifecycle.Terms) -> bool:
    """Bid; True if the bid was refused and another one may be accepted at once."""
    row = tx.one("SELECT account FROM orders WHERE id = ?", course.order)
    assert row is not None
    effects, units = lifecycle.Effects(), to_units(price)
    refusal = orders.set_price(
        tx, course.order, units, account=row["account"], now_ms=now_ms, terms=terms, effects=effects
    )
    if refusal is None:
        course.pilot.accepted(price, now_ms / 1000)
        course.bids.append((now_ms, units))
        course.market = None
        return False
    course.refusals += 1
    error = FieldError(refusal.error, 6, {"error": refusal.error, **refusal.extra})
    return course.pilot.refused(error, price, now_ms / 1000)


def _body(tx: Tx, course: Course, terms: lifecycle.Terms) -> JsonObject:
    """The answer of `spot_marketplace` for the server."""
    row = tx.one("SELECT online, record FROM servers WHERE id = ?", course.server)
    found = orders.offers(tx, course.server)
    account = next(o.account for o in found if o.id == course.order)
    assert row is not None
    record = json.loads(row["record"])
    least = as_object((as_object(record.get("price")) or {}).get("spot")) or {}
    server: JsonObject = {"min_pricing": least, "online": bool(row["online"])}
    offers = offer_rows(found, terms.rates, account=account, dialect="live")
    return {"currency_rates_in_usd": dict(RATES_2026), "offers": offers, "server": server}
