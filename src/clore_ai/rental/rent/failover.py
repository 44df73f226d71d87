"""Which offer comes next when one was refused, from a market that is read again when it is old.

Nothing is taken dearer than it was when the offers were first found, nor dearer than the dearest
of them: that is what was agreed to. After three equal refusals in a row none other would do
better; that a server is already rented says nothing of the next.
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
"""The coin prices of auto-priced servers move every few minutes."""
OUTBID = "more is bid there than the limit"
BUSY = "another command of yours is renting it"
TAKEN, PRICE, OWN = "server-already-rented", "too_low_price", "cant_rent_from_yourself"
_EQUAL = 3
_ROUNDING = 1.01
"""What two looks at the same price in USD may differ by."""
_WORDS = {TAKEN: "already rented", OUTBID: "where others bid more than the limit",
          BUSY: "that another command of yours is renting"}  # fmt: skip


@dataclass
class Failover:
    """The offers of one rental, and what was said to those that were tried.

    Args:
        session: the client's.
        wish: what is wanted.
        offers: as found, the best first.
    """

    session: Session
    wish: Wish
    offers: list[Offer]
    reasons: list[str] = field(default_factory=list[str])
    """Why offers were lost, in turn."""
    _over: set[int] = field(default_factory=set[int])
    """Servers that are not tried again."""
    _refused: dict[int, float] = field(default_factory=dict[int, float])
    """Servers whose price had moved, and the price that was refused, in the coin per day."""
    _agreed: dict[int, float] = field(default_factory=dict[int, float])
    """What each was offered at in the beginning: USD per hour, all in."""
    _read_at: float | None = None
    _stale: bool = False

    def __post_init__(self) -> None:
        costs = ((o.server.id, o.effective.usd_per_hour) for o in self.offers)
        self._agreed = {server: usd for server, usd in costs if usd is not None}
        self._read_at = self.session.market_read_at

    @property
    def hopeless(self) -> bool:
        """Were the last three refused for one reason that is not the loss of a race?"""
        last = self.reasons[-_EQUAL:]
        return len(last) == _EQUAL and len({*last}) == 1 and last[0] not in (TAKEN, OUTBID, BUSY)

    def next(self) -> Flow[Offer | None]:
        """The best that is left; None where none is.

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
        """It was rented, and was no good."""
        self._over.add(offer.server.id)
        self._drop()

    def lost(self, offer: Offer, reason: str) -> None:
        """It could not be had."""
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
        """Of a later look: is it left, and no dearer than what was agreed to?"""
        server, usd = offer.server.id, offer.effective.usd_per_hour
        if server in self._over or self._refused.get(server) == offer.cost.price.per_day:
            return False
        if usd is None:
            return not self._agreed
        most = self._agreed.get(server, max(self._agreed.values(), default=usd))
        return usd <= most * _ROUNDING
