"""Listings, hosted servers, spot markets and wallets: every real shape parses (service.md, 3)."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from clore_ai._api import endpoints
from clore_ai._api.parse import models
from clore_ai.models import (
    MarketplaceServer,
    MyServer,
    PriceTier,
    Server,
    ServerConfig,
    SpotMarket,
    SpotOffer,
    Wallet,
)

OF_002 = {
    "id": 12345,
    "owner": 67890,
    "mrl": 168,
    "rented": False,
    "price": {
        "on_demand": {"bitcoin": 0.00000125, "CLORE-Blockchain": 0.25, "USD-Blockchain": 0.40},
        "spot": {"bitcoin": 0.0000008, "CLORE-Blockchain": 0.15},
        "usd": {"on_demand_clore": 0.40, "spot": 0.25},
    },
    "specs": {
        "gpu": "2x NVIDIA GeForce RTX 4090",
        "cpu": "Intel i9-13900K",
        "ram": 64.0,
        "disk": "SAMSUNG SSD SM841 2000GB",
        "net": {"cc": "US", "down": 900, "up": 0},
    },
    "gpu_array": ["NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090"],
    "reliability": 0.985,
    "rating": {"avg": 4.8, "cnt": 25},
    "allowed_coins": ["bitcoin", "CLORE-Blockchain", "USD-Blockchain"],
}


def test_all_real_records_parse_without_loss(real_servers, caplog):
    """No odd value of the 3,500 servers is omitted, and each model equals its record."""
    found = models(MarketplaceServer, real_servers)
    assert len(found) == len(real_servers)
    assert caplog.records == []
    for server, record in zip(found, real_servers):
        assert server.id == record["id"]
        assert server.available is not record["rented"]
        assert server.gpu_model == record["specs"]["gpu"]
        assert server.ram_gb == record["specs"]["ram"]
        assert server.location == record["specs"]["net"]["cc"]
        assert server.max_rental_hours == record["mrl"]
        for coin, price in record["price"]["on_demand"].items():
            allowed = coin in record["allowed_coins"]
            assert server.price_per_day(coin) == (price if allowed else None)


def test_the_figures_of_the_real_fleet(real_servers):
    """service.md's figures: free and rented, GPU counts, prices in coins that are not allowed."""
    found = models(MarketplaceServer, real_servers)
    assert sum(s.available for s in found) == 1_583
    counts = [s.gpu_count for s in found]
    known = {1: 932, 2: 582, 8: 529, 6: 363, 4: 316, 5: 189, 3: 180, 12: 148, 7: 124, 10: 67}
    assert {n: counts.count(n) for n in known} == known
    assert sum(s.gpu_model.endswith("RTX 4090") for s in found if s.matches_gpu("rtx 4090")) == 786
    assert all(s.matches_gpu("RTX4090") == s.matches_gpu("rtx 4090") for s in found)


def test_002s_server():
    """Each field and 004's properties have the right values."""
    s = MarketplaceServer.model_validate(OF_002)
    assert (s.gpu_model, s.gpu_count, s.ram_gb) == ("2x NVIDIA GeForce RTX 4090", 2, 64)
    assert (s.available, s.location, s.mrl) == (True, "US", 168)
    assert s.price.on_demand.CLORE_Blockchain == 0.25
    assert s.price_usd == pytest.approx(0.4 / 24)
    assert s.spot_price_usd == pytest.approx(0.25 / 24)
    assert (s.rating.avg, s.reliability) == (4.8, 0.985)


def test_server_is_004s_older_name():
    """It is an alias, not a copy."""
    assert Server is MarketplaceServer


def test_fields_by_name_or_alias():
    """`populate_by_name` (004): either makes the same tier, and dumps by either."""
    by_alias = PriceTier.model_validate({"CLORE-Blockchain": 1, "USD-Blockchain": 2})
    assert by_alias == PriceTier(CLORE_Blockchain=1, USD_Blockchain=2)
    assert by_alias.model_dump(by_alias=True)["USD-Blockchain"] == 2
    assert SpotOffer(offer_id=1, bid=2) == SpotOffer(order_id=1, price=2)


def test_unknown_fields_are_kept():
    """Fields that the API adds later stay readable, at every depth (004, `extra="allow"`)."""
    s = MarketplaceServer.model_validate(
        {"id": 1, "new": [1], "specs": {"tpu": "x"}, "price": {"on_demand": {"DOGE": 5}}}
    )
    assert s.new == [1]
    assert s.specs.tpu == "x"
    assert s.price_per_day("DOGE") == 5
    assert s.model_dump()["specs"]["tpu"] == "x"


@pytest.mark.parametrize(
    "fields",
    [
        {"gigaspot": True},
        {"gigaspot": {"bitcoin": 1}},
        {"autoprice": {"bitcoin": False}},
        {"autoprice": "usd"},
        {"autoprice": True},
        {"partial_gpu_rental": {"total_gpus": 2, "available_gpus": 1, "free_indices": [1]}},
        {"gpu_array": [[" RTX 3090"], " RTX 3090"]},
        {"specs": {"mb": "", "disk": " 96GBx20", "net": {"down": 0}, "pl": [300], "gpus": []}},
        {"price": {"original_usd": {"bitcoin": {"on_demand": 1, "spot": None}}}},
        {"price": None, "specs": None, "rating": None, "allowed_coins": None},
        {"oc": {"x": 1}, "verification": "y", "cuda_version": 12.4},
    ],
)
def test_odd_values_of_real_servers(fields, caplog):
    """None of them is omitted, and no property fails on them."""
    (s,) = models(MarketplaceServer, [{"id": 1, **fields}])
    assert caplog.records == []
    for name in ("gpu_model", "gpu_count", "gpu_names", "ram_gb", "price_usd", "spot_price_usd"):
        getattr(s, name)
    for name, value in fields.items():
        assert getattr(s, name) is not None or value is None


def test_an_unconnected_server_has_no_id():
    """`init_token`, no `id`, no `specs` (service.md, 3); its token is a secret."""
    (s,) = endpoints.my_servers().parse({"servers": [{"name": "new", "init_token": "secret"}]})
    assert (s.id, s.name, s.status, s.gpu_count) == (None, "new", "Disconnected", 0)
    assert s.gpu_model is s.ram_gb is None
    assert s.init_token == "secret"
    assert "secret" not in repr(s)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "Disconnected"),
        ({"connected": False, "online": True}, "Disconnected"),
        ({"connected": True, "online": False}, "Offline"),
        ({"connected": True, "online": True, "working_properly": False}, "Not Working"),
        ({"connected": True, "online": True, "working_properly": True}, "Online"),
        ({"connected": True, "online": True}, "Online"),
    ],
)
def test_my_servers_status(fields, status):
    """It is one of 004's four words."""
    assert MyServer(id=1, **fields).status == status


def test_server_config():
    """004's first example reads `availability`, `mrl` and the first USD prices."""
    c = ServerConfig.model_validate(
        {
            "name": "MyGPU",
            "visibility": "public",
            "mrl": 96,
            "usd_pricing": {"a": {"spot": 1}, "b": {"on_demand": 5, "spot": 2}},
            "background_job": {"image": "i", "env": {"A": "secret"}, "command": "secret"},
        }
    )
    assert (c.availability, c.mrl, c.on_demand_price, c.spot_price) == (True, 96, 5, 1)
    assert "secret" not in repr(c)
    empty = ServerConfig()
    assert (
        empty.availability is empty.on_demand_price is empty.spot_price is empty.gpu_model is None
    )
    assert ServerConfig(visibility="hidden").availability is False


@pytest.mark.parametrize("kind", [MyServer, ServerConfig])
@pytest.mark.parametrize(
    ("pricing", "usd_pricing"),
    [
        ({"bitcoin": 0.1, "CLORE-Blockchain": 2}, {"on_demand": 25, "spot": 20}),
        (None, {"on_demand": 25, "spot": 20}),
        ({"bitcoin": 0.1}, {"bitcoin": {"on_demand": 25, "spot": 20}}),
    ],
)
def test_prices_in_usd_of_either_form(kind, pricing, usd_pricing):
    """One price for all coins, as seen in 2025, or one each: 0.1.1 reads them by coin."""
    s = kind.model_validate({"id": 1, "pricing": pricing, "usd_pricing": usd_pricing})
    assert (s.on_demand_price, s.spot_price) == (25, 20)
    assert {p.on_demand for p in s.usd_pricing.values()} == {25}
    assert set(s.usd_pricing) == set(pricing or {"USD-Blockchain"})
    odd = kind.model_validate({"id": 1, "usd_pricing": {}})
    assert odd.on_demand_price is None


@pytest.mark.parametrize("kind", [MyServer, ServerConfig])
@pytest.mark.parametrize(
    ("sent", "end"),
    [
        (1_764_000_000_000, "2025-11-24T16:00:00+00:00"),
        (1_764_000_000, "2025-11-24T16:00:00+00:00"),
        (None, None),
        (0, None),
        (3600, None),
        (-5, None),
        (1e30, None),
    ],
)
def test_a_rentals_end_is_in_milliseconds(kind, sent, end):
    """`remaining_time` is a time in epoch milliseconds; an invalid one is unknown."""
    found = kind.model_validate({"id": 1, "remaining_time": sent}).rental_end
    assert (None if found is None else found.isoformat()) == end


def test_a_server_that_has_not_connected_has_no_id(caplog):
    """0 in place of an id means none; nothing is logged."""
    (s,) = models(MyServer, [{"id": 0, "connected": False}])
    assert s.id is None
    assert not caplog.records


def test_spot_offers_by_either_name():
    """004's `order_id`/`price` stand for the service's `offer_id`/`bid`; both are readable."""
    market = SpotMarket.model_validate(
        {
            "currency_rates_in_usd": {"bitcoin": 100_000},
            "offers": [
                {"offer_id": 1, "bid": 0.5, "active": True, "my": True, "currency": "bitcoin"},
                {"order_id": 2, "price": 0.25},
            ],
            "server": {"min_pricing": {"bitcoin": 0.1}, "mrl": 2_520_000, "online": True},
        }
    )
    first, second = market.offers
    assert (first.order_id, first.offer_id, first.price, first.bid) == (1, 1, 0.5, 0.5)
    assert (second.order_id, second.offer_id, second.price, second.bid) == (2, 2, 0.25, 0.25)
    assert market.server.mrl == 2_520_000


@pytest.mark.parametrize("balance", [0, None, 0.0419, "0.5"])
def test_wallet_balances(balance):
    """They may be int 0 or null, and the address may be missing. Null is None, not 0."""
    (wallet,) = endpoints.wallets().parse({"wallets": [{"name": "bitcoin", "balance": balance}]})
    assert wallet.balance == (None if balance is None else float(balance))
    assert wallet.deposit is None


def test_a_wrong_type_is_an_error_in_a_constructor():
    """Only answers are parsed leniently; a model that a program builds is checked."""
    with pytest.raises(ValidationError):
        Wallet(name="x", balance="lots")


def test_invalid_records_are_omitted(caplog):
    """Null among the servers, or one without an id: the user gets the others."""
    found = endpoints.my_orders().parse(
        {"orders": [None, 5, {"id": 1}, {"si": 3}, {"id": "x"}, []]}
    )
    assert [o.id for o in found] == [1]
    assert len([r for r in caplog.records if "omitted" in r.message]) == 2
