"""Names of PyPI's 0.1.1 still work: imports, attributes of models, type hints."""

from __future__ import annotations

import importlib
import inspect
import typing

import pytest

import clore_ai
from clore_ai import AsyncRental, Rental, models
from clore_client import CloreClient

CLIENT = (
    "Any AsyncCloreAI CloreAI CloreAPIError Dict ERROR_MAP List Literal MarketplaceServer MyServer "
    "Optional Order RateLimiter Server ServerConfig SpotMarket Wallet asyncio httpx time"
)
ATTRIBUTES = {
    "MyServer": "min_spot_pricing is_vpn_enabled max_fair_price_usd allowed_currencies "
    "mass_price_changeable usd_pricing autoprice oc_gpus lock_balance "
    "lock_balance_initial_update monitoring visibility pricing online",
    "ServerConfig": "initialized is_vpn_enabled is_partner_enabled remaining_time monitoring "
    "mfp_usd kernel allow_oc oc_gpus xorg_valid onboard_type clock_lock_ranges background_job mrl",
    "MarketplaceServer": "owner autoprice mrl price rented specs reliability allowed_coins rating "
    "gpu_array gigaspot cuda_version price_usd spot_price_usd location",
    "Order": "server_id type image currency price created_at pub_cluster tcp_ports http_port env "
    "ssh_password ssh_key command jupyter_token",
    "SpotOffer": "order_id price server_id",
}
CLASSES = [
    clore_ai.CloreAI,
    clore_ai.AsyncCloreAI,
    clore_ai.RateLimiter,
    CloreClient,
    Rental,
    AsyncRental,
    *(getattr(models, name) for name in models.__all__ if name != "OrderType"),
]


def test_imports_from_the_client_module():
    """It exports all names of 0.1.1, the same objects as elsewhere."""
    module = importlib.import_module("clore_ai.client")
    for name in CLIENT.split():
        assert hasattr(module, name), name
    assert module.AsyncCloreAI is clore_ai.AsyncCloreAI
    assert set(CLIENT.split()) == set(module.__all__)


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_missing_fields_are_none(kind):
    """As in 0.1.1's models, a missing field raises no AttributeError."""
    record = getattr(models, kind).model_validate({"id": 1})
    assert {name: getattr(record, name) for name in ATTRIBUTES[kind].split()} == dict.fromkeys(
        ATTRIBUTES[kind].split()
    )


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_type_hints_can_be_read(kind):
    """`typing.get_type_hints`, which frameworks call, works on every public method."""
    for name in dir(kind):
        found = inspect.getattr_static(kind, name)
        found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        public = not name.startswith("_") or name == "__init__"
        if public and inspect.isfunction(found) and found.__module__.startswith("clore"):
            assert typing.get_type_hints(found) is not None
