"""One `Call` per endpoint: what is sent, and what is read. Every quirk is here, with its source.

Pure: nothing here waits, sends or reads a clock. Follows service.md, 3.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from clore_ai import models
from clore_ai._api import parse
from clore_ai._api.call import Body, Call
from clore_ai._values.kinds import LAST_ID, as_dict, as_id, as_list
from clore_ai._values.text import plain
from clore_ai.exceptions import ResponseError

if TYPE_CHECKING:
    from clore_ai._api.order_request import OrderRequest

_log = logging.getLogger("clore_ai")

_MOST_RECORDS = 200_000


def _same(body: Body) -> Body:
    return body


def wallets() -> Call[list[models.Wallet]]:
    """``GET wallets``."""
    return Call(
        "GET", "wallets", lambda b: parse.models(models.Wallet, _list(b, "wallets", "wallets"))
    )


def marketplace() -> Call[list[Body]]:
    """``GET marketplace``: the raw records; it takes no filters and needs no key."""
    return Call(
        "GET",
        "marketplace",
        lambda b: _marked(_with_ids(_list(b, "servers", "marketplace")), b.get("my_servers")),
        needs_key=False,
    )


def my_servers() -> Call[list[models.MyServer]]:
    """``GET my_servers``."""
    return Call(
        "GET",
        "my_servers",
        lambda b: parse.models(models.MyServer, _list(b, "servers", "my_servers")),
    )


def server_config(server_name: str) -> Call[models.ServerConfig]:
    """``GET server_config``: indeed a GET with a JSON body (service.md, 3)."""
    return Call(
        "GET",
        "server_config",
        lambda b: parse.model(models.ServerConfig, _dict(b, "config", "server_config")),
        body={"server_name": server_name},
    )


def my_orders(*, include_completed: bool = False) -> Call[models.Orders]:
    """``GET my_orders``."""
    return Call(
        "GET",
        "my_orders",
        _orders,
        params={"return_completed": "true"} if include_completed else None,
    )


def _orders(body: Body) -> models.Orders:
    found = models.Orders(parse.models(models.Order, _list(body, "orders", "my_orders")))
    found.unread = len(as_list(body.get("orders")) or ()) - len(found)
    return found


def create_order(wanted: OrderRequest) -> Call[list[models.Order]]:
    """``POST create_order``, with the orders that the answer names: usually none (service.md, 3).

    Never sent again if the service may have acted on it.
    """
    fields = {
        "currency": wanted.currency,
        "image": wanted.image,
        "renting_server": wanted.server_id,
        "type": wanted.type,
        "ports": wanted.ports or None,
        "env": wanted.environment or None,
        "ssh_password": wanted.ssh_password,
        "ssh_key": wanted.ssh_key,
        "jupyter_token": wanted.jupyter_token,
        "command": wanted.command,
        "spotprice": wanted.spot_price,
        "required_price": wanted.required_price,
        "autossh_entrypoint": wanted.autossh_entrypoint,
        "dockerhub_auth": wanted.dockerhub_auth,
        "remember_password": wanted.remember_password,
    }
    body = _given(fields)
    return Call("POST", "create_order", _named, body=body, repeatable=False, is_create_order=True)


def _given(fields: Body) -> Body:
    """The fields that were given; None is not sent."""
    return {name: value for name, value in fields.items() if value is not None}


def _named(body: Body) -> list[models.Order]:
    """The orders that an answer names, in the forms of 002 (`order_id`) and 004 (`order`)."""
    named = (as_dict(body.get("order")) or {}, {"order_id": body.get("order_id")})
    return [order for record in named for order in _order(record)]


def _order(record: Body) -> list[models.Order]:
    """The order, if its id is a whole number; true, 1.0 and "1" are not."""
    ids = [each for name in ("id", "order_id") if (each := record.get(name)) is not None]
    is_whole = ids and all(type(each) is int and each == ids[0] for each in ids)
    return parse.models(models.Order, [record]) if is_whole else []


def cancel_order(order_id: int, issue: str | None = None) -> Call[Body]:
    """``POST cancel_order``: cancelling twice does no harm, but not cancelling costs money."""
    body = _given({"id": order_id, "issue": issue})
    return Call("POST", "cancel_order", _same, body=body, already="order_not_active")


def spot_marketplace(server_id: int) -> Call[models.SpotMarket]:
    """``GET spot_marketplace``."""
    return Call(
        "GET",
        "spot_marketplace",
        lambda b: parse.model(models.SpotMarket, _dict(b, "market", "spot_marketplace")),
        params={"market": str(server_id)},
    )


def set_spot_price(order_id: int, price: float) -> Call[Body]:
    """``POST set_spot_price``: a second lowering would meet the 600 s rule, so sent once."""
    body: Body = {"order_id": order_id, "desired_price": price}
    return Call("POST", "set_spot_price", _same, body=body, repeatable=False)


def set_server_settings(
    name: str,
    *,
    availability: bool | None = None,
    mrl: int | None = None,
    on_demand: float | None = None,
    spot: float | None = None,
) -> Call[Body]:
    """``POST set_server_settings``, in 004's form: prices are in bitcoin (service.md, 3).

    It may be sent again: the same settings twice are the same settings.
    """
    fields = {"availability": availability, "mrl": mrl, "on_demand": on_demand, "spot": spot}
    return Call("POST", "set_server_settings", _same, body=_given({"name": name, **fields}))


def _with_ids(records: list[Body]) -> list[Body]:
    """The records that have an id; an id in digits becomes a number."""
    if all(type(id_ := r.get("id")) is int and 0 < id_ <= LAST_ID for r in records):
        return records  # thousands, and almost always
    found: list[Body] = []
    for record in records:
        number = as_id(record.get("id"))
        if number is None:
            shown = plain(repr(record.get("id")), 40)
            _log.warning("omitted a server without a usable id: %s", shown)
        else:
            found.append({**record, "id": number})
    return found


def _marked(records: list[Body], own: object) -> list[Body]:
    """The records; those of the user's own servers get `mine`."""
    ids_of_own = (
        as_id(r.get("id")) if (r := as_dict(each)) else as_id(each) for each in as_list(own) or []
    )
    ids = {each for each in ids_of_own if each is not None}
    if ids:  # rarely: most renters host nothing
        owners = {r.get("owner") for r in records if r.get("id") in ids} - {None}
        for record in records:
            if record.get("id") in ids or record.get("owner") in owners:
                record["mine"] = True
    return records


def _list(body: Body, key: str, path: str) -> list[Body]:
    value = as_list(body.get(key))
    if value is None:
        raise ResponseError(f"{path}: the answer holds no list {key!r}.", 0, body)
    if len(value) > _MOST_RECORDS:
        raise ResponseError(f"{path}: the answer lists {len(value):,} {key}, too many.", 0)
    return [record for v in value if (record := as_dict(v)) is not None]


def _dict(body: Body, key: str, path: str) -> Body:
    value = as_dict(body.get(key))
    if value is None:
        raise ResponseError(f"{path}: the answer holds no {key!r}.", 0, body)
    return value
