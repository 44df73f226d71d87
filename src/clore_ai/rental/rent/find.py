"""Finds the offers that meet a wish, from the market, the wallets and the memory of hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai._api.steps import clock, local
from clore_ai._state.hosts import HostVerdicts
from clore_ai.exceptions import ConfigError, NoOffer
from clore_ai.rental.market import listing
from clore_ai.rental.orders import reconcile
from clore_ai.rental.rent import no_match, ranking, spot_offers
from clore_ai.rental.rent import wish as wishes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clore_ai._api.steps import Flow
    from clore_ai.models import MarketplaceServer
    from clore_ai.models.records import NoMatch
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.session import Session


@dataclass(frozen=True)
class PaymentContext:
    """What the wallets hold, and what is known against hosts."""

    balances: dict[str, float]
    opinion: HostVerdicts


def find(session: Session, wish: Wish) -> Flow[list[Offer]]:
    """The offers that meet the wish, the best first, given what the wallets hold.

    Raises:
        NoOffer: there is none.
    """
    # Raised here, where no frame holds the service's raw records.
    found, why = yield from _offers(session, wishes.checked(wish))
    if why is not None:
        raise NoOffer(no_match.sentence(why, wishes.PARAMETERS), why)
    return found


def among(session: Session, servers: Iterable[MarketplaceServer], wish: Wish) -> Flow[list[Offer]]:
    """As `find`, among these servers; empty if none fits.

    Raises:
        CloreAPIError: the wallets, or the auctions, can't be read.
    """
    means = yield from _means(session)
    found = ranking.offers(servers, wish, means.balances, means.opinion)
    if wish.max_bid_usd is None:
        return found
    return (yield from spot_offers.ranked(session, wish, found)).offers


def _offers(session: Session, wish: Wish) -> Flow[tuple[list[Offer], NoMatch | None]]:
    """The offers, or why there are none."""
    records = yield from listing.everything(session)
    session.market_read_at = (yield from clock()).mono
    servers = yield from listing.priced(
        session, records, [r for r in records if listing.fits(r, wish.filter)]
    )
    means = yield from _means(session)
    found = ranking.offers(servers, wish, means.balances, means.opinion)
    beyond: list[Offer] | None = None
    if found and wish.max_bid_usd is not None:
        seen = yield from spot_offers.ranked(session, wish, found)
        found, beyond = seen.offers, seen.beyond
    if found:
        return found, None
    everyone = yield from listing.priced(session, records, records)
    why = no_match.explain(records, everyone, wish, means.balances, means.opinion)
    return [], why if beyond is None else no_match.outbid(why, beyond)


def _means(session: Session) -> Flow[PaymentContext]:
    balances = {w.name: w.balance or 0.0 for w in (yield from reconcile.wallets(session))}
    now = (yield from clock()).wall
    try:
        return PaymentContext(balances, (yield from local(session.hosts.opinion, now)))
    except ConfigError as exc:
        session.note_trouble(str(exc))
        return PaymentContext(balances, HostVerdicts())
