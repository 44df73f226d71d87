"""A bid above the on-demand price is found, and so is one that must be a typo (pure)."""

from __future__ import annotations

import pytest

from clore_ai.models import MarketplaceServer
from clore_ai.models.price import Price
from clore_ai.rental.rent import high_bid, ranking
from clore_ai.rental.rent.wish import of

USD = "USD-Blockchain"


def server(number: int, on_demand: float | None) -> MarketplaceServer:
    tier = {} if on_demand is None else {USD: on_demand}
    return MarketplaceServer.model_validate(
        {"id": number, "price": {"on_demand": tier, "spot": {USD: 0.5}}, "allowed_coins": [USD]}
    )


@pytest.mark.parametrize(
    ("bid", "on_demand", "times", "is_far"),
    [
        (2.5, 2.0, 1.25, False),
        (6.0, 2.0, 3.0, False),
        (6.1, 2.0, 3.05, True),
        (1, None, None, False),
    ],
)
def test_how_far_a_bid_is_above(
    bid: float, on_demand: float | None, times: float | None, is_far: bool
) -> None:
    """More than three times is a typo; without an on-demand price nothing can be compared."""
    found = high_bid.high(7, Price(bid, USD, 1.0), on_demand)
    assert found is not None
    assert (found.times, found.is_far_above) == (times, is_far)


def test_a_bid_at_the_on_demand_price_is_not_high() -> None:
    """A bid up to that price needs no warning."""
    assert high_bid.high(7, Price(2.0, USD, 1.0), 2.0) is None


def test_the_worst_of_the_bids_to_be_tried() -> None:
    """Only as many offers as attempts count; the bid that is furthest above is named."""
    wish = of(type="spot", currency=USD, spot_price=4.0, attempts=2)
    offers = ranking.offers([server(1, 2.0), server(2, 1.0), server(3, 0.1)], wish, {USD: 100.0})
    found = high_bid.highest(wish, offers)
    assert [offer.server.id for offer in offers] == [1, 2, 3]
    assert found is not None
    assert (found.server_id, found.times) == (2, 4.0)
    assert high_bid.highest(of(currency=USD), offers) is None
