"""Answers cut off after each byte still mean one order, one cancellation and a complete list.

A server on a raw socket cuts in the status, the headers and the body, with
an end or with a reset. The two clients take turns: one the even bytes, one the odd.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Callable

import pytest
from wire import RESET, Wire, http, says

from clore_ai._api.waits import WAITS
from clore_ai.exceptions import OrderUncertain, ResponseError, TransportError

if TYPE_CHECKING:
    from clients import Api

    from clore_sandbox import Sandbox

BOTH_CLIENTS = "soak"
SERVER = 5
HEADERS = (
    "Date: Tue, 14 Nov 2023 22:13:20 GMT",
    "CF-RAY: 8f0e1d2c3b4a5968-FRA",
    "Cache-Control: no-store",
    "Strict-Transport-Security: max-age=31536000; includeSubDomains; preload",
    "Server: cloudflare",
    'Alt-Svc: h3=":443"; ma=86400',
)
CREATED = http(b'{"code":0}', "200 OK", *HEADERS)
REFUSED = http(b'{"status":0,"error":"server-already-rented","code":6}', "200 OK", *HEADERS)
CANCELLED = http(b'{"code":0}', "200 OK", *HEADERS)
ENDED = http(b'{"code":6,"error":"order_not_active"}', "200 OK", *HEADERS)


def row(number: int) -> dict[str, Any]:
    return {"id": number, "si": SERVER, "currency": "bitcoin", "price": 1}


def cut(answer: bytes, after: int) -> list[bytes]:
    return [answer[:after], RESET] if after % 4 > 1 else [answer[:after]]


@pytest.fixture(params=[14, pytest.param(2, marks=pytest.mark.exhaustive)])
def places_in(request: pytest.FixtureRequest, kind: str) -> Callable[[bytes], range]:
    """The positions at which answers to this client are cut; the other client has those between."""
    step: int = request.param
    return lambda answer: range(step // 2 * (kind == "async"), len(answer), step)


@pytest.fixture
def client_of(
    api_of: Callable[..., Api], market: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Api]:
    """Makes clients of a server on a raw socket; they retry at once."""
    monkeypatch.setattr(WAITS, "backoff_s", 0.001)

    def make(wire: Wire, **more: Any) -> Api:
        api = api_of(market, base_url=wire.url, **more)
        api.session.look_for_s = 0.0
        return api

    return make


@pytest.mark.parametrize("answer", [CREATED, REFUSED], ids=["created", "refused"])
def test_an_order_whose_answer_is_cut_is_sent_once(
    client_of: Callable[..., Api], answer: bytes, places_in: Callable[[bytes], range]
) -> None:
    """The client finds the order if it was made; in both cases the request was sent once."""
    orders: list[dict[str, Any]] = []
    places = places_in(answer)

    def serve(path: str, number: int) -> list[bytes]:
        if path != "create_order":
            return [says(orders=orders[-1:])]
        if answer is CREATED:
            orders.append(row(1_000 + number))
        return cut(answer, places[number])

    with Wire(serve) as wire:
        api = client_of(wire)
        for number in range(len(places)):
            if answer is CREATED:
                assert api.rent(SERVER).id == 1_000 + number
            else:
                with pytest.raises(OrderUncertain):
                    api.rent(SERVER)
                # The next order need not wait for this one.
                api.ledger.update(api.ledger.unsettled()[0], state="refused")
        assert wire.paths.count("create_order") == len(places)


def test_a_list_that_is_cut_is_read_again(
    client_of: Callable[..., Api], places_in: Callable[[bytes], range]
) -> None:
    """Half a list is not a list: the client reads it again, before and after an order."""
    orders: list[dict[str, Any]] = []
    after = itertools.count()

    def serve(path: str, number: int) -> list[bytes]:
        if path == "create_order":
            orders.append(row(1_000 + number))
            return [says()]
        whole = says(orders=orders[-1:])
        places = places_in(whole)
        return cut(whole, places[next(after) % len(places)]) if number % 2 else [whole]

    with Wire(serve) as wire:
        api = client_of(wire)
        for number in itertools.count():
            assert api.rent(SERVER).id == 1_000 + number
            assert [o.id for o in api.my_orders()] == [1_000 + number]
            if next(after) > len(places_in(says(orders=orders[-1:]))):
                break  # the list was cut at every position
        assert wire.paths.count("create_order") == number + 1


def test_a_list_that_is_always_cut_is_an_error(
    client_of: Callable[..., Api], places_in: Callable[[bytes], range]
) -> None:
    """After each byte the client raises an error of ours and rents nothing."""
    whole = says(orders=[row(9)])
    places = places_in(whole)
    with Wire(lambda _path, number: cut(whole, places[number])) as wire:
        api = client_of(wire, max_retries=0)
        for number in range(len(places)):
            with pytest.raises((TransportError, ResponseError)) as caught:
                api.rent(SERVER) if number % 2 else api.my_orders()
            assert caught.value.maybe_acted
        assert "create_order" not in wire.paths


@pytest.mark.parametrize("again", [CANCELLED, ENDED], ids=["agreed", "ended already"])
def test_a_cancellation_whose_answer_is_cut_is_retried(
    client_of: Callable[..., Api], again: bytes, places_in: Callable[[bytes], range]
) -> None:
    """If the first request has already ended the order, the retry is a success."""
    places = places_in(CANCELLED)

    def serve(_path: str, number: int) -> list[bytes]:
        return [again] if number % 2 else cut(CANCELLED, places[number // 2])

    with Wire(serve) as wire:
        api = client_of(wire)
        for _ in places:
            assert api.cancel_order(9)["code"] == 0
        assert wire.paths == ["cancel_order"] * 2 * len(places)
