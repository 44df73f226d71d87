"""Find servers: filter, price in USD, and say what was left out for want of a price.

Raw records are filtered before models are made of them: most are dropped, and making a model is
what costs time. Prices: design as in api.md, 2-3; USD per hour is the price per day / 24.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Any

from clore_ai import _wire
from clore_ai._flow import Flow, Shared, clock, request
from clore_ai._json import as_dict, as_number
from clore_ai._parse import models
from clore_ai.exceptions import CloreAPIError
from clore_ai.models import MarketplaceServer, SpotMarket
from clore_ai.models._base import count_gpus, matches_gpu
from clore_ai.rental.session import RATES_KEPT_S, Session

Record = dict[str, Any]

_CONVERTED = (("bitcoin", "on_demand_btc"), ("CLORE-Blockchain", "on_demand_clore"))


@dataclass(frozen=True)
class Filter:
    """What 004's `marketplace()` filters by. `max_price_usd` is USD per hour, inclusive."""

    gpu: str | None = None
    min_gpu_count: int | None = None
    min_ram_gb: float | None = None
    max_price_usd: float | None = None
    available_only: bool = True
    id: int | None = None
    """One server only."""


@dataclass(frozen=True)
class Selection:
    """Servers that fit, in the service's order."""

    servers: list[MarketplaceServer]
    unpriced: int
    """How many more fit but were left out: a price was asked for and theirs is unknown."""
    seen: int
    """How many servers the marketplace holds."""


def marketplace(session: Session, wanted: Filter) -> Flow[Selection]:
    """The servers that fit. One request, shared with whoever asks at the same time.

    Where prices can't be converted from the answer itself and there is a key, the coins' rates
    are read from `spot_marketplace`, once in five minutes.
    """
    records: list[Record] = yield Shared(
        "marketplace", lambda: request(_wire.marketplace(), session.rules)
    )
    servers = models(MarketplaceServer, [r for r in records if fits(r, wanted)])
    rates = implied_rates(records)
    for server in servers:
        server.use_rates(rates)
    # Where every coin's value is known, no price needs to be worked out to see that.
    if any(coin not in rates for coin, _ in _CONVERTED) and any(_payable(s) for s in servers):
        rates = {**(yield from currency_rates(session, records[0].get("id"))), **rates}
        for server in servers:
            server.use_rates(rates)
    session.worth.update(rates)
    limit = wanted.max_price_usd
    if limit is None:
        return Selection(servers, 0, len(records))
    priced = [(s, s.price_usd) for s in servers]
    cheap = [s for s, price in priced if price is not None and price <= limit]
    return Selection(cheap, sum(price is None for _, price in priced), len(records))


def currency_rates(session: Session, server_id: object) -> Flow[dict[str, float]]:
    """USD for one coin, by the service; as last read, or empty, where it can't be asked."""
    now = yield from clock()
    read_at = session.rates_read_at
    if read_at is not None and now.mono - read_at < RATES_KEPT_S:
        return session.rates
    if not session.rules.has_key or not isinstance(server_id, int):
        return {}
    call = _wire.spot_marketplace(server_id)
    try:
        market: SpotMarket = yield Shared("rates", lambda: request(call, session.rules))
    except CloreAPIError:
        return session.rates  # else the price stays unknown, which every reader must expect
    session.rates, session.rates_read_at = dict(market.currency_rates_in_usd or {}), now.mono
    return session.rates


def fits(record: Record, wanted: Filter) -> bool:
    """Does a raw record fit, its price aside?"""
    if wanted.id is not None and record.get("id") != wanted.id:
        return False
    if wanted.available_only and record.get("rented"):
        return False
    specs = as_dict(record.get("specs")) or {}
    gpus, gpu = record.get("gpu_array"), specs.get("gpu")
    if wanted.gpu and not matches_gpu(wanted.gpu, gpus, gpu):
        return False
    if wanted.min_gpu_count and count_gpus(gpus, gpu) < wanted.min_gpu_count:
        return False
    ram = as_number(specs.get("ram"))
    return not wanted.min_ram_gb or (ram is not None and ram >= wanted.min_ram_gb)


def implied_rates(records: list[Record]) -> dict[str, float]:
    """USD for one coin, as the records themselves imply it: the median over all of them."""
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        price = as_dict(record.get("price")) or {}
        usd = as_dict(price.get("usd")) or {}
        on_demand = as_dict(price.get("on_demand")) or {}
        for coin, name in _CONVERTED:
            coins, dollars = as_number(on_demand.get(coin)), as_number(usd.get(name))
            if coins and dollars and isfinite(rate := dollars / coins):
                found[coin].append(rate)
    return {coin: median(rates) for coin, rates in found.items()}


def _payable(server: MarketplaceServer) -> bool:
    """Can it be paid, in coins whose value is not known yet?"""
    tier = server.price.on_demand if server.price else None
    return server.price_usd is None and any(
        server.allows(c) for c in (tier.coins() if tier else ())
    )
