"""Clients that send anything, or nothing, over real sockets to a marketplace in its own process.

Each gets an envelope with a clear code; other clients are answered meanwhile; completed actions are
kept; and the log stays empty, as the marketplace did nothing wrong.
"""

import contextlib
import json
import re
import resource
import socket
import time
from pathlib import Path

import httpx
import pytest
import served
from served import QUICK

KEY = "key-of-a-bad-client"
MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


class Server:
    """The address of a marketplace, and its log."""

    def __init__(self, process, log):
        place = json.loads(process.stdout.readline())
        self.pid, self.log = process.pid, log
        self.base_url, self.control_key = place["base_url"], place["control_key"]
        self.port = int(self.base_url.rpartition(":")[2].partition("/")[0])
        self.client = httpx.Client(base_url=self.base_url, headers={"auth": KEY}, timeout=20)

    def answers_quickly(self):
        started = time.monotonic()
        assert self.client.get("/wallets").json()["code"] == 0
        return time.monotonic() - started < 2

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def say(self, *parts):
        """Send bytes, and read all answers until the server closes: [(status, body)]."""
        with self.connect() as sock:
            for part in parts:
                sock.sendall(part)
            return answers(sock)

    def memory_mib(self):
        """The memory of all its processes together."""
        found = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                status = dict(re.findall(r"(\w+):\s+(\d+)", (folder / "status").read_text()))
                if str(self.pid) in (folder.name, status["PPid"]):
                    found += int(status.get("VmRSS", 0))
        return found / 1024


def answers(sock, count=None):
    """Read answers from a connection until it closes or `count` have come."""
    data, found = b"", []
    while len(found) != count:
        head, gap, rest = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if gap and head.startswith(b"HTTP/1.1 100"):
            data = rest
        elif gap and len(rest) >= int(length[1]):
            body = rest[: int(length[1])]
            found.append((int(head.split()[1]), json.loads(body) if body else None))
            data = rest[int(length[1]) :]
        else:
            try:
                more = sock.recv(65_536)
            except ConnectionResetError:
                more = b""
            if not more:
                assert data == b"", "an incomplete answer"
                break
            data += more
    return found


def request(method, path, *headers, body=b"", key=KEY, last=True):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"auth: {key}"] if key else []
    lines += [f"Content-Length: {len(body)}"] if body else []
    lines += ["Connection: close"] if last else []
    raw = [h if isinstance(h, bytes) else h.encode() for h in headers]
    return b"\r\n".join([*(line.encode() for line in lines), *raw, b"", body])


@contextlib.contextmanager
def serve(log, *options, few_files=False):
    with log.open("w+") as err:
        code = "import resource, sys; from clore_sandbox.serve import main\n"
        if few_files:
            code += f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {MOST_FILES}))\n"
        code += f"sys.exit(main({[*QUICK, '--api-key', KEY, *options]}))"
        with served.python("-c", code, stderr=err, text=True) as process:
            try:
                server = Server(process, log)
                with server.client:
                    yield server
            finally:
                process.terminate()
            assert process.wait(20) == 0
    assert log.read_text() == ""


@pytest.fixture(
    scope="module",
    params=["1 process", pytest.param("2 workers", marks=pytest.mark.exhaustive)],
)
def shared(request, tmp_path_factory):
    """A marketplace of one process, and one of two workers; the log is checked at the end."""
    options = []
    if request.param == "2 workers":
        options = ["--db", request.getfixturevalue("postgres_server"), "--workers", "2"]
    with serve(tmp_path_factory.mktemp("log") / "log", *options) as server:
        yield server


@pytest.fixture
def server(shared):
    """After each test the next client is answered, and the log is empty."""
    before = shared.log.read_text()
    yield shared
    assert shared.answers_quickly()
    assert shared.log.read_text()[len(before) :] == ""


INVALID, NO_KEY, NO_ENDPOINT = {"code": 2}, {"code": 3}, {"code": 4}
ORDER = {"renting_server": 1, "type": "on-demand", "currency": "bitcoin", "image": "i"}


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
    for parts in ways * 5:
        ((status, answer),) = server.say(*parts)
        assert (status, answer["code"]) == expected.get((path, key), (401, 3))
    assert server.memory_mib() - before < 70, "of the hundred that were sent"


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
