"""Both clients offer what `clore ledger`, `budget`, `lease`, `orphans` and `hosts` do."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from clore_ai.exceptions import BudgetError, InvalidInputError, NotFoundError


def test_costs_of_rentals(api_of, own_market, tmp_path):
    """Costs are grouped and limited to a period, offline and without a request."""
    market = own_market(provision=False)
    api = api_of(market, state=tmp_path)
    server = next(s.id for s in api.marketplace() if s.available and s.price_per_day("bitcoin"))
    order = api.rent(server, purpose="a test")
    market.jump(1800)
    api.cancel_order(order.id)
    found = api.costs(by="purpose")
    (bill,) = found.bills
    (total,) = found.total
    assert (bill.intent.order_id, bill.state, found.stale) == (order.id, "ended", None)
    assert (found.sums[0].key, found.sums[0].orders) == ("a test", 1)
    assert total.total == pytest.approx(bill.total)
    assert found.csv().splitlines()[1].startswith("a test,1,")
    assert api.costs(offline=True).csv().splitlines()[1].startswith(f"{order.id},{server},")
    assert total.usd == pytest.approx(bill.total_usd)
    asked = len(api.entries())
    assert api.costs(offline=True).total == found.total
    assert api.costs(datetime.now(timezone.utc) + timedelta(days=2), offline=True).bills == []
    assert len(api.entries()) == asked
    api.fault("my_orders", "500", times=9)
    assert api.costs().stale is not None


def test_budgets(api_of, market, server, tmp_path):
    """They can be set, listed, enforced and removed; an invalid budget is refused."""
    api = api_of(market, state=tmp_path)
    api.set_budget(0.0, "day")
    api.set_budget(5, "month", "bitcoin")
    assert {(s.budget.per, s.left) for s in api.budgets()} == {("day", 0.0), ("month", 5.0)}
    with pytest.raises(BudgetError):
        api.rent(server, lease_h=2)
    assert [b.unit for b in api.unset_budgets(unit="USD")] == ["USD"]
    with pytest.raises(NotFoundError, match=r"budgets: 5 bitcoin a month"):
        api.unset_budgets("day")
    for wrong in ((-1, "day"), (float("inf"), "day"), (1, "week"), (1, "day", "BTC")):
        with pytest.raises(InvalidInputError):
            api.set_budget(*wrong)
    assert len(api.budgets()) == 1


def test_leases(api_of, market, server, tmp_path):
    """They can be listed, extended and removed; an invalid length is refused."""
    api = api_of(market, state=tmp_path)
    order = api.rent(server, lease_h=2)
    (lease,) = api.leases()
    assert (lease.order_id, lease.server_id) == (order.id, server)
    assert lease.ends_at == pytest.approx(order.ct + 7200)
    assert 7100 < lease.left_s <= 7200
    assert api.extend_lease(order.id, 1).ends_at == pytest.approx(order.ct + 10_800)
    assert api.set_lease(order.id, None).ends_at is None
    for hours in (0, -1, float("inf")):
        with pytest.raises(InvalidInputError):
            api.set_lease(order.id, hours)
        with pytest.raises(InvalidInputError):
            api.extend_lease(order.id, hours)
    api.cancel_order(order.id)


def test_orphans(api_of, market, server, tmp_path):
    """An order of another program is found and can be adopted."""
    api = api_of(market, state=tmp_path / "mine")
    other = api_of(market, state=tmp_path / "other", api_key=api.key)
    order = other.rent(server)
    (orphan,) = api.orphans().mine
    assert (orphan.order_id, orphan.record, orphan.problem) == (order.id, None, "not in the ledger")
    assert [intent.order_id for intent in api.adopt(order.id)] == [order.id]
    assert api.orphans().mine == []
    api.cancel_order(order.id)


def test_hosts(api_of, market, tmp_path):
    """They can be blocked, listed and allowed again; an invalid host blocks none."""
    api = api_of(market, state=tmp_path)
    assert [b.id for b in api.block_hosts("7", "owner:9", note="slow")] == [7, 9]
    assert [(b.kind, b.id, b.note) for b in api.hosts().blocked] == [
        ("server", 7, "slow"),
        ("owner", 9, "slow"),
    ]
    with pytest.raises(InvalidInputError, match="'x' is not a host"):
        api.block_hosts("8", "x")
    api.allow_hosts("7", "owner:9")
    assert api.hosts().blocked == []
