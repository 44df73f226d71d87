"""What 004 promises: names, parameters, defaults, fields and properties, equal in both clients."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from typing import Any, get_type_hints

import places
import pytest
from pydantic import BaseModel

import clore_ai
import clore_ai.models
from clore_ai import AsyncCloreAI, CloreAI, models
from clore_ai.rental import options

CALLS = (
    "wallets",
    "marketplace",
    "my_servers",
    "server_config",
    "my_orders",
    "create_order",
    "cancel_order",
    "spot_marketplace",
    "set_spot_price",
    "set_server_settings",
)
# 004, section by section: parameters with their defaults, in order. `...`: no default.
SIGNATURES = {
    "__init__": {"api_key": None, "base_url": None, "timeout": 30.0, "max_retries": 3},
    "wallets": {},
    "marketplace": {
        "gpu": None,
        "min_gpu_count": None,
        "min_ram_gb": None,
        "max_price_usd": None,
        "available_only": True,
    },
    "my_servers": {},
    "server_config": {"server_name": ...},
    "my_orders": {"include_completed": False},
    "create_order": {
        "server_id": ...,
        "image": ...,
        "type": ...,
        "currency": ...,
        "ssh_password": None,
        "ssh_key": None,
        "ports": None,
        "env": None,
        "jupyter_token": None,
        "command": None,
        "spot_price": None,
        "required_price": None,
        "autossh_entrypoint": None,
    },
    "cancel_order": {"order_id": ..., "issue": None},
    "spot_marketplace": {"server_id": ...},
    "set_spot_price": {"order_id": ..., "price": ...},
    "set_server_settings": {
        "name": ...,
        "availability": None,
        "mrl": None,
        "on_demand": None,
        "spot": None,
    },
    "close": {},
}
RETURNS = {
    "wallets": "list[Wallet]",
    "marketplace": "list[MarketplaceServer]",
    "my_servers": "list[MyServer]",
    "server_config": "ServerConfig",
    "my_orders": "list[Order]",
    "create_order": "Order",
    "cancel_order": "dict[str, Any]",
    "spot_marketplace": "SpotMarket",
    "set_spot_price": "dict[str, Any]",
    "set_server_settings": "dict[str, Any]",
    "close": "None",
}
BOTH = [CloreAI, AsyncCloreAI]


@pytest.mark.parametrize("client", BOTH)
@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_004s(name, client):
    """Names, order, defaults and kinds are 004's; parameters that we added are keyword-only."""
    parameters = list(inspect.signature(getattr(client, name)).parameters.values())[1:]
    theirs = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in theirs)
    empty = inspect.Parameter.empty
    assert {p.name: ... if p.default is empty else p.default for p in theirs} == SIGNATURES[name]
    assert [p.name for p in theirs] == list(SIGNATURES[name])
    ours = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert all(p.default is not empty for p in ours)


@pytest.mark.parametrize("name", RETURNS)
def test_return_types_are_004s(name):
    """They are equal but for the spelling of List and Dict."""
    names = {"Any": Any, **{each: getattr(models, each) for each in models.__all__}}
    wanted = eval(RETURNS[name], names)
    for client in BOTH:
        found = get_type_hints(getattr(client, name))["return"]
        assert (type(None) if wanted is None else wanted) == found
    assert inspect.iscoroutinefunction(getattr(AsyncCloreAI, name))
    assert not inspect.iscoroutinefunction(getattr(CloreAI, name))


def public(client: type) -> set[str]:
    return {name for name in dir(client) if not name.startswith("_")}


def test_both_clients_have_the_same_methods():
    """They have the same public names, the ten documented ones among them."""
    assert public(CloreAI) == public(AsyncCloreAI)
    assert public(CloreAI) >= {*CALLS, "close", "wait_for_ssh", "ledger", "watch", "monitor"}


@pytest.mark.parametrize("name", sorted(public(CloreAI)))
def test_both_clients_have_the_same_documentation(name):
    """Signatures and docstrings are equal, word for word."""
    one, other = inspect.getattr_static(CloreAI, name), inspect.getattr_static(AsyncCloreAI, name)
    assert type(one) is type(other)
    assert inspect.getdoc(one) == inspect.getdoc(other)
    assert inspect.getdoc(one)
    if inspect.isfunction(one):
        mine, theirs = inspect.signature(one), inspect.signature(other)
        assert mine.parameters == theirs.parameters
        # `rent` returns a different class in each.
        returned = str(theirs.return_annotation).replace("Async", "").replace("_async", "_sync")
        assert returned == mine.return_annotation


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("rent", options.RentOptions),
        ("offers", options.RentOptions),
        ("spot_auto", options.SpotOptions),
    ],
)
def test_options_are_documented_and_checked(name, taken):
    """`help` explains each option; an unknown option raises Python's own TypeError."""
    for client in BOTH:
        said = inspect.getdoc(getattr(client, name))
        meant = re.findall(r"^    (\w+): .", said.partition("\nOptions:\n")[2], re.MULTILINE)
        assert meant == list(taken.__annotations__)
    with CloreAI("k") as client, pytest.raises(TypeError, match=r"\(\) got an unexpected"):
        getattr(client, name)(7, no_such_option=1)


def test_both_constructors_are_alike():
    """They have the same parameters and refuse the same values."""
    assert inspect.signature(CloreAI) == inspect.signature(AsyncCloreAI)
    for client in BOTH:
        for wrong in ({"max_retries": -1}, {"timeout": 0}, {"deadline": 0}):
            with pytest.raises(ValueError, match="max_retries must be 0 or more"):
                client("k", **wrong)


def test_the_classes_describe_the_same_rules():
    """After the first paragraph both docstrings are equal."""

    def rules(client: type) -> str:
        text = inspect.getdoc(client)
        return text[text.index("- 1 request per second") :]

    assert rules(CloreAI) == rules(AsyncCloreAI)


# 004, Models: fields with their types, then properties.
FIELDS = {
    "Wallet": "name deposit balance withdrawal_fee",
    "MarketplaceServer": (
        "id owner rented specs price reliability allowed_coins rating gpu_array cuda_version mrl"
    ),
    "ServerSpecs": "mb cpu cpus ram disk disk_speed gpu gpuram net pcie_rev pcie_width",
    "ServerPrice": "on_demand spot usd original_usd",
    "PriceTier": "bitcoin CLORE_Blockchain USD_Blockchain",
    "PriceUSD": "on_demand_btc on_demand_clore on_demand_usd spot",
    "MyServer": ("id name connected visibility pricing online gpu_array specs working_properly"),
    "ServerConfig": (
        "id name connected visibility pricing usd_pricing mrl online specs background_job"
    ),
    "Order": (
        "id server_id type status image currency price created_at pub_cluster tcp_ports "
        "http_port env ssh_password ssh_key jupyter_token command"
    ),
    "SpotMarket": "currency_rates_in_usd offers server",
    "SpotOffer": "order_id price server_id",
    "SpotServerInfo": "min_pricing mrl visibility online",
    "APIResponse": "code message data",
}
PROPERTIES = {
    "MarketplaceServer": ("gpu_model gpu_count ram_gb price_usd spot_price_usd available location"),
    "MyServer": "gpu_model ram_gb status",
    "ServerConfig": "gpu_model on_demand_price spot_price",
}
ALIASES = [
    ("PriceTier", "CLORE_Blockchain", "CLORE-Blockchain", 1.0),
    ("PriceTier", "USD_Blockchain", "USD-Blockchain", 1.0),
    ("Order", "server_id", "renting_server", 5),
]
NEEDED = {"Wallet": {"name": "x"}, "APIResponse": {"code": 0}}
WITH_ID = ("MarketplaceServer", "Order")


@pytest.mark.parametrize("name", FIELDS)
def test_models_have_004s_fields(name):
    """Each is a pydantic model that keeps unknown fields; only the first field is required."""
    model = getattr(clore_ai.models, name)
    assert issubclass(model, BaseModel)
    assert set(FIELDS[name].split()) <= set(model.model_fields)
    assert model.model_config["extra"] == "allow"
    assert model.model_config["populate_by_name"] is True
    needed = NEEDED.get(name, {"id": 1} if name in WITH_ID else {})
    made = model(**needed, something_new=1)
    assert made.something_new == 1
    for field in set(FIELDS[name].split()) - set(needed):
        assert getattr(made, field) is None


@pytest.mark.parametrize("name", PROPERTIES)
def test_models_have_004s_properties(name):
    """They are read-only, and none raises on an empty model."""
    model = getattr(clore_ai.models, name)
    empty = model(id=1)
    for prop in PROPERTIES[name].split():
        assert isinstance(inspect.getattr_static(model, prop), property)
        getattr(empty, prop)
        with pytest.raises(AttributeError):
            setattr(empty, prop, 1)


@pytest.mark.parametrize(("model", "field", "alias", "value"), ALIASES)
def test_models_have_004s_aliases(model, field, alias, value):
    """A field is accepted by either name, in the constructor and in an answer."""
    kind = getattr(clore_ai.models, model)
    rest = {"id": 1} if model == "Order" else {}
    for name in (field, alias):
        assert getattr(kind(**rest, **{name: value}), field) == value
        assert getattr(kind.model_validate({**rest, name: value}), field) == value


@pytest.mark.parametrize(
    "module", ["clore_ai", "clore_ai.exceptions", "clore_ai.models", "clore_client"]
)
def test_all_lists_each_name_once_in_order(module):
    """Each name in `__all__` is listed once, in order, and can be imported."""
    it = importlib.import_module(module)
    names = list(it.__all__)
    assert len(names) == len(set(names))
    # Constants, then classes, as ruff sorts.
    assert names == sorted(names, key=lambda n: (not n.isupper(), n.startswith("__"), n))
    for name in names:
        assert getattr(it, name) is not None
    with pytest.raises(AttributeError):
        it.no_such_name  # noqa: B018


def test_the_imports_of_004():
    """The import lines of 004's examples work."""
    namespace: dict[str, object] = {}
    exec(
        "from clore_ai import CloreAI, AsyncCloreAI\n"
        "from clore_ai.exceptions import CloreAPIError, AuthError, RateLimitError\n"
        "from clore_ai.exceptions import DBError, InvalidInputError, InvalidEndpointError\n"
        "from clore_ai.exceptions import FieldError\n"
        "from clore_ai.models import Server, MarketplaceServer\n"
        "from clore_ai import *\n",
        namespace,
    )
    assert namespace["Server"] is namespace["MarketplaceServer"]


def test_import_is_lazy():
    """`import clore_ai` loads neither httpx nor pydantic; each name loads what it needs."""
    code = (
        "import sys, clore_ai\n"
        "heavy = {'httpx', 'pydantic', 'asyncio', 'click', 'rich', 'clore_sandbox'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "clore_ai.exceptions.AuthError; clore_ai.RateLimitError\n"
        "print(sorted({'httpx', 'pydantic'} & set(sys.modules)))\n"
        "clore_ai.CloreAI\n"
        "print(sorted({'httpx', 'pydantic', 'clore_sandbox', 'clore_ai.cli'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n['httpx', 'pydantic']\n"


def test_every_documented_name_is_there():
    """Each method, class and parameter in 004's text exists."""
    document = places.document("004")
    if document is None:
        pytest.skip("no document 004: set CLORE_DOCUMENTS to their folder")
    text = document.read_text("utf-8")
    for call in re.findall(r"^### `(\w+)\(\)`", text, re.MULTILINE):
        assert hasattr(CloreAI, call)
    for name in re.findall(r"^class (\w+)\(BaseModel\)", text, re.MULTILINE):
        assert hasattr(clore_ai.models, name)
    models = re.findall(r"^class (\w+)\(BaseModel\):.*\n((?: +.*\n|\n(?= ))+)", text, re.MULTILINE)
    assert len(models) >= 12
    for name, body in models:
        model = getattr(clore_ai.models, name)
        for field in re.findall(r"^    (\w+):", body, re.MULTILINE):
            assert field in model.model_fields, (name, field)
        for prop in re.findall(r"@property (\w+)", body):
            assert isinstance(inspect.getattr_static(model, prop), property), (name, prop)
