"""The ledger belongs to the account, not to the key: only answers of the service join two keys."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Callable

import pytest

from clore_ai._state import accounts
from clore_ai._state.ledger import Ledger, account_of
from clore_ai._state.sqlite.earlier import LEDGER
from clore_ai._state.sqlite.schema import STEPS
from clore_ai._state.store import Store
from clore_ai.exceptions import BudgetError
from clore_ai.models.records import Budget, Intent

if TYPE_CHECKING:
    from pathlib import Path

    from clients import Api

    from clore_sandbox import Sandbox

    Make = Callable[..., Api]


def rotated(make: Make, market: Sandbox, before: Api, home: Path) -> Api:
    """A client with a new key of the same account, which no ledger knows yet."""
    return make(market, state=home, api_key=market.rotate_key(before.key))


def said(api: Api) -> str:
    return " ".join(api.session.trouble)


def test_a_new_key_finds_budgets_leases_and_refs(
    api_of: Make, market: Sandbox, server: int, tmp_path: Path
) -> None:
    """An order that both keys list joins them; one message names it and the old key's end."""
    old = api_of(market, state=tmp_path)
    order = old.rent(server, lease_h=6, max_cost_usd=5, client_ref="mine")
    old.ledger.set_budget(Budget("USD", "day", 20.0))
    new = rotated(api_of, market, old, tmp_path)
    assert new.ledger.intents() == []
    new.my_orders()
    (intent,) = new.ledger.running()
    assert (intent.order_id, intent.lease_s, intent.max_cost_usd) == (order.id, 21600, 5)
    assert new.ledger.budgets() == [Budget("USD", "day", 20.0)]
    assert new.rent(server, client_ref="mine").id == order.id
    assert f"order {order.id} is listed under both" in said(new)
    assert f"the key …{old.key[-4:]}" in said(new)
    new.session.trouble.clear()
    new.my_orders()
    assert said(new) == ""


def test_a_budget_holds_for_the_first_order_of_a_new_key(
    api_of: Make, market: Sandbox, server: int, tmp_path: Path
) -> None:
    """If nothing was ever rented, the deposit address joins the keys before the order is sent."""
    old = api_of(market, state=tmp_path)
    old.ledger.set_budget(Budget("USD", "day", 0.000001))
    old.wallets()
    new = rotated(api_of, market, old, tmp_path)
    with pytest.raises(BudgetError):
        new.rent(server)
    assert "its deposit address is the same" in said(new)
    assert new.entries("create_order") == []


def test_two_keys_share_orders_and_locks(
    api_of: Make, market: Sandbox, server_of: Any, tmp_path: Path
) -> None:
    """Once joined, the orders of either key are recorded under both."""
    old = api_of(market, state=tmp_path)
    first = old.rent(server_of(market))
    new = rotated(api_of, market, old, tmp_path)
    new.my_orders()
    second = new.rent(server_of(market))
    for ledger in (old.ledger, new.ledger):
        assert {i.order_id for i in ledger.running()} == {first.id, second.id}
        assert ledger.names() == old.ledger.names()
    lock = old.ledger.lock("server 1")
    assert lock.try_acquire()
    assert not new.ledger.lock("server 1").try_acquire()
    lock.release()


def test_another_account_is_never_joined(
    api_of: Make, market: Sandbox, server: int, tmp_path: Path
) -> None:
    """It may rent the same server later; the other's records are listed by its key."""
    one, other = (api_of(market, state=tmp_path) for _ in range(2))
    order = one.rent(server)
    one.ledger.set_budget(Budget("USD", "day", 20.0))
    one.wallets()
    one.cancel_order(order.id)
    assert other.rent(server).id != order.id
    other.wallets()
    other.my_orders(include_completed=True)
    assert other.ledger.budgets() == []
    assert said(other) == ""
    (there,) = other.ledger.elsewhere()
    assert there.account.ending == f"…{one.key[-4:]}"
    assert (there.orders, there.budgets) == (1, one.ledger.budgets())


def test_another_marketplace_is_never_joined(
    api_of: Make, own_market: Callable[..., Sandbox], server_of: Any, tmp_path: Path
) -> None:
    """Two new marketplaces give out the same order ids in the same second."""
    places = [own_market(provision=False) for _ in range(2)]
    apis = [api_of(place, state=tmp_path) for place in places]
    servers = [server_of(place) for place in places]
    orders = [api.rent(server) for api, server in zip(apis, servers)]
    assert orders[0].id == orders[1].id
    for api in apis:
        api.wallets()
        api.my_orders(include_completed=True)
        assert said(api) == ""
        assert len(api.ledger.running()) == 1
        (there,) = api.ledger.elsewhere()
        assert len(there.running) == 1


def test_a_reset_marketplace_is_never_joined(tmp_path: Path) -> None:
    """The same URL and id with another start time prove nothing, nor does a missing start time."""
    was = Ledger(Store(tmp_path), "one", "http://a")
    intent = Intent(7, "spot", "bitcoin", "i", opened_at=1.0, posted_at=1.0)
    was.open(intent)
    was.claim(intent, 500_001, {"started_at": 1000.0})
    now = Ledger(Store(tmp_path), "two", "http://a")
    for at, server in ((1001.0, 7), (None, 7), (1000.0, 8)):
        assert now.keys.join([accounts.Listed(500_001, at, server)]) == []
    assert len(now.keys.join([accounts.Listed(500_001, 1000.0, 7)])) == 1


def test_the_records_of_joined_keys_are_merged(tmp_path: Path) -> None:
    """An order stands once, with its latest end; a ref means the latest order."""
    one, two = (Ledger(Store(tmp_path), name, "http://a") for name in ("one", "two"))

    def add(ledger: Ledger, order_id: int, ref: str | None, **more: Any) -> None:
        intent = Intent(7, "spot", "bitcoin", "i", ref, posted_at=1.0, **more)
        ledger.open(intent)
        ledger.claim(intent, order_id, {"started_at": 1000.0 + order_id})

    add(one, 1, "ref", lease_s=60.0, ends_at=1060.0)
    add(two, 1, None, ends_at=2000.0)
    add(two, 2, "ref")
    for ledger, day, month in ((one, 5.0, 90.0), (two, 6.0, 80.0)):
        ledger.set_budget(Budget("USD", "day", day))
        ledger.set_budget(Budget("USD", "month", month))
    two.note_wallets({}, 1.0, ["1" * 30])
    assert two.keys.join([accounts.Listed(1, 1001.0, 7)])
    assert [(i.order_id, i.ends_at, i.client_ref) for i in two.intents()] == [
        (1, 2000.0, None),
        (2, None, "ref"),
    ]
    assert one.intents() == two.intents()
    assert [b.amount for b in two.budgets()] == [5.0, 80.0]
    assert two.keys.names() == {"one", "two"}


def test_a_ledger_of_an_earlier_version(
    api_of: Make, market: Sandbox, server: int, tmp_path: Path
) -> None:
    """It does not name the marketplace of its keys; the order, its start and its server do."""
    old = api_of(market)
    order = old.rent(server)
    db = sqlite3.connect(tmp_path / LEDGER)
    db.executescript(f"{STEPS[0]}; PRAGMA user_version = 1")
    db.execute(
        "INSERT INTO intents (account, server_id, type, currency, image, state, opened_at, "
        "known_ids, order_id, started_at) VALUES (?, ?, 'on-demand', 'bitcoin', 'i', 'created', 1, "
        "'[]', ?, ?)",
        (account_of(market.base_url, old.key), server, order.id, order.ct),
    )
    db.commit()
    db.close()
    (tmp_path / LEDGER).chmod(0o600)
    new = rotated(api_of, market, old, tmp_path)
    new.my_orders()
    assert [i.order_id for i in new.ledger.running()] == [order.id]
    assert "another key opened before" in said(new)
