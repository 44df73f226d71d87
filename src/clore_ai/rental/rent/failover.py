"""Chooses the next offer after a refusal, from a market that is read again when it is old.

No offer is taken at a higher price than when the offers were first found, nor above the highest of
them: that is what was agreed to. After three equal refusals in a row no other offer would do
better, except that an already rented server says nothing about the next one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clore_ai._api.steps import clock
from clore_ai.exceptions import NoOffer
from clore_ai.rental.rent.find import find

if TYPE_CHECKING:
    from clore_ai._api.steps import Flow
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.session import Session

LOOK_AGAIN_S = 60.0
"""The coin prices of auto-priced servers change every few minutes."""
OUTBID = "others bid more than the limit"
BUSY = "another command of yours is renting it"
TAKEN, PRICE, OWN = "server-already-rented", "too_low_price", "cant_rent_from_yourself"
_EQUAL = 3
_ROUNDING = 1.01
"""How far two readings of the same price in USD may differ."""
_WORDS = {TAKEN: "already rented", OUTBID: "where others bid more than the limit",
          BUSY: "that another command of yours is renting"}  # fmt: skip


@dataclass
class Failover:
    """The offers of one rental, and the results of those that were tried.

    Args:
        session: the client's.
        wish: what to rent.
        offers: as found, the best first.
    """

    session: Session
    wish: Wish
    offers: list[Offer]
    reasons: list[str] = field(default_factory=list[str])
    """Why offers were lost, in order."""
    _over: set[int] = field(default_factory=set[int])
    """Servers that are not tried again."""
    _refused: dict[int, float] = field(default_factory=dict[int, float])
    """Servers whose price had changed, with the price that was refused, in the coin per day."""
    _agreed: dict[int, float] = field(default_factory=dict[int, float])
    """The first price offered for each server: USD per hour, fees included."""
    _read_at: float | None = None
    _stale: bool = False

    def __post_init__(self) -> None:
        costs = ((o.server.id, o.effective.usd_per_hour) for o in self.offers)
        self._agreed = {server: usd for server, usd in costs if usd is not None}
        self._read_at = self.session.market_read_at

    @property
    def hopeless(self) -> bool:
        """Were the last three refused for the same reason, other than losing a race?"""
        last = self.reasons[-_EQUAL:]
        return len(last) == _EQUAL and len({*last}) == 1 and last[0] not in (TAKEN, OUTBID, BUSY)

    def next(self) -> Flow[Offer | None]:
        """The best offer that is left; None if there is none.

        Raises:
            CloreAPIError: the market can't be read.
        """
        now = (yield from clock()).mono
        if self._stale or (self._read_at is not None and now - self._read_at > LOOK_AGAIN_S):
            try:
                found = yield from find(self.session, self.wish)
            except NoOffer:
                found = []
            self.offers = [offer for offer in found if self._may_be(offer)]
            self._read_at, self._stale = self.session.market_read_at, False
        return self.offers[0] if self.offers else None

    def tried(self, offer: Offer) -> None:
        """The offer was rented, but the machine failed."""
        self._over.add(offer.server.id)
        self._drop()

    def lost(self, offer: Offer, reason: str) -> None:
        """The offer could not be rented."""
        self.reasons.append(reason)
        server = offer.server
        self._stale = reason == PRICE
        if reason == PRICE and server.id not in self._refused:
            self._refused[server.id] = offer.cost.price.per_day
        else:
            self._over.add(server.id)
        if reason == OWN and server.owner is not None:
            self._over.update(o.server.id for o in self.offers if o.server.owner == server.owner)
        self._drop()

    def summary(self) -> str:
        """``7 already rented, 2 too_low_price``."""
        counted = Counter(self.reasons).most_common()
        return ", ".join(f"{count} {_WORDS.get(reason, reason)}" for reason, count in counted)

    def _drop(self) -> None:
        self.offers = [o for o in self.offers if o.server.id not in self._over]

    def _may_be(self, offer: Offer) -> bool:
        """Is an offer of a later look still allowed, and no more expensive than agreed?"""
        server, usd = offer.server.id, offer.effective.usd_per_hour
        if server in self._over or self._refused.get(server) == offer.cost.price.per_day:
            return False
        if usd is None:
            return not self._agreed
        most = self._agreed.get(server, max(self._agreed.values(), default=usd))
        return usd <= most * _ROUNDING
