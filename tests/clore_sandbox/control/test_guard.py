"""Access to `/control`: the Host and Origin of a request, and guessed keys."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest


def ask(market, name="clock", key=None, **headers):
    """The status and body of one GET with exactly these headers."""
    lines = [f"GET /control/{name} HTTP/1.1", "Connection: close"]
    lines += [f"{n}: {v}" for n, v in {"auth": key or market.control_key, **headers}.items()]
    with socket.create_connection(("127.0.0.1", market.port), 20) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: sock.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


@pytest.mark.parametrize("name", ["clock", "health", "openapi.json"])
@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "127.0.0.1.rebound.example",
        "localhost.rebound.example:{port}",
        "rebound.example:{port}",
        "localhost.",
        "10.0.0.1",
        "127.0.0.1@rebound.example",
        "127.0.0.1, rebound.example",
        "x",
        "",
        None,
    ],
)
def test_dns_rebinding_is_refused(market, host, name):
    """A page resolves its own name to this machine; even with the right key it gets no answer."""
    headers = {} if host is None else {"Host": host.format(port=market.port)}
    status, body = ask(market, name, **headers)
    assert status in (400, 403), body
    assert market.instance not in body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_names_of_this_machine_are_accepted(market, host):
    for port in ("", f":{market.port}", ":8080"):  # a tunnel's
        assert ask(market, Host=host + port)[0] == 200


def test_configured_names_are_accepted(own_market):
    """--public-host is accepted, and any address if it listens on all of them."""
    market = own_market(host="0.0.0.0", public_host="Market.example", provision=False)
    for host in ("market.example:80", "127.0.0.1", "192.0.2.7:8080", "[2001:db8::7]", "localhost"):
        assert ask(market, Host=host)[0] == 200, host
    for host in ("other.example", "0.rebound.example", "192.0.2.7.rebound.example"):
        assert ask(market, Host=host)[0] == 403, host


def test_another_origin_is_refused(market):
    """Only a page of its own could be allowed, and it has none."""
    host = f"127.0.0.1:{market.port}"
    for origin in ("null", "http://rebound.example", f"https://{host}", "http://127.0.0.1:1"):
        status, body = ask(market, Host=host, Origin=origin)
        assert (status, "another origin" in body) == (403, True)
    assert ask(market, Host=host, Origin=f"http://{host}")[0] == 200


def test_the_api_accepts_any_name(market):
    """As the service does: each call needs a key, which a stranger's page cannot know."""
    headers = {"host": "market.example", "auth": market.api_key}
    assert httpx.get(f"{market.base_url}/wallets", headers=headers).json()["code"] == 0


def test_wrong_keys_are_delayed_and_lock_out_nobody(own_market):
    """A few mistakes are free; then each wrong key is answered later, by up to a second.

    Meanwhile the right key is answered at once, also from the address of the guesses.
    """
    market = own_market(provision=False)

    def took(key):
        started = time.monotonic()
        status, _ = ask(market, key=key, Host="localhost")
        return status, time.monotonic() - started

    free = [took(f"guess-{number}") for number in range(5)]
    assert {status for status, _ in free} == {401}
    assert min(seconds for _, seconds in free) < 0.1
    for number, late in enumerate((0.1, 0.2, 0.4)):
        status, seconds = took(f"later-{number}")
        assert status == 401
        assert seconds >= late
    done = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(
                lambda n: [took(f"{n}-{i}") for i in range(99) if not done.is_set()], number
            )
        owner = [took(market.control_key) for _ in range(5)]
        done.set()
    assert {status for status, _ in owner} == {200}
    assert min(seconds for _, seconds in owner) < 0.8


def test_many_connections_guess_no_faster(own_market):
    """Wrong keys from one address are handled one by one."""
    market = own_market(provision=False)
    for number in range(5):
        ask(market, key=f"{number}", Host="localhost")
    started = time.monotonic()
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda n: ask(market, key=f"x{n}", Host="localhost"), range(40)))
    assert {status for status, _ in answers} == {401}
    assert time.monotonic() - started > 40 * 0.02
