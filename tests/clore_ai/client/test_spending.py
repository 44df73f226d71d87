"""Both clients enforce a budget of their state folder, whatever price the caller names."""

from __future__ import annotations

import pytest

from clore_ai import BudgetError
from clore_ai.models.records import Budget
from clore_ai.rental.market.cost import spent

USD = "USD-Blockchain"


def test_a_budget_holds_for_every_client_of_the_folder(api_of, market, server, tmp_path):
    """The price is read from the marketplace once, and no order beyond the budget is sent."""
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
    assert intent.usd_per_coin > 1000  # the rate of bitcoin
    api.cancel_order(order.id)


@pytest.mark.parametrize("minutes", [0, 9, 11])
def test_the_recorded_cost_equals_what_left_the_wallet(api_of, own_market, minutes):
    """They agree to a hundredth of a cent: in the first ten minutes only the minutes cost."""
    market = own_market(provision=False)
    api = api_of(market)
    server = next(s for s in api.marketplace() if s.available and s.price_per_day(USD))
    before = market.wallet(api.key)[USD]
    order = api.create_order(
        server_id=server.id, image="i", type="on-demand", currency=USD, ports={"22": "tcp"}
    )
    market.jump(minutes * 60)
    api.cancel_order(order.id)
    (ended,) = [o for o in api.my_orders(include_completed=True) if o.id == order.id]
    lost = float(before) - float(market.wallet(api.key)[USD])
    assert spent(ended) == pytest.approx(lost, abs=1e-6)
    assert lost - ended.spend * 1.05 == pytest.approx(0.1 if minutes > 10 else 0, abs=1e-6)
