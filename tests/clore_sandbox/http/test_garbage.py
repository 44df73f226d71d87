"""Whatever arrives, the answer is an envelope, and the marketplace goes on."""

import contextlib
import json
import random
import socket
import threading

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{'a': 1}",
        b"\xff\xfe{",
        b'{"renting_server": NaN}',
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"renting_server":1e999}',
    ],
    ids=lambda b: repr(b[:20]),
)
def test_a_body_that_is_no_json_object_is_400_and_code_2(renter, body):
    answer = renter.http.post("/create_order", content=body)
    assert (answer.status_code, answer.json()) == (400, {"code": 2})


def test_a_10_mb_body_is_413_and_code_2(renter):
    answer = renter.http.post("/create_order", content=b"x" * 10_000_000)
    assert (answer.status_code, answer.json()) == (413, {"code": 2})

    def chunks():
        for _ in range(100):
            yield b"y" * 100_000

    answer = renter.http.post("/create_order", content=chunks())
    assert (answer.status_code, answer.json()) == (413, {"code": 2})


def test_a_get_may_carry_a_body_that_must_be_json(renter):
    assert renter.http.request("GET", "/wallets", content=b"junk").status_code == 400
    assert renter.http.request("GET", "/wallets", json={"x": 1}).status_code == 200


def raw(market, data):
    with socket.create_connection((market.host, market.port), 5) as sock:
        sock.sendall(data)
        sock.settimeout(5)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    return answer


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\0\1\0\1\xfc",
    ],
)
def test_a_request_that_is_not_http_gets_the_envelope(market, data):
    answer = raw(market, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body) == {"code": 2}


@pytest.mark.parametrize(
    "path", ["/v1/%00", "/v1/%ff%fe", "/v1/../../etc/passwd", "/v1/wallets%20", "//v1//"]
)
def test_odd_paths_are_404_and_code_4(market, path):
    answer = raw(
        market, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1")
    )
    assert answer.startswith(b"HTTP/1.1 404")
    assert answer.endswith(b'{"code":4}')


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    [
        "renting_server",
        "type",
        "currency",
        "image",
        "ports",
        "env",
        "ssh_password",
        "ssh_key",
        "jupyter_token",
        "command",
        "required_price",
        "spotprice",
        "autossh_entrypoint",
        "dockerhub_auth",
        "id",
        "issue",
        "order_id",
        "desired_price",
        "name",
    ]
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    endpoint=st.sampled_from(
        ["create_order", "cancel_order", "set_spot_price", "set_server_settings"]
    ),
    body=st.dictionaries(FIELDS, JSON, max_size=6),
)
def test_any_json_gets_a_code_and_never_a_crash(market, renter, endpoint, body):
    valid = {"renting_server": 1, "type": "on-demand", "currency": "bitcoin", "image": "i"}
    answer = renter.http.post(f"/{endpoint}", content=json.dumps({**valid, **body}).encode())
    assert answer.json()["code"] in (2, 6, 1)
    if answer.json()["code"] == 1:
        assert any("&" in str(v) for v in (body.get("env") or {}).values())


def test_a_thousand_open_connections_do_not_stop_it(market):
    with contextlib.ExitStack() as held:
        for _ in range(1000):
            held.enter_context(socket.create_connection((market.host, market.port), 5))
        assert httpx.get(f"{market.base_url}/marketplace").status_code == 200


def test_clients_that_disconnect_midway(market):
    draw = random.Random(1)
    request = b"GET /v1/marketplace HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"

    def leave():
        for _ in range(20):
            with socket.create_connection((market.host, market.port), 5) as sock:
                sock.sendall(request[: draw.randrange(len(request) + 1)])

    threads = [threading.Thread(target=leave) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert httpx.get(f"{market.base_url}/marketplace").status_code == 200
