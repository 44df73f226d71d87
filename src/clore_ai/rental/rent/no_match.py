"""Why no server meets a wish: what each condition left, and what would match without it. Pure."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from clore_ai._state.hosts import HostVerdicts
from clore_ai._values.sizes import counted
from clore_ai.models.price import hourly
from clore_ai.models.records import NoMatch, Without
from clore_ai.rental.market import listing
from clore_ai.rental.rent import ranking
from clore_ai.rental.rent.wish import AUTO
from clore_ai.rental.spend.lease import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from clore_ai.models import MarketplaceServer
    from clore_ai.rental.market.listing import Record
    from clore_ai.rental.rent.wish import Wish

_NOTHING = {"countries": (), "available_only": False}
_SHOWN = 3
OF_PLAN = ("currency", "spot_price", "max_price_usd", "max_bid_usd", "limits", "balance", "hosts")
"""Why `ranking` omits servers; the other reasons are the fields of `listing.Filter`."""
BIDS = "bids"
"""Why `spot_offers` omits servers: others bid more than the limit."""


def explain(
    records: Sequence[Record],
    servers: Iterable[MarketplaceServer],
    wish: Wish,
    balances: Mapping[str, float] | None,
    opinion: HostVerdicts,
) -> NoMatch:
    """Why none of `records`, of which `servers` are the models, meets `wish`."""
    models = {server.id: server for server in servers}
    names = _names(wish)
    must = listing.conditions(wish.filter)
    # Each condition is evaluated once per record, however many of them are dropped in turn.
    unmet = [
        (models[r["id"]], {name for name, holds in must if not holds(r)})
        for r in records
        if r.get("id") in models
    ]

    def left(dropped: Iterable[str]) -> list[ranking.Offer]:
        gone = set(dropped)
        return ranking.offers(
            (server for server, conditions in unmet if conditions <= gone),
            _eased(wish, gone),
            None if "balance" in gone else balances,
            HostVerdicts() if "hosts" in gone else opinion,
        )

    steps = tuple((name, len(left(names[i + 1 :]))) for i, name in enumerate(names))
    near = listing.near(list(records), wish.filter)
    for size in (1, 2):
        found = [
            Without(dropped, len(offers), offers[0].effective.usd_per_hour)
            for dropped in combinations(names, size)
            if (offers := left(dropped))
        ]
        if found:
            without = tuple(sorted(found, key=lambda w: -w.servers))
            return NoMatch(len(records), steps, without, near)
    return NoMatch(len(records), steps, (), near)


def outbid(lacking: NoMatch, beyond: Sequence[ranking.Offer]) -> NoMatch:
    """As `lacking`, if servers fit except for the bids of others.

    `beyond`: offers that would cost more than the limit.
    """
    usd = [o.effective.usd_per_hour for o in beyond if o.effective.usd_per_hour is not None]
    above = Without(("max_bid_usd",), len(beyond), min(usd, default=None))
    without = (above,) if beyond else ()
    return replace(lacking, steps=(*lacking.steps, (BIDS, 0)), without=without)


def _names(wish: Wish) -> list[str]:
    asked = [name for name, _ in listing.conditions(wish.filter)]
    given = {
        "currency": wish.currency != AUTO and wish.spot_price is None,
        "spot_price": wish.spot_price is not None,
        "max_price_usd": wish.filter.max_price_usd is not None,
        "max_bid_usd": wish.max_bid_usd is not None,
        "limits": wish.limits != Limits(),
        "balance": True,
        "hosts": True,
    }
    return asked + [name for name in OF_PLAN if given[name]]


def _eased(wish: Wish, gone: set[str]) -> Wish:
    """The wish without these conditions."""
    fields = listing.Filter.__dataclass_fields__
    eased = wish.but(**{n: _NOTHING.get(n) for n in gone if n in fields})
    if "currency" in gone:
        eased = eased.but(currency=AUTO)
    if "spot_price" in gone:
        eased = eased.but(spot_price=None)
    if "max_bid_usd" in gone:
        eased = eased.but(max_bid_usd=None)
    if "hosts" in gone:
        eased = eased.but(avoid=frozenset())
    return eased.but(limits=Limits()) if "limits" in gone else eased


_WORDS = {
    BIDS: "bids of others",
    "available_only": "free",
    "balance": "what the wallets hold",
    "hosts": "host memory",
    "limits": "lease and cost",
}


def sentence(lacking: NoMatch, names: Mapping[str, str]) -> str:
    """Two or three sentences: how many servers each condition left, and what would match.

    `names`: the conditions, as the user writes them.
    """
    words = {**_WORDS, **names}
    counts: list[str] = []
    before = lacking.seen
    for name, count in lacking.steps:
        if count != before or count == 0:
            counts.append(f"{words.get(name, name)}: {count}")
        before = count
        if count == 0:
            break
    text = f"No server fits, of {lacking.seen} (left after each: {', '.join(counts)})."
    if lacking.near:
        text += f" No GPU has that name. Similar: {', '.join(lacking.near)}."
    for each in lacking.without[:_SHOWN]:
        dropped = " and ".join(words.get(name, name) for name in each.names)
        price = each.from_usd_per_hour
        cheapest = "" if price is None else f", from {hourly(price)}"
        text += f" Without {dropped}: {counted(each.servers, 'server')}{cheapest}."
    return text if lacking.without else f"{text} Drop several of them."
