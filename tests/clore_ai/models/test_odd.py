"""For any JSON in any field only CloreAPIError is raised, and no record with an id is lost."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import shapes
from by_hand import Hand, reply
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clore_ai._api import endpoints
from clore_ai._api.parse import models
from clore_ai._api.steps import Rules, request
from clore_ai.exceptions import CloreAPIError
from clore_ai.models import (
    MarketplaceServer,
    MyServer,
    Order,
    ServerConfig,
    SpotMarket,
    SpotOffer,
    Wallet,
)
from clore_ai.rental.market.listing import Filter, fits
from clore_ai.rental.market.rates import implied

if TYPE_CHECKING:
    from clore_ai.models._base import Model

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63, 1e308, -1e20, 1.7e12, 0.5])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["22:1972", "²", "\ud800", "n1", "", " ", "nan", "1e999", "true", "8x GPU"])
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
odd = settings(max_examples=25, suppress_health_check=list(HealthCheck))


def names(kind: type[Model]) -> list[str]:
    """Names that a field may have in an answer."""
    found: list[str] = []
    for name, field in kind.model_fields.items():
        choices = getattr(field.validation_alias, "choices", [field.validation_alias])
        found += [name, *(c for c in choices if isinstance(c, str)), field.alias or name]
    return found


def records(kind: type[Model], *more: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted({*names(kind), *more})), anything, max_size=6)


def read_all(model: Model) -> None:
    """Read every property, print it and dump it."""
    for name in dir(type(model)):
        if isinstance(getattr(type(model), name, None), property) and name[0] != "_":
            getattr(model, name)
    repr(model)
    model.model_dump()


@odd
@given(records(Order, "connection", "created", "spot", "started"), st.integers(1, 2**62))
def test_an_order_is_never_lost(record, order_id):
    """It costs money: whatever is odd about it, it stays in the list under its id."""
    (order,) = models(Order, [{**record, "order_id": order_id, "id": order_id}])
    assert order.id == order_id
    read_all(order)


@odd
@given(st.sampled_from(sorted(shapes.ALL)), st.data())
def test_one_odd_field_of_a_real_order_costs_that_field_only(shape, data):
    """The rest of the order stays as it was."""
    record = shapes.ALL[shape]
    field = data.draw(st.sampled_from(sorted(record.keys() - {"id", "order_id"})))
    (order,) = models(Order, [{**record, field: data.draw(anything)}])
    (plain,) = models(Order, [record])
    assert order.id == plain.id
    read_all(order)
    for same in ("image", "currency", "price", "spend", "env"):
        if same != field:
            assert getattr(order, same) == getattr(plain, same)
    if field not in ("si", "renting_server"):
        assert order.server_id == plain.server_id
    if field not in ("tcp_ports", "connection"):
        assert order.ssh_port == plain.ssh_port


@odd
@given(
    st.dictionaries(st.sampled_from(["ssh", "jupyter", "ports"]), anything),
    st.dictionaries(st.sampled_from(["tcp_ports", "pub_cluster", "http_port"]), anything),
)
def test_any_connection_parses(connection, fields):
    """002's strings, the live lists, 004's dict, and anything else in their place."""
    (order,) = models(Order, [{"id": 1, "connection": connection, **fields}])
    read_all(order)


@odd
@given(records(MarketplaceServer), st.integers(1, 2**62))
def test_a_listing_is_never_lost(record, server_id):
    """The filter does not fail on it either."""
    record = {**record, "id": server_id}
    (server,) = models(MarketplaceServer, [record])
    assert server.id == server_id
    read_all(server)
    for coin in ("bitcoin", "x-y", ""):
        server.price_per_day(coin)
    fits(record, Filter("4090", 2, 1.0, 1.0))
    implied([record])


@odd
@given(st.recursive(anything, lambda inner: st.fixed_dictionaries({}, optional={
    "price": inner, "on_demand": inner, "spot": inner, "usd": inner, "bitcoin": inner,
    "CLORE-Blockchain": inner, "on_demand_btc": inner, "on_demand_clore": inner,
    "specs": inner, "net": inner, "gpu": inner, "ram": inner, "original_usd": inner,
}), max_leaves=12))  # fmt: skip
def test_odd_values_deep_inside(body):
    """They may be in prices within prices, or specs within specs."""
    record = {**body, "id": 1} if isinstance(body, dict) else {"id": 1, "price": body}
    (server,) = models(MarketplaceServer, [record])
    read_all(server)
    fits(record, Filter("4090", 2, 1.0, 1.0))
    implied([record])


@odd
@given(st.lists(records(SpotOffer) | anything, max_size=4), st.integers(0, 4))
def test_a_good_offer_survives_odd_neighbours(offers, place):
    """A record that is omitted from a list takes no other with it."""
    good = {"offer_id": 7, "bid": 0.5}
    market = endpoints.spot_marketplace(1).parse(
        {"market": {"offers": [*offers[:place], good, *offers[place:]]}}
    )
    assert any(o.offer_id == 7 and o.bid == 0.5 for o in market.offers)


CALLS = {
    "wallets": (endpoints.wallets(), Wallet),
    "servers": (endpoints.my_servers(), MyServer),
    "orders": (endpoints.my_orders(), Order),
    "market": (endpoints.spot_marketplace(1), SpotMarket),
    "config": (endpoints.server_config("x"), ServerConfig),
}


@pytest.mark.parametrize("key", CALLS)
def test_any_answer_parses_or_is_a_clore_api_error(key):
    """No ValidationError, KeyError or other error is raised; every result can be read."""
    call, kind = CALLS[key]
    bodies = records(kind)

    @odd
    @given(anything | bodies | st.lists(bodies | anything, max_size=3))
    def check(value):
        flow = request(call, Rules(max_retries=0))
        next(flow)
        content = json.dumps({"code": 0, key: value}).encode()
        try:
            flow.send(reply(content))
        except StopIteration as stop:
            found = stop.value if isinstance(stop.value, list) else [stop.value]
            for model in found:
                read_all(model)
        except CloreAPIError:
            pass

    check()


@odd
@given(
    st.binary(max_size=200) | anything.map(lambda v: json.dumps(v).encode()), st.integers(100, 599)
)
def test_any_bytes_are_an_answer_or_a_clore_api_error(content, status):
    """A proxy in front of the service may answer anything."""
    hand = Hand([reply(content, status)])
    with suppress(CloreAPIError):
        assert isinstance(hand.play(request(endpoints.marketplace(), Rules(max_retries=0))), list)
