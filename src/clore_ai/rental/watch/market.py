"""Watches the marketplace for new offers, for any number of watches at once.

A `Watch` is a state: the servers that fit now go in, the new ones come out; it sends no request.
`look` is one look for all watches of a client, and one request for all processes that share its
state folder: the first that is due asks, the others read its answer (`session.market`). `taking`
rents what the watches of a wish find.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Union

from clore_ai._api.steps import Flow, Sleep, clock, local
from clore_ai.exceptions import AuthError, CloreAPIError, ConfigError
from clore_ai.rental.market import listing
from clore_ai.rental.rent import ranking
from clore_ai.rental.watch import MARKET_EVERY_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clore_ai._state.market import Market
    from clore_ai.models import MarketplaceServer
    from clore_ai.rental.rent.attempt import Rented
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.session import Session

CHEAPER_BY = 0.01
"""A reported offer is reported again if its price fell by this share: rates move by less."""
_OTHERS_ASK_S = 20.0
"""How long to wait for another process at most; see `MarketFile.take` for one that is stopped."""
_PAUSE_S = 0.1
_ROWS = 20
"""Most offers of one look in the row of an event; the rest is only counted."""
_INF = float("inf")


@dataclass(frozen=True)
class Found:
    """Offers of one watch that are new, came back, or fell in price; the cheapest first."""

    watch: str
    servers: tuple[MarketplaceServer, ...]
    at: float
    """Unix seconds by the service's clock, as everywhere below."""

    def row(self) -> dict[str, Any]:
        """The event for ``--json``."""
        rows = [server.row() for server in self.servers[:_ROWS]]
        more = len(self.servers) - len(rows)
        found = {"event": "offer", "watch": self.watch, "at": self.at}
        return {**found, "offer": rows[0], "offers": rows, "more": more}


@dataclass(frozen=True)
class Gone:
    """Reported offers that no longer fit: rented by another renter, more expensive, or delisted."""

    watch: str
    ids: tuple[int, ...]
    at: float

    def row(self) -> dict[str, Any]:
        """The event for ``--json``."""
        return {"event": "gone", "watch": self.watch, "at": self.at, "server_ids": list(self.ids)}


@dataclass(frozen=True)
class Trouble:
    """A look failed; the next one may succeed. The same trouble is reported once."""

    message: str
    at: float

    def row(self) -> dict[str, Any]:
        """The event for ``--json``."""
        return {"event": "trouble", **asdict(self)}


@dataclass(frozen=True)
class Missed:
    """Nothing could be rented, for a reason that may pass. The same reason is reported once."""

    watch: str
    message: str
    at: float

    def row(self) -> dict[str, Any]:
        """The event for ``--json``."""
        return {"event": "missed", **asdict(self)}


@dataclass(frozen=True)
class Taken:
    """An order was rented; its watch is over."""

    watch: str
    rented: Rented


MarketEvent = Union[Found, Gone, Trouble, Missed, Taken]


@dataclass
class Watch:
    """One wish, and the offers that were reported for it."""

    wanted: listing.Filter
    name: str = ""
    reported: dict[int, float] = field(default_factory=dict[int, float])
    """By server: the lowest price reported, USD per hour; infinite if unknown."""
    wish: Wish | None = None
    """The wish to rent, if any: then only servers that can be rented count as offers."""
    fits: list[MarketplaceServer] = field(default_factory=list["MarketplaceServer"])
    """The servers that fit, as last seen."""
    found: bool = False
    """Was an offer reported, or rented if there is a wish?"""
    missed: str | None = None
    """Why nothing could be rented at the last try."""

    def price_usd(self, server: MarketplaceServer) -> float | None:
        """The watched price, USD per **hour**: the list price; for a bidder, the lowest bid."""
        spot = self.wish is not None and self.wish.type == "spot"
        return server.spot_price_usd if spot else server.price_usd

    def feed(
        self, servers: Iterable[MarketplaceServer], at: float, known: listing.Known | None = None
    ) -> list[MarketEvent]:
        """Take all servers that fit now; returns the events. `known`: of the servers' records."""
        price_usd = self.price_usd if known is None or self.wish else known.price_usd

        def price(server: MarketplaceServer) -> float:
            usd = price_usd(server)
            return _INF if usd is None else usd

        self.fits = list(servers)
        fits = {server.id: server for server in self.fits}
        gone = tuple(sorted(set(self.reported) - set(fits)))
        for server_id in gone:
            del self.reported[server_id]
        new = sorted(
            (s for s in fits.values() if self._is_new(s, price(s))), key=lambda s: (price(s), s.id)
        )
        self.reported.update({server.id: price(server) for server in new})
        events: list[MarketEvent] = []
        if gone:
            events.append(Gone(self.name, gone, at))
        if new:
            self.found = self.found or self.wish is None
            events.append(Found(self.name, tuple(new), at))
        return events

    def _is_new(self, server: MarketplaceServer, price: float) -> bool:
        reported = self.reported.get(server.id)
        return reported is None or price < reported * (1 - CHEAPER_BY)


@dataclass
class MarketWatch:
    """Some watches with a common interval."""

    watches: Sequence[Watch]
    every_s: float = MARKET_EVERY_S
    for_s: float = _INF
    """Seconds from the first look on; 0 for one look."""
    first: bool = False
    """End after the first offer."""
    due: float | None = None
    """When to look next, on the monotonic clock; None: now."""
    until: float | None = None
    looks: int = 0
    """How many looks have succeeded."""
    failure: CloreAPIError | None = None
    """The error of the last look, if it failed."""
    pending: list[Watch] = field(default_factory=list[Watch])
    """The watches that rent before the next look."""

    @property
    def over(self) -> bool:
        """Does no watch wait any more?"""
        found = [watch.found for watch in self.watches]
        if all(watch.wish is not None for watch in self.watches):
            return all(found)
        return self.first and any(found)

    @classmethod
    def of(cls, watches: Sequence[Watch], every_s: float, for_s: float | None) -> MarketWatch:
        """A state with these watches; `for_s`: None for ever.

        Raises:
            ValueError: a time is not above 0.
        """
        if every_s <= 0 or (for_s is not None and for_s <= 0):
            raise ValueError("every and timeout must be above 0")
        return cls(watches, every_s, for_s or _INF)


def look(session: Session, state: MarketWatch) -> Flow[list[MarketEvent] | None]:
    """Wait until the next look is due, and look; None when the time is over.

    A temporary failure (the network, the service, its limits) is a `Trouble`, and retried.

    Raises:
        AuthError: the key is refused.
        ConfigError: the base URL can't be used.
    """
    now = yield from clock()
    if state.until is None:
        state.until = now.mono + state.for_s
    due = now.mono if state.due is None else state.due
    if due > now.mono:
        yield Sleep(max(0.0, min(due, state.until) - now.mono))
    if state.due is not None and due >= state.until:
        return None
    try:
        market = yield from shared(session, state.every_s)
        events: list[MarketEvent] = []
        if market.records:  # an empty list is a fault of the service, not an empty market
            for watch in state.watches:
                found = yield from _fitting(session, market, watch)
                at = (yield from clock()).wall
                events += watch.feed(found, at, _known(market))
    except (AuthError, ConfigError):
        raise
    except CloreAPIError as exc:
        return (yield from _failed(state, exc))
    state.due, state.failure = market.mono + state.every_s, None
    state.looks += 1
    return events


def _known(market: Market) -> listing.Known:
    """Shared by all that look at the same answer in this process, so each model is made once."""
    known: listing.Known = market.worked_out.setdefault("pick", listing.Known())
    return known


def _fitting(session: Session, market: Market, watch: Watch) -> Flow[list[MarketplaceServer]]:
    known = _known(market)
    if watch.wish is None:
        return (yield from listing.select(session, market.records, watch.wanted, known)).servers
    fitting = known.fitting(market.records, watch.wanted)
    servers = yield from listing.priced(session, market.records, fitting, known)
    return [offer.server for offer in ranking.offers(servers, watch.wish, None)]


def _failed(state: MarketWatch, failure: CloreAPIError) -> Flow[list[MarketEvent]]:
    now = yield from clock()
    state.due = now.mono + state.every_s
    known, state.failure = state.failure, failure
    return [] if str(known) == str(failure) else [Trouble(str(failure), now.wall)]


def shared(session: Session, most_s: float) -> Flow[Market]:
    """The marketplace, younger than `most_s`: as another process has just read it, or read now.

    Raises:
        CloreAPIError: it can't be read.
    """
    start = (yield from clock()).mono
    while True:
        now = yield from clock()
        kept = yield from local(session.market.newest, now, most_s)
        if kept is not None:
            return kept
        try:
            give_back = yield from local(session.market.take, now)
        except (ConfigError, OSError) as exc:
            session.note_trouble(_alone(exc))
            return (yield from _ask(session))
        if give_back is not None:
            try:
                now = yield from clock()
                kept = yield from local(session.market.newest, now, most_s)
                return kept or (yield from _ask(session))
            finally:
                give_back()
        if now.mono - start > _OTHERS_ASK_S:
            return (yield from _ask(session))
        yield Sleep(_PAUSE_S)


def _ask(session: Session) -> Flow[Market]:
    records = yield from listing.everything(session)
    now = yield from clock()
    try:
        return (yield from local(session.market.put, records, now))
    except OSError as exc:
        session.note_trouble(_alone(exc))
        return session.market.alone(records, now)


def _alone(exc: Exception) -> str:
    said = (exc.strerror if isinstance(exc, OSError) else None) or exc
    return f"The marketplace is not shared with your other watches: {said}"
