"""Whatever happens to an answer, at most one order is made, and no doubt is hidden."""

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
    """A host that gives every request the same answer; `seen` holds the headers of the requests."""
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
    """Wait until the marketplace has done what it does in its own time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def created(api) -> list[int]:
    """The orders that this account's requests really made."""
    return [e.order for e in api.entries("create_order") if e.order is not None]


@pytest.mark.parametrize("fault", ["act_then_cut", "act_then_500", "truncated_json", "late"])
def test_an_order_whose_answer_is_lost_is_found(fault, api_of, market, server):
    """The real order is returned, and it is the only one; the request was sent once."""
    api = api_of(market, timeout=0.5)
    api.fault("create_order", fault, delay_s=0.8)
    order = api.rent(server)
    assert order.server_id == server
    until(lambda: api.entries("create_order"))  # logged once the late answer is abandoned
    assert created(api) == [order.id]
    assert len(api.entries("create_order")) == 1
    assert [i.state for i in api.ledger.intents()] == ["created"]


@pytest.mark.parametrize("fault", ["cut_before", "500", "html_502"])
def test_an_answer_that_leaves_it_open_is_an_uncertain_order(fault, api, server):
    """OrderUncertain is raised after a search; the request is never repeated."""
    api.session.look_for_s = 0.5
    api.fault("create_order", fault)
    with pytest.raises(OrderUncertain, match=f"server {server}") as caught:
        api.rent(server)
    assert created(api) == []
    assert len(api.entries("create_order")) == 1
    assert api.ledger.unsettled() == [caught.value.intent]
    assert isinstance(caught.value.__cause__, (TransportError, DBError, ResponseError))


def test_a_refusal_by_the_cdn_rented_nothing(api, server):
    """HTTP 403 in plain text never reached the service, so the refusal is certain."""
    api.fault("create_order", "cdn_403")
    with pytest.raises(ResponseError, match="1010") as caught:
        api.rent(server)
    assert not caught.value.maybe_acted
    assert created(api) == []
    assert [i.state for i in api.ledger.intents()] == ["refused"]


def test_a_rate_limited_order_is_retried(api, server):
    """Code 5 was certainly not acted on: the request is sent again, and makes one order."""
    api.fault("create_order", "rate_limited")
    order = api.rent(server)
    assert created(api) == [order.id]
    assert [e.status for e in api.entries("create_order")] == [429, 200]


def test_rate_limited_beyond_max_retries(api_of, market, server):
    """RateLimitError is raised when `max_retries` is used up; nothing was rented."""
    api = api_of(market, max_retries=0)
    api.fault("create_order", "rate_limited", times=None)
    with pytest.raises(RateLimitError) as caught:
        api.rent(server)
    assert (caught.value.code, caught.value.status) == (5, 429)
    assert created(api) == []
    assert [i.state for i in api.ledger.intents()] == ["refused"]


def test_retry_after_is_respected(api):
    """The next request leaves no sooner than the service asks, although the first wait is 1 s."""
    api.fault("wallets", "retry_after", delay_s=2)
    begun = time.monotonic()
    assert api.wallets()
    assert time.monotonic() - begun >= 2
    assert [e.status for e in api.entries("wallets")] == [429, 200]


def test_a_retry_after_beyond_the_deadline_ends_the_call(api):
    """The call ends at once, sends nothing more and says until when the service refuses."""
    api.fault("wallets", "retry_after", delay_s=600, times=None)
    with pytest.raises(RateLimitError, match=r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC") as caught:
        api.wallets()
    assert "a few seconds" not in str(caught.value)
    assert [e.status for e in api.entries("wallets")] == [429]


def test_the_search_before_an_order_is_retried(api, server):
    """It is a reading call like any other: it is repeated, and then the order is sent."""
    api.fault("my_orders", "truncated_json")
    api.fault("create_order", "act_then_cut")
    order = api.rent(server)
    assert created(api) == [order.id]


def test_an_answer_without_its_list_is_an_error(api_of, market, server):
    """``{"code":0}`` alone is no list of orders: the error is clear, and nothing is rented."""
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
def test_cancel_retries_until_the_order_has_ended(fault, api, server):
    """A running order costs money. If it has already ended, the cancellation is a success."""
    order = api.rent(server)
    api.fault("cancel_order", fault)
    assert api.cancel_order(order.id)["code"] == 0
    assert api.my_orders() == []
    assert len(api.entries("cancel_order")) == 2


@pytest.mark.parametrize("fault", ["cut_before", "500"])
def test_a_bid_is_sent_once(fault, api):
    """Sending the bid again could count as a second lowering within 600 s."""
    api.fault("set_spot_price", fault)
    with pytest.raises((TransportError, DBError)) as caught:
        api.set_spot_price(1, 0.1)
    assert caught.value.maybe_acted
    assert len(api.entries("set_spot_price")) == 1


def test_reading_calls_are_retried(api):
    """A cut connection costs a second, not the answer."""
    api.fault("wallets", "cut_before")
    assert len(api.wallets()) == 3
    assert len(api.entries("wallets")) == 2


def test_a_timeout_says_that_the_request_may_have_arrived(api_of, market):
    """`timeout` applies to each attempt."""
    api = api_of(market, timeout=0.2, max_retries=0)
    api.fault("set_spot_price", "late", delay_s=0.6)
    with pytest.raises(
        TransportError, match="no answer in time; the request may have been acted"
    ) as caught:
        api.set_spot_price(1, 0.1)
    assert caught.value.maybe_acted
    assert caught.value.__cause__ is not None


def test_a_deadline_is_for_all_attempts(api_of, market):
    """`deadline` shortens an attempt and ends the retries; the last error says so."""
    api = api_of(market, timeout=60, deadline=0.4)
    api.fault("wallets", "late", delay_s=1, times=4)
    with pytest.raises(
        TransportError, match=r"no answer in time\. Not retried: the call's deadline of 0\.4 s"
    ):
        api.wallets()
    until(lambda: api.entries("wallets"))  # logged once the late answer is abandoned
    assert len(api.entries("wallets")) == 1


def test_a_deadline_ends_the_wait_for_the_pace(api_of, market):
    """Other processes with this key may delay the call."""
    api = api_of(market, deadline=3)
    api.rate_limiter.min_interval = 60
    api.fault("wallets", "500")
    with pytest.raises(DBError, match=r"Not retried: the call's deadline of 3 s has passed"):
        api.wallets()
    assert len(api.entries("wallets")) == 1


def test_a_deadline_does_not_end_the_search_for_an_order(api_of, own_market, server_of):
    """Money may be spent, so the search goes on until the order shows up."""
    market = own_market(provision=False, visibility_lag_s=1)
    api = api_of(market, deadline=0.3)
    api.fault("create_order", "act_then_500")
    server = server_of(market)
    assert api.rent(server).server_id == server
    assert len(created(api)) == 1


def test_connection_refused(api_of, market, server):
    """If nothing listens, nothing was done, and the message names the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        api = api_of(market, base_url=url, max_retries=0)
        for call in (api.wallets, api.marketplace, lambda: api.rent(server)):
            with pytest.raises(TransportError, match=rf"can't reach {url}.*nothing was sent") as c:
                call()
            assert not c.value.maybe_acted


def test_an_unknown_host(api_of, market):
    """A host name that does not resolve is the same (RFC 2606: `.invalid` never resolves)."""
    api = api_of(market, base_url="http://clore.invalid/v1", max_retries=0)
    with pytest.raises(TransportError, match=r"can't reach http://clore\.invalid/v1"):
        api.wallets()


@pytest.mark.parametrize("url", ["http://a..b/v1", "http://" + "a" * 70 + ".com/v1", "http://%/v1"])
def test_an_invalid_host_name(url, api_of, market):
    """An error of ours names the URL, not one of httpx or of the codec."""
    api = api_of(market, base_url=url, max_retries=0)
    with pytest.raises((ConfigError, TransportError)) as caught:
        api.wallets()
    assert url in str(caught.value)


def test_a_web_page_instead_of_the_service(api_of, market, server):
    """A wrong base URL answers HTML: a ResponseError shows the beginning of the page."""
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
    """The client follows no redirect; the error names its target."""
    with host(200, b'{"code":0}') as other, host(status, Location=other.url) as first:
        api = api_of(market, base_url=first.url, max_retries=0)
        for call in (api.wallets, api.marketplace, lambda: api.cancel_order(1)):
            with pytest.raises(ResponseError, match=rf"redirected to {other.url}.*base URL"):
                call()
        assert len(first.seen) == 3
        assert other.seen == []


def test_the_headers_of_each_request(api_of, market):
    """They hold `auth`, a User-Agent (the CDN refuses unknown defaults) and no Authorization."""
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
    """The error for code 4 with HTTP 404 suggests a check of the base URL."""
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


def test_a_server_of_another_protocol(api_of, market):
    """An SSH server at the service's port cuts the connection; the request may have acted."""
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
    """After cuts and refusals the same client rents normally."""
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


def test_a_wrong_key_is_not_retried(api_of, market):
    """Code 3 is final: one request is sent."""
    unknown = f"nobody-has-this-key-{next(_unknown):04}"
    api = api_of(market, api_key=unknown)
    with pytest.raises(AuthError):
        api.wallets()
    assert len([e for e in market.journal() if e.key == f"…{unknown[-4:]}" and e.code == 3]) == 1
