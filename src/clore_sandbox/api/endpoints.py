"""The ten endpoints: each turns a checked `Request` into an `Answer`.

HTTP, keys and rate limits are app.py's, which decides whether an endpoint is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox import books
from clore_sandbox.api.answers import BAD_INPUT, BROKEN, Answer, refused, success
from clore_sandbox.api.host_shapes import config, server_row, visibility
from clore_sandbox.api.order_shapes import offer_rows, order_row, wallet_rows
from clore_sandbox.fleet.inventory import max_rental_ms
from clore_sandbox.market import views
from clore_sandbox.rules import Refusal, trips_the_service
from clore_sandbox.rules.order_request import InvalidInput, as_units, read_order_request
from clore_sandbox.values.json_types import JsonObject, as_int, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from clore_sandbox.api.order_shapes import Dialect
    from clore_sandbox.books.orders import Trouble
    from clore_sandbox.market import Market

__all__ = ["ENDPOINTS", "Outcome", "Request"]


@dataclass(frozen=True)
class Request:
    """A call with valid key, pace and JSON. `account` may be 0 on the public endpoint."""

    market: Market
    dialect: Dialect
    account: int
    query: Mapping[str, str]
    body: JsonObject
    gzip: bool
    draw_trouble: Callable[[], Trouble | None]


@dataclass(frozen=True)
class Outcome:
    """An answer, and the order that `create_order` created."""

    answer: Answer
    order: int | None = None


async def _wallets(request: Request) -> Outcome:
    units = await views.wallets(request.market, request.account)
    mark = await request.market.store.read(lambda tx: books.deposit_mark(tx, request.account))
    return Outcome(success(wallets=wallet_rows(units, mark)))


async def _marketplace(request: Request) -> Outcome:
    listing = request.market.servers.listing
    servers = request.market.servers.hosted_by(request.account)
    if servers:
        # A host's body lists its own servers; hosts are few, so it is not cached.
        return Outcome(Answer(200, listing.plain_for(servers)))
    if request.gzip:
        headers = {"content-encoding": "gzip", "vary": "accept-encoding"}
        return Outcome(Answer(200, await listing.gzipped(), headers=headers))
    return Outcome(Answer(200, listing.plain(), headers={"vary": "accept-encoding"}))


async def _my_orders(request: Request) -> Outcome:
    completed = request.query.get("return_completed") in ("true", "1")
    now = request.market.clock.now_ms()
    seen = await views.orders(request.market, request.account, completed=completed)
    rows = [
        order_row(s.order, s.record, now_ms=now, online=s.online, dialect=request.dialect)
        for s in seen
    ]
    return Outcome(success(orders=rows, limit=999_999))


async def _create_order(request: Request) -> Outcome:
    try:
        ask = read_order_request(request.body)
    except InvalidInput:
        return Outcome(BAD_INPUT)
    if request.dialect == "live" and trips_the_service(ask):
        return Outcome(BROKEN)
    outcome = await request.market.create_order(request.account, ask, request.draw_trouble)
    if isinstance(outcome, Refusal):
        return Outcome(refused(outcome))
    if request.dialect == "live":
        # Exactly this: no id (service.md section 3).
        return Outcome(success(), outcome.id)
    record = request.market.servers.record(outcome.server) or {}
    row = order_row(
        outcome, record, now_ms=outcome.created_ms, online=True, dialect=request.dialect
    )
    return Outcome(success(order_id=outcome.id, order=row), outcome.id)


async def _cancel_order(request: Request) -> Outcome:
    order, issue = as_int(request.body.get("id")), request.body.get("issue")
    if order is None or abs(order) >= 2**63 or not isinstance(issue, (str, type(None))):
        return Outcome(BAD_INPUT)
    refusal = await request.market.cancel_order(request.account, order, issue)
    return Outcome(refused(refusal) if refusal else success())


async def _spot_marketplace(request: Request) -> Outcome:
    text = request.query.get("market", "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):  # noqa: PLR2004 - 64 bits
        return Outcome(BAD_INPUT)
    rates: JsonObject = dict(request.market.rates)
    found = await views.auction(request.market, int(text))
    if found is None:
        market: JsonObject = {"currency_rates_in_usd": rates, "offers": [], "server": {}}
        return Outcome(success(market=market, exists=False))
    prices = as_object((as_object(found.record.get("price")) or {}).get("spot")) or {}
    server: JsonObject = {
        "min_pricing": prices,
        "mrl": max_rental_ms(found.record) // 1000,  # seconds here (service.md section 2)
        "visibility": visibility(request.dialect, available=found.available),
        "online": found.online,
    }
    offers = offer_rows(
        found.offers, request.market.terms.rates, account=request.account, dialect=request.dialect
    )
    market = {"currency_rates_in_usd": rates, "offers": offers, "server": server}
    return Outcome(success(market=market, exists=True))


async def _set_spot_price(request: Request) -> Outcome:
    order = as_int(request.body.get("order_id"))
    desired = as_units(request.body.get("desired_price"))
    if order is None or abs(order) >= 2**63 or desired is None:
        return Outcome(BAD_INPUT)
    refusal = await request.market.set_spot_price(request.account, order, desired)
    return Outcome(refused(refusal) if refusal else success())


async def _my_servers(request: Request) -> Outcome:
    hosted = await views.hosted(request.market, request.account)
    rows = [server_row(server, request.dialect, request.market.rates) for server in hosted]
    return Outcome(success(servers=rows, limit=max(16, len(rows))))


async def _server_config(request: Request) -> Outcome:
    name = as_text(request.body.get("server_name"))
    if name is None:
        return Outcome(BAD_INPUT)
    for server in await views.hosted(request.market, request.account):
        if server.name == name:
            fields = config(server, request.dialect, request.market.rates)
            return Outcome(success(config=fields, creation_completed=server.server is not None))
    return Outcome(refused(Refusal("server_dont_exist")))


async def _set_server_settings(request: Request) -> Outcome:
    name = as_text(request.body.get("name"))
    if name is None:
        return Outcome(refused(Refusal("not_all_parameters_present")))
    # 004 sends only the settings to change.
    partial = request.dialect == "reference"
    refusal = await request.market.set_server_settings(
        request.account, name, request.body, partial=partial
    )
    return Outcome(refused(refusal) if refusal else success())


ENDPOINTS: dict[tuple[str, str], Callable[[Request], Awaitable[Outcome]]] = {
    ("GET", "wallets"): _wallets,
    ("GET", "marketplace"): _marketplace,
    ("GET", "my_orders"): _my_orders,
    ("POST", "create_order"): _create_order,
    ("POST", "cancel_order"): _cancel_order,
    ("GET", "spot_marketplace"): _spot_marketplace,
    ("POST", "set_spot_price"): _set_spot_price,
    ("GET", "my_servers"): _my_servers,
    ("GET", "server_config"): _server_config,
    ("POST", "set_server_settings"): _set_server_settings,
}
"""The endpoints by method and name."""
