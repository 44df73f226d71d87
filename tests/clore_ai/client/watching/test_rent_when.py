"""`client.rent_when` waits for an offer and rents it once, in both clients."""

from __future__ import annotations

import threading

import pytest

from clore_ai.exceptions import NoOffer

BOTH_CLIENTS = "soak"
NONE = {"verify": "none", "every": 0.1}


def test_an_offer_that_appears_later_is_rented_once(api_of, own_market):
    """It costs no more than the price that was seen; leaving the block cancels the order."""
    market = own_market(provision=False)
    api, first = api_of(market), api_of(market)
    server = min(
        (s for s in api.marketplace() if s.price_usd and not s.gigaspot),
        key=lambda s: (s.price_usd, s.id),
    )
    most = server.price_usd * 1.001
    fits = [s for s in api.marketplace(max_price_usd=most) if not s.gigaspot]
    taken = [first.rent(s.id, currency=s.allowed_coins[0]).id for s in fits]
    looked = len(api.entries("marketplace"))
    free = threading.Timer(0.5, lambda: [first.cancel_order(order) for order in taken])
    free.start()
    with api.renting_when(max_price_usd=most, timeout=60, **NONE) as rental:
        assert rental.order.server_id in {s.id for s in fits}
    free.join()
    assert len(api.entries("marketplace")) > looked + 2
    assert len(api.entries("create_order")) == 1
    assert [o for o in api.my_orders() if o.active] == []


def test_at_the_end_of_the_wait_it_fails_as_rent_does(api):
    """The error says which wishes do not match; nothing was rented."""
    with pytest.raises(NoOffer), api.renting_when("no such gpu", timeout=0.3, **NONE):
        pass
    assert api.entries("create_order") == []
    for wrong in ({"every": 0}, {"timeout": -1}):
        with pytest.raises(ValueError, match="above 0"):
            api.renting_when("RTX", **wrong)


def test_one_client_ref_is_rented_once(api_of, own_market, tmp_path):
    """With the `client_ref` of a running order, that order is returned at once."""
    api = api_of(own_market(provision=False), state=tmp_path)
    order = api.renting("RTX", client_ref="one", verify="none")
    order.start()
    with api.renting_when("no such gpu", client_ref="one", **NONE) as rental:
        assert rental.order.id == order.order.id
    assert len(api.entries("create_order")) == 1
