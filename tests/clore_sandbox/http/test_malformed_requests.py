"""Malformed requests: each gets an envelope with a clear code, and the log stays empty."""

import json

import pytest
from tests.clore_sandbox.http.bad_client import INVALID, KEY, NO_ENDPOINT, NO_KEY, ORDER, request


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (request("GET", "/v1/wallets", key=None), (401, NO_KEY)),
        (request("GET", "/v1/wallets", key="x" * 40_000), (401, NO_KEY)),
        (request("GET", "/v1/wallets", "auth: other"), (401, NO_KEY)),
        (request("GET", "/v1/wallets", f"auth: {KEY}"), (401, NO_KEY)),
        (request("GET", "/v1/wallets", b"auth: \xff\xfe", key=None), (401, NO_KEY)),
        (request("GET", "/v1/wallets", "auth:", key=None), (401, NO_KEY)),
        (request("GET", "/control/clock", b"auth: \xff\xfe", key=None), (401, NO_KEY)),
        (request("GET", "/v1/wallets", "x: " + "y" * 70_000), (431, INVALID)),
        (request("GET", "/v1/wallets?x=" + "y" * 70_000), (431, INVALID)),
        (request("GET", "/v1/" + "w" * 70_000), (431, INVALID)),
        (request("GET", "/v1/wallets", *["x: y"] * 20_000), (431, INVALID)),
        (request("GET", "/v1/wallets", "no colon"), (400, INVALID)),
        (request("GET", "/v1/wallets", "name with spaces: x"), (400, INVALID)),
        (request("GET", "/v1/wallets", b"x: \0"), (400, INVALID)),
        (request("GET", "/v1/wallets", "Content-Length: many"), (400, INVALID)),
        (request("GET", "/v1/wallets", "Content-Length: -1"), (400, INVALID)),
        (request("GET", "/v1/wallets", "Content-Length: 99999999999999999999"), (400, INVALID)),
        (request("POST", "/v1/x", "Content-Length: 3", body=b"{}"), (400, INVALID)),
        (request("POST", "/v1/x", "Transfer-Encoding: chunked", body=b"{}"), (400, INVALID)),
        (request("POST", "/v1/x", "Transfer-Encoding: gzip"), (400, INVALID)),
        (request("BREW", "/v1/wallets"), (400, INVALID)),
        (request("GET", "/v1/w\xff".encode("latin-1").decode("latin-1")), (400, INVALID)),
        (b"GET\r\n\r\n", (400, INVALID)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, INVALID)),
        (request("DELETE", "/v1/wallets"), (404, NO_ENDPOINT)),
        (request("OPTIONS", "*"), (404, NO_ENDPOINT)),
        (request("POST", "/v1/marketplace"), (404, NO_ENDPOINT)),
        (request("GET", "/v1/create_order"), (404, NO_ENDPOINT)),
        (request("CONNECT", "example.com:443"), (400, INVALID)),
        (request("GET", "http://[::bad/v1/nothing"), (400, INVALID)),
        (request("GET", "http://elsewhere.example/v1/nothing"), (404, NO_ENDPOINT)),
    ],
    ids=lambda v: ascii(v[:60]) if isinstance(v, bytes) else None,
)
def test_a_malformed_head_gets_a_clear_code(server, head, expected):
    assert server.say(head) == [expected]


@pytest.mark.parametrize(
    "headers",
    [
        ["Host: [::bad"],
        ["Host: a/b?c#d"],
        ["Host:"],
        ["Content-Type: text/html"],
        ["Content-Type: ;;;", "Accept: ,,/"],
        ["Accept-Encoding: " + "gzip," * 2000],
        ["Cookie: " + "a=b;" * 4000],
        ["Upgrade: websocket", "Connection: Upgrade"],
        ["Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", "Connection: Upgrade"],
        ["Expect: something-else"],
        ["Range: bytes=0-1"],
        ["If-None-Match: *"],
    ],
    ids=lambda v: v[0][:30],
)
def test_an_unusual_head_changes_nothing(server, headers):
    ((status, body),) = server.say(request("GET", "/v1/wallets", *headers))
    assert (status, body["code"]) == (200, 0)


def deep(levels):
    return b'{"env":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":"\xff\xfe"}',
        b'{"a":"\\ud800"}',
        b'{"a":1,}',
        b'{"a":01}',
        b"\xef\xbb\xbf{}",
        b"{}{}",
        b"renting_server=1&type=on-demand",
        b"--x\r\nContent-Disposition: form-data\r\n\r\n{}\r\n--x--",
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
        deep(200),
        deep(500),
        deep(1000),
        deep(100_000),
        b'{"renting_server":' + b"[" * 900 + b"]" * 900 + b"}",
        json.dumps({**ORDER, "image": "i\0"}).encode(),
        json.dumps({**ORDER, "currency": "\0"}).encode(),
        json.dumps({**ORDER, "renting_server": "1"}).encode(),
        json.dumps({**ORDER, "renting_server": 2**64}).encode(),
        json.dumps({**ORDER, "renting_server": 2**63 - 1}).encode(),
        json.dumps({**ORDER, "renting_server": -(2**63)}).encode(),
        json.dumps({**ORDER, "renting_server": 1e300}).encode(),
        json.dumps({**ORDER, "required_price": 1e300}).encode(),
        json.dumps({**ORDER, "type": "spot", "spotprice": 1e22}).encode(),
        json.dumps({**ORDER, "type": None}).encode(),
        b'{"renting_server":1,"renting_server":"x","type":"on-demand","currency":"a","image":"i"}',
        *(json.dumps({k: v for k, v in ORDER.items() if k != gone}).encode() for gone in ORDER),
    ],
    ids=lambda b: ascii(b[:50]),
)
@pytest.mark.parametrize("endpoint", ["create_order", "set_spot_price", "cancel_order"])
def test_a_malformed_body_is_refused_in_the_envelope(server, endpoint, body):
    ((status, answer),) = server.say(request("POST", f"/v1/{endpoint}", body=body))
    assert (status, answer["code"]) in {(400, 2), (200, 6)}, answer


@pytest.mark.parametrize("name", ["fault", "create_account", "jump", "add_server", "top_up"])
@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"unknown":1}', deep(500), b'{"seconds":1e400}', b'{"seconds":"\\u0000"}',
     b'{"endpoint":"\\u0000","kind":"late"}', b'{"api_key":"\\u0000"}', b'{"api_key":"\xff"}'],
    ids=lambda b: ascii(b[:30]),
)  # fmt: skip
def test_the_controls_name_the_mistake(server, name, body):
    raw = request("POST", f"/control/{name}", body=body, key=server.control_key)
    ((status, answer),) = server.say(raw)
    assert status in (400, 404, 409), answer
    assert answer["code"] in (2, 6)
    assert answer["error"]


def test_unknown_and_repeated_fields_are_accepted(server):
    """The service adds and drops fields; of a repeated one the last counts, as in every parser."""
    body = b'{"renting_server":0,"renting_server":-1,"type":"on-demand","currency":"bitcoin",'
    body += b'"image":"i","unknown":{"deep":[1]}}'
    ((status, answer),) = server.say(request("POST", "/v1/create_order", body=body))
    assert (status, answer["code"]) == (200, 6), answer
