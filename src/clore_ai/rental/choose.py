"""Which offers meet a wish, by the marketplace of now, the wallets and what is known of hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai._flow import clock
from clore_ai.exceptions import ConfigError, NoOffer
from clore_ai.hosts import Opinion
from clore_ai.rental import auction, lack, look, pick, plan
from clore_ai.rental import wish as wishes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clore_ai._flow import Flow
    from clore_ai.models import MarketplaceServer
    from clore_ai.rental.plan import Offer
    from clore_ai.rental.session import Session
    from clore_ai.rental.wish import Wish


@dataclass(frozen=True)
class Means:
    """What there is to pay with, and what is held against whom."""

    balances: dict[str, float]
    opinion: Opinion


def find(session: Session, wish: Wish) -> Flow[list[Offer]]:
    """The offers that meet the wish, the best first, by what the wallets hold.

    Raises:
        NoOffer: there is none.
    """
    # Raised here, where no frame holds the service's raw records.
    found, why = yield from _offers(session, wishes.checked(wish))
    if why is not None:
        raise NoOffer(lack.sentence(why, wishes.PARAMETERS), why)
    return found


def among(session: Session, servers: Iterable[MarketplaceServer], wish: Wish) -> Flow[list[Offer]]:
    """As `find`, of these servers; empty where there is none.

    Raises:
        CloreAPIError: the wallets, or the auctions, can't be read.
    """
    means = yield from _means(session)
    found = plan.offers(servers, wish, means.balances, means.opinion)
    if wish.max_bid_usd is None:
        return found
    return (yield from auction.ranked(session, wish, found)).offers


def _offers(session: Session, wish: Wish) -> Flow[tuple[list[Offer], lack.Lack | None]]:
    """The offers; or why there is none."""
    records = yield from pick.everything(session)
    session.market_read_at = (yield from clock()).mono
    servers = yield from pick.priced(
        session, records, [r for r in records if pick.fits(r, wish.filter)]
    )
    means = yield from _means(session)
    found = plan.offers(servers, wish, means.balances, means.opinion)
    beyond: list[Offer] | None = None
    if found and wish.max_bid_usd is not None:
        seen = yield from auction.ranked(session, wish, found)
        found, beyond = seen.offers, seen.beyond
    if found:
        return found, None
    everyone = yield from pick.priced(session, records, records)
    why = lack.lack(records, everyone, wish, means.balances, means.opinion)
    return [], why if beyond is None else lack.outbid(why, beyond)


def _means(session: Session) -> Flow[Means]:
    balances = {w.name: w.balance or 0.0 for w in (yield from look.wallets(session))}
    now = (yield from clock()).wall
    try:
        return Means(balances, session.hosts.opinion(now))
    except ConfigError as exc:
        session.note_trouble(str(exc))
        return Means(balances, Opinion())
