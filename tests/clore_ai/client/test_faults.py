"""Whatever happens to an answer: at most one rental, and the client knows what it knows."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from clore_ai.exceptions import (
    AuthError,
    ConfigError,
    DBError,
    FieldError,
    InvalidEndpointError,
    OrderUncertain,
    RateLimitError,
    ResponseError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


_unknown = itertools.count(5000)


@contextmanager
def host(status: int, body: bytes = b"", **headers: str) -> Iterator[Any]:
    """A host that answers everything alike; `seen` holds the headers of what it was asked."""
    seen: list[dict[str, str]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            seen.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the standard library's name

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        server.seen = seen
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def until(condition: Any, timeout_s: float = 10) -> None:
    """Wait for what the marketplace does in its own time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def created(api) -> list[int]:
    """The orders that really came of this account's requests."""
    return [e.order for e in api.entries("create_order") if e.order is not None]


@pytest.mark.parametrize("fault", ["act_then_cut", "act_then_500", "truncated_json", "late"])
def test_created_and_the_answer_lost(fault, api_of, market, server):
    """The real order comes back, and it is the only one; it was asked for once."""
    api = api_of(market, timeout=0.5)
    api.fault("create_order", fault, delay_s=0.8)
    order = api.rent(server)
    assert order.server_id == server
    until(lambda: api.entries("create_order"))  # written once the late answer was given up
    assert created(api) == [order.id]
    assert len(api.entries("create_order")) == 1
    assert [i.state for i in api.ledger.intents()] == ["created"]


@pytest.mark.parametrize("fault", ["cut_before", "500", "html_502"])
def test_not_created_and_the_answer_open(fault, api, server):
    """OrderUncertain, after looking; never a second try on its own."""
    api.session.look_for_s = 0.5
    api.fault("create_order", fault)
    with pytest.raises(OrderUncertain, match=f"server {server}") as caught:
        api.rent(server)
    assert created(api) == []
    assert len(api.entries("create_order")) == 1
    assert api.ledger.unsettled() == [caught.value.intent]
    assert isinstance(caught.value.__cause__, (TransportError, DBError, ResponseError))


def test_refused_by_the_cdn(api, server):
    """HTTP 403 in plain text never got as far as the service: a clean refusal."""
    api.fault("create_order", "cdn_403")
    with pytest.raises(ResponseError, match="1010") as caught:
        api.rent(server)
    assert not caught.value.maybe_acted
    assert created(api) == []
    assert [i.state for i in api.ledger.intents()] == ["refused"]


def test_rate_limited_once(api, server):
    """Code 5 was surely not acted on: sent again after 1 s, and one order came of it."""
    api.fault("create_order", "rate_limited")
    order = api.rent(server)
    assert created(api) == [order.id]
    assert [e.status for e in api.entries("create_order")] == [429, 200]


def test_rate_limited_for_good(api_of, market, server):
    """RateLimitError when `max_retries` is used up: nothing was rented."""
    api = api_of(market, max_retries=0)
    api.fault("create_order", "rate_limited", times=None)
    with pytest.raises(RateLimitError) as caught:
        api.rent(server)
    assert (caught.value.code, caught.value.status) == (5, 429)
    assert created(api) == []
    assert [i.state for i in api.ledger.intents()] == ["refused"]


def test_a_retry_after_is_waited_for(api):
    """The next request leaves no sooner than the service asks, though the first wait is 1 s."""
    api.fault("wallets", "retry_after", delay_s=2)
    begun = time.monotonic()
    assert api.wallets()
    assert time.monotonic() - begun >= 2
    assert [e.status for e in api.entries("wallets")] == [429, 200]


def test_a_retry_after_beyond_the_deadline_is_not(api):
    """The call stops at once, sends nothing more and says until when."""
    api.fault("wallets", "retry_after", delay_s=600, times=None)
    with pytest.raises(RateLimitError, match=r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC") as caught:
        api.wallets()
    assert "a few seconds" not in str(caught.value)
    assert [e.status for e in api.entries("wallets")] == [429]


def test_trouble_before_sending(api, server):
    """The look before is a reading call like any other: repeated, then the order is sent."""
    api.fault("my_orders", "truncated_json")
    api.fault("create_order", "act_then_cut")
    order = api.rent(server)
    assert created(api) == [order.id]


def test_missing_fields(api_of, market, server):
    """``{"code":0}`` alone is no list of orders: a clear error, and nothing rented."""
    api = api_of(market, max_retries=0)
    for call, endpoint in [
        (api.wallets, "wallets"),
        (api.marketplace, "marketplace"),
        (api.my_orders, "my_orders"),
        (lambda: api.spot_marketplace(server), "spot_marketplace"),
        (lambda: api.rent(server), "my_orders"),
    ]:
        api.fault(endpoint, "missing_fields")
        with pytest.raises(ResponseError, match=rf"{endpoint}: the answer holds no"):
            call()
    assert api.entries("create_order") == []


@pytest.mark.parametrize("fault", ["cut_before", "act_then_cut", "act_then_500", "html_502"])
def test_a_cancellation_is_asked_for_until_it_is_known(fault, api, server):
    """An order that goes on costs money: repeated, and what it finds ended is success."""
    order = api.rent(server)
    api.fault("cancel_order", fault)
    assert api.cancel_order(order.id)["code"] == 0
    assert api.my_orders() == []
    assert len(api.entries("cancel_order")) == 2


@pytest.mark.parametrize("fault", ["cut_before", "500"])
def test_a_bid_is_sent_once(fault, api):
    """A second lowering would meet the 600 s rule."""
    api.fault("set_spot_price", fault)
    with pytest.raises((TransportError, DBError)) as caught:
        api.set_spot_price(1, 0.1)
    assert caught.value.maybe_acted
    assert len(api.entries("set_spot_price")) == 1


def test_reading_is_repeated(api):
    """A cut connection costs a second, not the answer."""
    api.fault("wallets", "cut_before")
    assert len(api.wallets()) == 3
    assert len(api.entries("wallets")) == 2


def test_a_time_out_says_so(api_of, market):
    """`timeout` is for each attempt; the error knows that the request may have arrived."""
    api = api_of(market, timeout=0.2, max_retries=0)
    api.fault("set_spot_price", "late", delay_s=0.6)
    with pytest.raises(
        TransportError, match="no answer in time; the request may have been acted"
    ) as caught:
        api.set_spot_price(1, 0.1)
    assert caught.value.maybe_acted
    assert caught.value.__cause__ is not None


def test_a_deadline_is_for_all_attempts(api_of, market):
    """`deadline` shortens an attempt, and ends the tries; the last error says so."""
    api = api_of(market, timeout=60, deadline=0.4)
    api.fault("wallets", "late", delay_s=1, times=4)
    with pytest.raises(
        TransportError, match=r"no answer in time\. Not retried: the call's deadline of 0\.4 s"
    ):
        api.wallets()
    until(lambda: api.entries("wallets"))  # written once the late answer was given up
    assert len(api.entries("wallets")) == 1


def test_a_deadline_ends_the_wait_for_another_turn(api_of, market):
    """Others with this key may hold it up."""
    api = api_of(market, deadline=3)
    api.rate_limiter.min_interval = 60
    api.fault("wallets", "500")
    with pytest.raises(DBError, match=r"Not retried: the call's deadline of 3 s has passed"):
        api.wallets()
    assert len(api.entries("wallets")) == 1


def test_a_deadline_does_not_cut_the_look_for_an_order(api_of, own_market, server_of):
    """Money may be spent: what was created is found, however long it takes to show up."""
    market = own_market(provision=False, visibility_lag_s=1)
    api = api_of(market, deadline=0.3)
    api.fault("create_order", "act_then_500")
    server = server_of(market)
    assert api.rent(server).server_id == server
    assert len(created(api)) == 1


def test_connection_refused(api_of, market, server):
    """Nothing listens: surely nothing was done, and the message names the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        api = api_of(market, base_url=url, max_retries=0)
        for call in (api.wallets, api.marketplace, lambda: api.rent(server)):
            with pytest.raises(TransportError, match=rf"can't reach {url}.*nothing was sent") as c:
                call()
            assert not c.value.maybe_acted


def test_an_unknown_host(api_of, market):
    """Likewise where the name leads nowhere (RFC 2606: `.invalid` never does)."""
    api = api_of(market, base_url="http://clore.invalid/v1", max_retries=0)
    with pytest.raises(TransportError, match=r"can't reach http://clore\.invalid/v1"):
        api.wallets()


@pytest.mark.parametrize("url", ["http://a..b/v1", "http://" + "a" * 70 + ".com/v1", "http://%/v1"])
def test_an_impossible_host(url, api_of, market):
    """One of our errors that names the URL, not one of httpx's or the codec's."""
    api = api_of(market, base_url=url, max_retries=0)
    with pytest.raises((ConfigError, TransportError)) as caught:
        api.wallets()
    assert url in str(caught.value)


def test_a_web_page_instead_of_the_service(api_of, market, server):
    """A wrong base URL answers HTML: a ResponseError that shows how it begins."""
    with host(200, b"<!doctype html><title>Welcome</title>") as page:
        api = api_of(market, base_url=page.url, max_retries=0)
        for call in (api.wallets, api.marketplace, lambda: api.rent(server)):
            with pytest.raises(ResponseError, match=r"not JSON \(HTTP 200: '<!doctype html>"):
                call()
        assert {s["path"] for s in page.seen} <= {
            "/v1/wallets",
            "/v1/marketplace",
            "/v1/my_orders?return_completed=true",
        }


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_never_carries_the_key_to_another_host(status, api_of, market, server):
    """It is not followed at all; the error names where it led."""
    with host(200, b'{"code":0}') as other, host(status, Location=other.url) as first:
        api = api_of(market, base_url=first.url, max_retries=0)
        for call in (api.wallets, api.marketplace, lambda: api.cancel_order(1)):
            with pytest.raises(ResponseError, match=rf"redirected to {other.url}.*base URL"):
                call()
        assert len(first.seen) == 3
        assert other.seen == []


def test_what_is_sent_with_each_request(api_of, market):
    """`auth` and a User-Agent of our own (the CDN refuses unknown defaults); no Authorization."""
    with host(200, b'{"code":0,"wallets":[]}') as service:
        api = api_of(market, base_url=service.url)
        assert api.wallets() == []
        (sent,) = service.seen
        assert sent["auth"] == api.key
        assert sent["user-agent"].startswith("clore-ai/")
        assert "authorization" not in sent
        assert api.key not in sent["path"]
        keyless = api_of(market, base_url=service.url, api_key=None)
        with pytest.raises(ResponseError):
            keyless.marketplace()
        assert "auth" not in service.seen[-1]


def test_a_wrong_path(api_of, market):
    """Code 4 and HTTP 404: look at the base URL."""
    api = api_of(market, base_url=market.base_url.removesuffix("/v1") + "/v2")
    with pytest.raises(InvalidEndpointError, match="base URL") as caught:
        api.wallets()
    assert caught.value.code == 4


def test_a_body_that_lies_about_its_compression(api_of, market):
    """A damaged answer is a transport error of ours, not zlib's."""
    with host(200, b"not gzip", **{"Content-Encoding": "gzip"}) as service:
        api = api_of(market, base_url=service.url, max_retries=0)
        with pytest.raises(TransportError) as caught:
            api.wallets()
        assert caught.value.maybe_acted


def test_a_server_that_talks_something_else(api_of, market):
    """An SSH server at the port of the service: cut, and it may have been acted on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            for _ in range(1):
                connection, _peer = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        api = api_of(market, base_url=url, max_retries=0)
        with pytest.raises(TransportError) as caught:
            api.wallets()
        thread.join()
        assert caught.value.maybe_acted


def test_one_failure_does_not_spoil_the_next_call(api, server):
    """After cuts and refusals the same client rents as if nothing had been."""
    api.session.look_for_s = 1
    api.fault("create_order", "cut_before")
    with pytest.raises(OrderUncertain):
        api.rent(server)
    with pytest.raises(FieldError):
        api.rent(987654321)
    assert api.rent(server).server_id == server
    with pytest.raises(FieldError):
        api.rent(server)
    states = [i.state for i in api.ledger.intents()]
    assert states == ["uncertain", "refused", "created", "refused"]
    assert len(created(api)) == 1


def test_a_wrong_key_is_not_repeated_to_the_service(api_of, market):
    """Code 3 is final: one request."""
    unknown = f"nobody-has-this-key-{next(_unknown):04}"
    api = api_of(market, api_key=unknown)
    with pytest.raises(AuthError):
        api.wallets()
    assert len([e for e in market.journal() if e.key == f"…{unknown[-4:]}" and e.code == 3]) == 1
