"""Why no server meets a wish: what each condition left, and what would match without it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from clore_ai.hosts import Opinion
from clore_ai.rental import pick, plan
from clore_ai.rental.lease import Limits
from clore_ai.rental.wish import AUTO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from clore_ai.models import MarketplaceServer
    from clore_ai.rental.pick import Record
    from clore_ai.rental.wish import Wish

_NOTHING = {"countries": (), "available_only": False}
_SHOWN = 3
OF_PLAN = ("currency", "spot_price", "max_price_usd", "max_bid_usd", "limits", "balance", "hosts")
"""What `plan` leaves servers out for; the rest are the fields of `pick.Filter`."""
BIDS = "bids"
"""What `auction` leaves them out for: others bid more than the limit."""


@dataclass(frozen=True)
class Without:
    """What would match if these conditions were dropped."""

    names: tuple[str, ...]
    servers: int
    from_usd_per_hour: float | None
    """The cheapest, fees in."""


@dataclass(frozen=True)
class Lack:
    """Why nothing matched."""

    seen: int
    """All servers."""
    steps: tuple[tuple[str, int], ...]
    """Each condition, and how many servers were left after it and those before it."""
    without: tuple[Without, ...]
    """The fewest conditions (one, else two) without which something matches, the most first."""
    near: tuple[str, ...] = ()
    """Where no server at all has the GPU: what comes near, see `pick.near`."""


def lack(
    records: Sequence[Record],
    servers: Iterable[MarketplaceServer],
    wish: Wish,
    balances: Mapping[str, float] | None,
    opinion: Opinion,
) -> Lack:
    """Why none of `records`, of which `servers` are the models, meets `wish`."""
    models = {server.id: server for server in servers}
    names = _names(wish)
    must = pick.conditions(wish.filter)
    # Each condition is put to each record once, however many of them are dropped in turn.
    unmet = [
        (models[r["id"]], {name for name, holds in must if not holds(r)})
        for r in records
        if r.get("id") in models
    ]

    def left(dropped: Iterable[str]) -> list[plan.Offer]:
        gone = set(dropped)
        return plan.offers(
            (server for server, conditions in unmet if conditions <= gone),
            _eased(wish, gone),
            None if "balance" in gone else balances,
            Opinion() if "hosts" in gone else opinion,
        )

    steps = tuple((name, len(left(names[i + 1 :]))) for i, name in enumerate(names))
    near = pick.near(list(records), wish.filter)
    for size in (1, 2):
        found = [
            Without(dropped, len(offers), offers[0].effective_usd_per_hour)
            for dropped in combinations(names, size)
            if (offers := left(dropped))
        ]
        if found:
            without = tuple(sorted(found, key=lambda w: -w.servers))
            return Lack(len(records), steps, without, near)
    return Lack(len(records), steps, (), near)


def outbid(lacking: Lack, beyond: Sequence[plan.Offer]) -> Lack:
    """As `lacking`, where servers would do but for what others bid on them.

    `beyond`: those that could be had for more than the limit.
    """
    usd = [o.effective_usd_per_hour for o in beyond if o.effective_usd_per_hour is not None]
    dearer = Without(("max_bid_usd",), len(beyond), min(usd, default=None))
    without = (dearer,) if beyond else ()
    return replace(lacking, steps=(*lacking.steps, (BIDS, 0)), without=without)


def _names(wish: Wish) -> list[str]:
    asked = [name for name, _ in pick.conditions(wish.filter)]
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
    fields = pick.Filter.__dataclass_fields__
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


def sentence(lacking: Lack, names: Mapping[str, str]) -> str:
    """Two sentences or three: what each condition left, and what would match.

    `names`: of the conditions, as the user gave them.
    """
    words = {**_WORDS, **names}
    told: list[str] = []
    before = lacking.seen
    for name, count in lacking.steps:
        if count != before or count == 0:
            told.append(f"{words.get(name, name)}: {count}")
        before = count
        if count == 0:
            break
    text = f"No server fits, of {lacking.seen} (left after each: {', '.join(told)})."
    if lacking.near:
        text += f" No GPU is named so; near it: {', '.join(lacking.near)}."
    for each in lacking.without[:_SHOWN]:
        dropped = " and ".join(words.get(name, name) for name in each.names)
        price = each.from_usd_per_hour
        cheapest = "" if price is None else f", from ${price:.4f}/h"
        servers = "1 server" if each.servers == 1 else f"{each.servers} servers"
        text += f" Without {dropped}: {servers}{cheapest}."
    return text if lacking.without else f"{text} Drop several of them."
