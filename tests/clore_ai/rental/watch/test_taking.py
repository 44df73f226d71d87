"""An offer is rented once, at the price seen; after a lost race the watch goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from by_hand import Hand, ok

from clore_ai import AuthError, CloreAI
from clore_ai.exceptions import (
    BudgetError,
    FieldError,
    OrderUncertain,
    RentFailed,
    TransportError,
)
from clore_ai.models.records import Intent
from clore_ai.rental.market import listing
from clore_ai.rental.rent import find, wish
from clore_ai.rental.session import Session
from clore_ai.rental.watch import market, taking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clore_sandbox import Sandbox

USD = "USD-Blockchain"


def record(server_id: int, usd_day: float = 24.0, **fields: Any) -> dict[str, Any]:
    price = {"on_demand": {USD: usd_day}, "usd": {}}
    specs = {"gpu": "1x NVIDIA GeForce RTX 4090", "ram": 64}
    return {"id": server_id, "price": price, "allowed_coins": [USD], "specs": specs, **fields}


def renting(**changes: Any) -> market.Watch:
    wanted = wish.Wish(filter=listing.Filter(gpu="4090", max_price_usd=1.1), **changes)
    return market.Watch(wanted.filter, "w", wish=wanted)


def test_the_offers_that_can_be_rented():
    """They cost at most the price in the coin; the cheapest that the wallet covers comes first."""
    rows = [record(1, 26.0), record(2, 24.0), record(3, 27.0), record(4, 24.0, rented=True)]
    rows += [record(5, 24.0, allowed_coins=["bitcoin"])]
    hand, session, one = Hand(lambda _c, _n: ok(servers=rows)), Session(), renting()
    (found,) = hand.play(market.look(session, market.MarketWatch([one])))
    assert [s.id for s in found.servers] == [2, 1]

    def choice(balance):
        wallets = Hand([ok(wallets=[{"name": USD, "balance": balance}])])
        return [o.server.id for o in wallets.play(find.among(session, one.fits, one.wish))]

    assert choice(50) == [2, 1]
    assert choice(0.1) == []
    bare = market.Watch(listing.Filter())
    with pytest.raises(ValueError, match="nothing to rent"):
        hand.play(taking.step(session, market.MarketWatch([], pending=[bare])))


@pytest.mark.parametrize(
    ("failure", "state", "goes_on"),
    [
        (RentFailed("none was good", []), "created", True),  # none of its orders runs
        (TransportError("cut", maybe_acted=True), None, True),
        (TransportError("cut", maybe_acted=True), "refused", True),
        (TransportError("cut", maybe_acted=True), "created", False),
        (TransportError("cut", maybe_acted=True), "uncertain", False),
        (TransportError("cut", maybe_acted=True), "open", False),
        (AuthError("who?", 3), None, False),
        (BudgetError("too much"), None, False),
        (FieldError("no", 6, {"error": "not_enough_balance"}), None, False),
        (OrderUncertain("who knows", Intent(5, "on-demand", USD, "i")), "uncertain", False),
    ],
)
def test_when_another_may_be_rented(failure, state, goes_on):
    """Another may be rented only if no order of the attempt can run and waiting may help."""
    session = Session()
    session.ledger.open(Intent(4, "on-demand", USD, "i", state="created", order_id=1))
    newest = session.ledger.newest()
    if state is not None:
        session.ledger.open(Intent(5, "on-demand", USD, "i", state=state))
    assert taking.came_to_nothing(session, failure, newest) == goes_on


def test_a_step_is_a_look_or_a_rental(
    own_market: Callable[..., Sandbox],
    small_fleet: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lost race is reported once, and the wait goes on; an order ends it."""
    monkeypatch.setenv("CLORE_REQUESTS_PER_SECOND", "1000")
    service = own_market(provision=False, inventory=small_fleet)
    wanted = wish.Wish(filter=listing.Filter(gpu="4090"), verify="none")
    one = market.Watch(wanted.filter, "w", wish=wanted)
    state = market.MarketWatch([one], 0.05)
    with CloreAI(service.api_key, service.base_url, state=tmp_path) as api:

        def step() -> Any:
            return api.drive(taking.step(api.session, state))

        (found,) = step()
        servers = [server.id for server in found.servers]
        for server_id in servers:
            service.set_rented(server_id, True)
        (missed,) = step()
        assert isinstance(missed, market.Missed)
        state.pending = [one]
        assert step() == []  # lost again
        (gone,) = step()
        assert sorted(gone.ids) == sorted(servers)
        service.set_rented(servers[0], False)
        (back,) = step()
        assert [server.id for server in back.servers] == servers[:1]
        (taken,) = step()
        assert taken.rented.order.server_id == servers[0]
        assert step() is None
        assert [order.server_id for order in api.my_orders()] == servers[:1]
