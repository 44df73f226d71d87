"""Clients that send too much, too slowly or nothing, over real sockets.

Other clients are answered meanwhile; completed actions are kept; and the log stays empty, as the
marketplace did nothing wrong.
"""

import contextlib
import json
import socket
import time
from pathlib import Path

import pytest
from tests.clore_sandbox.http.bad_client import (
    INVALID,
    KEY,
    NO_ENDPOINT,
    ORDER,
    answers,
    request,
    serve,
)


@pytest.mark.parametrize("key", [KEY, "nobody's"])
@pytest.mark.parametrize("path", ["/v1/create_order", "/v1/nothing", "/control/fault"])
def test_ten_megabytes_are_answered_and_not_kept(server, path, key):
    """With a length and in chunks, the answer arrives while the client is still sending."""
    body = b"x" * 10_000_000
    chunks = (b"186a0\r\n" + body[:100_000] + b"\r\n") * 100 + b"0\r\n\r\n"
    chunked = request("POST", path, "Transfer-Encoding: chunked", key=key)
    expected = {("/v1/create_order", KEY): (413, 2), ("/v1/nothing", KEY): (404, 4)}
    expected[("/v1/nothing", "nobody's")] = (404, 4)
    ways = ([request("POST", path, body=body, key=key)], [chunked, chunks])
    before = server.memory_mib()
    for parts in ways * 3:
        ((status, answer),) = server.say(*parts)
        assert (status, answer["code"]) == expected.get((path, key), (401, 3))
    assert server.memory_mib() - before < 42, "of the sixty that were sent"


def test_chunks_may_be_small_and_have_extensions_and_trailers(server):
    head = request("POST", "/v1/cancel_order", "Transfer-Encoding: chunked")
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in b'{"id": 1}')
    ((status, answer),) = server.say(head, chunks, b"0\r\nTrailer: x\r\n\r\n")
    assert (status, answer["code"]) == (200, 6)
    assert server.say(head, b"zz\r\n{}\r\n0\r\n\r\n") == [(400, INVALID)]
    assert server.say(head, b"2\r\n{}no line's end") == [(400, INVALID)]


def test_expect_100_continue(server):
    """The body is requested if it is going to be read; otherwise the final answer comes at once."""
    body = b'{"id": 1}'
    for key, status in ((KEY, 200), ("nobody's", 401)):
        head = request("POST", "/v1/cancel_order", "Expect: 100-continue", body=body, key=key)
        with server.connect() as sock:
            sock.sendall(head.removesuffix(body))
            first = sock.recv(15)
            assert first.startswith(b"HTTP/1.1 100" if status == 200 else b"HTTP/1.1 401")
            if status == 200:
                while not first.endswith(b"\r\n\r\n"):
                    first += sock.recv(1)
                sock.sendall(body)
                assert answers(sock)[0][0] == status


def test_pipelined_requests_are_answered_in_order(server):
    names = ["nothing", "wallets"] * 50
    many = [request("GET", f"/v1/{n}", last=i == 99) for i, n in enumerate(names)]
    found = server.say(b"".join(many))
    assert [status for status, _ in found] == [404, 200] * 50


def test_garbage_after_a_request_is_refused_after_its_answer(server):
    """For example with a Content-Length that is too short: the first answer is not lost."""
    whole = request("GET", "/v1/wallets", last=False)
    for junk in (b"junk\r\n\r\n", request("GET", "/v1/x", "no colon"), b"x" * 70_000):
        found = server.say(whole * 3 + junk)
        assert [status for status, _ in found] == [200, 200, 200, 400]
    bad = request("POST", "/v1/cancel_order", "Transfer-Encoding: chunked", last=False) + b"zz\r\n"
    assert [status for status, _ in server.say(whole * 2 + bad)] == [200, 200, 400]
    assert [status for status, _ in server.say(bad)] == [400]
    body = b'{"id": 1}'
    short = request("POST", "/v1/cancel_order", body=body, last=False).replace(b": 9", b": 7")
    assert server.say(short) == [(400, INVALID), (400, INVALID)]


def test_a_client_that_hangs_up_loses_only_its_answer(server):
    """An incomplete request is not acted on; a complete one is."""
    servers = server.client.get("/marketplace").json()["servers"]
    free = [s["id"] for s in servers if not s["rented"] and "bitcoin" in s["allowed_coins"]]
    body = json.dumps({**ORDER, "renting_server": free[0]}).encode()
    create = request("POST", "/v1/create_order", body=body)
    with server.connect() as sock:
        sock.sendall(create[:-5])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    with server.connect() as sock:
        sock.sendall(create[:-5])
    assert server.client.get("/my_orders").json()["orders"] == []
    with server.connect() as sock:
        sock.sendall(create)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    deadline = time.monotonic() + 10
    while not (orders := server.client.get("/my_orders").json()["orders"]):
        assert time.monotonic() < deadline
    assert [order["si"] for order in orders] == free[:1]
    assert server.client.post("/cancel_order", json={"id": orders[0]["id"]}).json()["code"] == 0


def test_hanging_up_during_an_answer_does_no_harm(server):
    for _ in range(50):
        with server.connect() as sock:
            sock.sendall(request("GET", "/v1/marketplace", key=None))
            sock.recv(100)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_half_closed_connections_are_answered(server):
    """A client may announce that it has sent everything (`nc -N`), and still read."""
    with server.connect() as sock:
        sock.sendall(request("GET", "/v1/wallets"))
        sock.shutdown(socket.SHUT_WR)
        assert [status for status, _ in answers(sock)] == [200]


def sockets(pid):
    found = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += file.readlink().name.startswith("socket:")
    return found


def test_a_thousand_slow_clients_delay_no_other(tmp_path):
    """Idle, half-sent or never reading: others are answered, and each of these is dropped in time.

    This holds although the shell that started it limits a process to 256 open files at first.
    """
    half = request("POST", "/v1/create_order", body=b'{"a": 1}')
    idle = request("GET", "/v1/nothing", last=False)
    unread = request("GET", "/v1/marketplace", last=False) * 40
    words = [half[:30], half[:-3], idle, unread, b"", b"\r\n"]
    words[3:3] = [request("POST", "/v1/x", "Transfer-Encoding: chunked") + b"ff\r\nx"]
    with serve(tmp_path / "log", few_files=True) as server, contextlib.ExitStack() as held:
        before = sockets(server.pid)
        open_ = [held.enter_context(server.connect()) for _ in range(1000)]
        for number, sock in enumerate(open_):
            if number % 20 == 0 or words[number % 7] is not unread:
                sock.sendall(words[number % 7])
        for _ in range(20):
            assert server.answers_quickly()
        deadline = time.monotonic() + 30
        while sockets(server.pid) > before + 1:  # the client's own
            assert time.monotonic() < deadline, f"{sockets(server.pid) - before} are left"
            assert server.answers_quickly()
            time.sleep(0.2)
        for number in (0, 1, 3):
            ((status, answer),) = answers(open_[number])
            assert (status, answer) == (408, INVALID)
        assert answers(open_[2]) == [(404, NO_ENDPOINT)]
