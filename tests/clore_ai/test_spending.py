"""Both clients keep to a budget of their state folder, whatever the call says of the price."""

from __future__ import annotations

import pytest

from clore_ai import BudgetError
from clore_ai.ledger import Budget


def test_a_budget_holds_for_every_client_of_the_folder(api_of, market, server, tmp_path):
    """The price is read from the marketplace, once, and nothing is sent that does not fit."""
    api = api_of(market, state=tmp_path)
    api.ledger.set_budget(Budget("USD", "day", 0.0))
    with pytest.raises(BudgetError, match="Nothing more fits"):
        api.rent(server, lease_h=2)
    assert api.entries("create_order") == []
    assert len(api.entries("marketplace")) == 1
    api.ledger.set_budget(Budget("USD", "day", 10_000.0))
    order = api.rent(server, lease_h=2)
    (intent,) = api.ledger.running()
    assert intent.ends_at == pytest.approx(order.ct + 7200)
    assert intent.mrl_s == order.mrl
    assert intent.usd_per_coin > 1000  # a bitcoin
    api.cancel_order(order.id)
