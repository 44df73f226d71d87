"""Finds servers: filters and prices them, and counts those left out because a price is unknown.

Raw records are filtered before models are made of them: most are dropped, and making models is the
slow part. Prices as in service.md, 2-3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Callable

from clore_ai._api import endpoints
from clore_ai._api.parse import models
from clore_ai._api.steps import Flow, Shared, request
from clore_ai._values.kinds import as_dict, as_list, as_number
from clore_ai.models import MarketplaceServer
from clore_ai.models._base import bare_gpu, count_gpus, describe_gpu, matches_gpu, near_gpus
from clore_ai.rental.market import rates

if TYPE_CHECKING:
    from clore_ai.rental.session import Session

Record = dict[str, Any]
"""A server as the service sends it, the only raw form above `_api`: models of 3,500 servers take
70 ms, and a watch filters that many at every look."""

Condition = Callable[[Record], bool]

_DISK = re.compile(
    # Never start within a number: its end would look like a whole one.
    r"(?<![0-9.,])([0-9]+(?:\.[0-9]+)?)\s*([MGT])i?B\s*\Z|\A\s*([0-9]+(?:\.[0-9]+)?)\s*\Z",
    re.IGNORECASE,
)
_GB = {"M": 0.001, "G": 1.0, "T": 1000.0}
_NEARLY = 0.95
_MOST_NEAR = 3


BEST_FIRST: dict[str, Callable[[MarketplaceServer], float]] = {
    "price": lambda s: inf if s.price_usd is None else s.price_usd,
    "reliability": lambda s: -(s.reliability or 0),
    "gpu": lambda s: -s.gpu_count,
    "ram": lambda s: -(s.ram_gb or 0),
    "down": lambda s: -((s.specs and s.specs.net and s.specs.net.down) or 0),
}
"""What a server is sorted by: less is better. The price is the list price, without fees; `rent`
ranks by the real cost (`rental.rent.ranking`)."""


@dataclass(frozen=True)
class Filter:
    """The conditions for servers; the first five are those of 004's `marketplace()`.

    All bounds are inclusive; a value missing from the record does not meet a bound.
    """

    gpu: str | tuple[str, ...] | None = None
    """A part of the GPU's name; or several, any of which may match."""
    min_gpu_count: int | None = None
    min_ram_gb: float | None = None
    max_price_usd: float | None = None
    """USD per **hour**, whole server, without the renter's fee."""
    available_only: bool = True
    id: int | None = None
    """Only this server."""
    gpu_count: int | None = None
    """Exact number of GPUs."""
    min_vram_gb: float | None = None
    """GB of one GPU. A card that reports slightly less than its nominal size is accepted."""
    min_disk_gb: float | None = None
    min_down_mbps: float | None = None
    """Mbit/s, as the service measured it."""
    min_reliability: float | None = None
    """0-1."""
    countries: tuple[str, ...] = ()
    """Two-letter ISO codes, any of which may match."""
    min_cuda: str | None = None
    """E.g. ``"12.4"``."""


@dataclass(frozen=True)
class Selection:
    """Servers that fit, in the service's order."""

    servers: list[MarketplaceServer]
    unpriced: int
    """How many more servers fit but were left out: a price was wanted and theirs is unknown."""
    seen: int
    """How many servers the marketplace has."""
    near: tuple[str, ...] = ()
    """Similar GPUs, if no server has the wanted GPU; see `near`."""

    def best_first(self, by: str) -> list[MarketplaceServer]:
        """The servers, sorted by one of `BEST_FIRST`; equal ones by their ids."""
        return sorted(self.servers, key=lambda s: (BEST_FIRST[by](s), s.id))


@dataclass
class Known:
    """The models made of one answer's records, for repeated selections from the same records."""

    rates: dict[str, float] | None = None
    _fitting: dict[Filter, list[Record]] = field(
        default_factory=dict["Filter", "list[Record]"], repr=False
    )
    _prices: dict[int, float | None] = field(default_factory=dict[int, "float | None"], repr=False)
    _models: dict[int, MarketplaceServer | None] = field(
        default_factory=dict[int, "MarketplaceServer | None"], repr=False
    )

    def fitting(self, records: list[Record], wanted: Filter) -> list[Record]:
        """The records that fit, prices aside."""
        bare = replace(wanted, max_price_usd=None)
        if bare not in self._fitting:
            must = [holds for _, holds in conditions(bare)]
            self._fitting[bare] = [r for r in records if all(holds(r) for holds in must)]
        return self._fitting[bare]

    def price_usd(self, server: MarketplaceServer) -> float | None:
        """The `price_usd` of one of these models."""
        if id(server) not in self._prices:
            self._prices[id(server)] = server.price_usd
        return self._prices[id(server)]

    def models_of(self, records: list[Record]) -> list[MarketplaceServer]:
        """The records' models; the same object for the same record. Invalid records are omitted."""
        new = [record for record in records if id(record) not in self._models]
        if new:
            made: list[MarketplaceServer | None] = list(models(MarketplaceServer, new))
            if len(made) != len(new):  # some are invalid: which?
                made = [next(iter(models(MarketplaceServer, [record])), None) for record in new]
            self._models.update(zip(map(id, new), made))
        found = (self._models[id(record)] for record in records)
        return [server for server in found if server is not None]


def marketplace(session: Session, wanted: Filter) -> Flow[Selection]:
    """The servers that fit. One request, shared with all that ask at the same time.

    If prices can't be converted from the answer itself and there is a key, the coins' rates are
    read from `spot_marketplace`, once in five minutes.
    """
    return (yield from select(session, (yield from everything(session)), wanted))


def one(session: Session, server_id: int | None) -> Flow[MarketplaceServer | None]:
    """One server, rented or not; None if it is not listed."""
    found = yield from marketplace(session, Filter(available_only=False, id=server_id))
    return found.servers[0] if found.servers else None


def select(
    session: Session, records: list[Record], wanted: Filter, known: Known | None = None
) -> Flow[Selection]:
    """The servers among `records` that fit; see `marketplace`. `known`: of the same records."""
    known = known or Known()
    servers = yield from priced(session, records, known.fitting(records, wanted), known)
    limit = wanted.max_price_usd
    if not servers:
        return Selection([], 0, len(records), near(records, wanted))
    if limit is None:
        return Selection(servers, 0, len(records))
    prices = [(s, known.price_usd(s)) for s in servers]
    cheap = [s for s, price in prices if price is not None and price <= limit]
    return Selection(cheap, sum(price is None for _, price in prices), len(records))


def everything(session: Session) -> Flow[list[Record]]:
    """All raw records. One request, shared with all that ask at the same time."""
    records: list[Record] = yield Shared(
        "marketplace", lambda: request(endpoints.marketplace(), session.rules)
    )
    return records


def priced(
    session: Session, records: list[Record], fitting: list[Record], known: Known | None = None
) -> Flow[list[MarketplaceServer]]:
    """Models of the records that are `fitting`; they know what the coins are worth."""
    known = known or Known()
    if known.rates is None:
        known.rates = rates.implied(records)
    worth = known.rates
    servers = known.models_of(fitting)
    for server in servers:
        server.use_rates(worth)
    # If every coin's value is known, no price has to be computed to see that.
    if any(coin not in worth for coin, _ in rates.CONVERTED) and any(map(_payable, servers)):
        asked = yield from rates.ask(session, records[0].get("id"))
        worth = {**asked.known, **worth}
        for server in servers:
            server.use_rates(worth)
    session.rates.note(worth)
    return servers


def fits(record: Record, wanted: Filter) -> bool:
    """Does a raw record fit, its price aside?"""
    return all(holds(record) for _, holds in conditions(wanted))


def conditions(wanted: Filter) -> list[tuple[str, Condition]]:
    """The conditions on a raw record, price aside, by the names of the fields in `Filter`."""
    return [(name, make(wanted)) for name, make in _CONDITIONS if getattr(wanted, name)]


def near(records: list[Record], wanted: Filter) -> tuple[str, ...]:
    """GPUs similar to the wanted ones, if no record has those; at most three for each.

    Those with the most similar names; without similar names, those with the most memory.
    """
    gpus = _wanted_gpus(wanted)
    if not gpus or any(map(_any_gpu(gpus), records)):
        return ()
    large = sorted(records, key=lambda r: -(as_number(_specs(r).get("gpuram")) or 0))
    models = [_model(record) for record in large]
    alike = tuple(dict.fromkeys(name for gpu in gpus for name in near_gpus(gpu, models)))
    bare = dict.fromkeys(bare_gpu(m) for m in models if m and "mixed" not in m.lower())
    return alike or tuple(bare)[:_MOST_NEAR]


def _model(record: Record) -> str | None:
    return describe_gpu(as_list(record.get("gpu_array")), str(_specs(record).get("gpu") or ""))


def _specs(record: Record) -> dict[str, Any]:
    return as_dict(record.get("specs")) or {}


def _at_least(value: object, bound: float | None) -> bool:
    number = as_number(value)
    return number is not None and number >= (bound or 0)


def _gpus(record: Record) -> int:
    return count_gpus(record.get("gpu_array"), _specs(record).get("gpu"))


def _wanted_gpus(wanted: Filter) -> tuple[str, ...]:
    return (wanted.gpu,) if isinstance(wanted.gpu, str) else wanted.gpu or ()


def _any_gpu(wanted: tuple[str, ...]) -> Condition:
    def holds(record: Record) -> bool:
        array, specs = record.get("gpu_array"), _specs(record).get("gpu")
        return any(matches_gpu(name, array, specs) for name in wanted)

    return holds


def _net(record: Record) -> dict[str, Any]:
    return as_dict(_specs(record).get("net")) or {}


def disk_gb(specs_disk: object) -> float | None:
    """The size at the end of ``"NAME 96.86GB"``; None without a size.

    A number alone is in GB. A number without a unit after a name is part of it (``"SSD 850"``).
    """
    if not isinstance(specs_disk, str):
        return as_number(specs_disk)
    # Linux writes a space in a disk's name as \x20, and the backslash gets lost.
    found = _DISK.search(specs_disk.replace("x20", " "))
    if not found:
        return None
    size = float(found[1] or found[3]) * _GB[(found[2] or "G").upper()]
    return size if isfinite(size) else None


def version(text: object) -> tuple[int, ...]:
    """``"12.4"`` as (12, 4), for comparison; empty if it is not a version."""
    return tuple(map(int, re.findall(r"[0-9]{1,4}", str(text)))) if text else ()


_CONDITIONS: tuple[tuple[str, Callable[[Filter], Condition]], ...] = (
    ("id", lambda w: lambda r: r.get("id") == w.id),
    ("available_only", lambda _: lambda r: not r.get("rented")),
    ("gpu", lambda w: _any_gpu(_wanted_gpus(w))),
    ("min_gpu_count", lambda w: lambda r: _gpus(r) >= (w.min_gpu_count or 0)),
    ("gpu_count", lambda w: lambda r: _gpus(r) == w.gpu_count),
    (
        "min_vram_gb",
        lambda w: lambda r: _at_least(_specs(r).get("gpuram"), (w.min_vram_gb or 0) * _NEARLY),
    ),
    ("min_ram_gb", lambda w: lambda r: _at_least(_specs(r).get("ram"), w.min_ram_gb)),
    ("min_disk_gb", lambda w: lambda r: _at_least(disk_gb(_specs(r).get("disk")), w.min_disk_gb)),
    ("min_down_mbps", lambda w: lambda r: _at_least(_net(r).get("down"), w.min_down_mbps)),
    ("min_reliability", lambda w: lambda r: _at_least(r.get("reliability"), w.min_reliability)),
    ("countries", lambda w: lambda r: str(_net(r).get("cc")).upper() in w.countries),
    ("min_cuda", lambda w: lambda r: version(r.get("cuda_version")) >= version(w.min_cuda)),
)


def _payable(server: MarketplaceServer) -> bool:
    """Does it have a price in a coin whose value is not known yet?"""
    tier = server.price.on_demand if server.price else None
    return server.price_usd is None and any(
        server.allows(c) for c in (tier.coins() if tier else ())
    )
