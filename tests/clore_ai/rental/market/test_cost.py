"""The real cost of a rental (service.md, 4)."""

from __future__ import annotations

import pytest

from clore_ai.models import MarketplaceServer
from clore_ai.models.price import USD, Price
from clore_ai.rental.market.cost import cost

SERVER = MarketplaceServer.model_validate(
    {
        "id": 1,
        "allowed_coins": ["bitcoin", "USD-Blockchain"],
        "price": {
            "on_demand": {"bitcoin": 0.5, "USD-Blockchain": 24.0, "CLORE-Blockchain": 9},
            "spot": {"bitcoin": 0.25},
            "usd": {"on_demand_btc": 48.0},
        },
    }
)


def test_on_demand_in_usd():
    """The renter pays 5 % on top of the price, and 0.1 once."""
    found = cost(SERVER, "USD-Blockchain")
    assert (found.price, found.creation_fee) == (Price(24, USD, 1), 0.1)
    assert found.fee_per_day == pytest.approx(1.2)
    assert found.total.per_day == pytest.approx(25.2)
    assert found.price.usd_per_hour == 1
    assert found.total.usd_per_hour == pytest.approx(1.05)
    assert found.total.usd_per_day == pytest.approx(25.2)


def test_spot_in_another_coin():
    """1.25 % of the bid; the creation fee is not known for other coins."""
    found = cost(SERVER, "bitcoin", "spot")
    assert (found.price, found.creation_fee) == (Price(0.25, "bitcoin", 96), None)
    assert found.fee_per_day == pytest.approx(0.003125)
    assert cost(SERVER, "bitcoin", "spot", bid=1.0).price.usd_per_hour == pytest.approx(4)


def test_a_coin_that_cannot_be_paid_has_no_cost():
    """`allowed_coins` decides, for bids too; a coin without a price has no cost either."""
    assert cost(SERVER, "CLORE-Blockchain") is None
    assert cost(SERVER, "CLORE-Blockchain", "spot", bid=1.0) is None
    assert cost(SERVER, "USD-Blockchain", "spot") is None


def test_an_unknown_rate_is_none_not_0():
    """Unknown is None in every field."""
    bare = MarketplaceServer.model_validate({"id": 1, "price": {"on_demand": {"bitcoin": 1}}})
    found = cost(bare, "bitcoin")
    assert found.price.usd_per_coin is None
    assert found.price.usd_per_hour is found.total.usd_per_hour is None
