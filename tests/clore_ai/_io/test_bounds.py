"""Reading an answer is bounded in bytes and time, and ends in an error of ours."""

from __future__ import annotations

import itertools
import time
import zlib
from typing import TYPE_CHECKING, Any, Callable

import pytest
from wire import Wire, http, says

from clore_ai._io.bounds import MOST_BYTES, Body
from clore_ai.exceptions import CloreAPIError, OrderUncertain, ResponseError, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clients import Api

    from clore_sandbox import Sandbox

    Make = Callable[..., Api]

BOTH_CLIENTS = "soak"
FAR_BELOW_S = 8.0
"""Without a bound these drips last for minutes or forever."""
ROW = {"id": 9, "si": 5, "currency": "bitcoin", "price": 1}


@pytest.fixture
def client_of(api_of: Make, market: Sandbox) -> Make:
    """A client of a server on a raw socket; it never retries."""
    return lambda wire, **more: api_of(market, base_url=wire.url, **{"max_retries": 0, **more})


def packed(pieces: Iterable[bytes]) -> bytes:
    """The data as one gzip."""
    pack = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join([*(pack.compress(piece) for piece in pieces), pack.flush()])


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """A list of orders: 100 MB in 100 kB."""
    megabytes = itertools.repeat(b"a" * (1 << 20), 100)
    body = packed([b'{"code":0,"orders":[],"more":"', *megabytes, b'"}'])
    return http(body, "200 OK", "Content-Encoding: gzip")


def test_a_gzip_bomb(client_of: Make, bomb: bytes) -> None:
    """It is unpacked up to the limit of an answer, and the error is one sentence."""
    with Wire(lambda _path, _number: [bomb]) as wire, pytest.raises(ResponseError) as caught:
        client_of(wire).my_orders()
    assert str(caught.value) == "my_orders: an answer of more than 64 MiB (HTTP 200)."


def test_a_gzip_bomb_for_a_new_order(client_of: Make, bomb: bytes) -> None:
    """The order may have been made: it is found or uncertain, and never sent again."""
    for rows in ([ROW], []):

        def answer(path: str, number: int, rows: list[Any] = rows) -> list[bytes]:
            return [bomb] if path == "create_order" else [says(orders=rows if number else [])]

        with Wire(answer) as wire:
            api = client_of(wire)
            api.session.look_for_s = 0.1
            if rows:
                assert api.rent(5).id == 9
            else:
                with pytest.raises(OrderUncertain, match="ResponseError"):
                    api.rent(5)
        assert wire.paths.count("create_order") == 1


@pytest.mark.parametrize(
    "status",
    [
        "401 Unauthorized",
        "500 Oh",
        *(pytest.param(s, marks=pytest.mark.exhaustive) for s in ("429 Busy", "404 None")),
    ],
)
def test_a_bomb_by_its_status(client_of: Make, bomb: bytes, status: str) -> None:
    """The HTTP status decides as for an answer that is read to its end."""
    answer = [bomb.replace(b"200 OK", status.encode(), 1)]
    with Wire(lambda *_: answer) as wire, pytest.raises(CloreAPIError) as caught:
        client_of(wire).wallets()
    assert caught.value.status == int(status[:3])


def test_plain_bytes_without_an_end(client_of: Make) -> None:
    """The server sends chunks of a megabyte forever."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    body = itertools.chain([head], itertools.repeat(chunk))
    with Wire(lambda *_: body) as wire, pytest.raises(ResponseError, match="more than 64 MiB"):
        client_of(wire).wallets()


def test_unexpected_encodings_are_not_unpacked(client_of: Make) -> None:
    """A doubly compressed answer or an unrequested encoding is not JSON, however small."""
    inner = packed(itertools.repeat(bytes(1 << 20), 64))
    for body, coding in ((packed([inner]), "gzip, gzip"), (zlib.compress(b"{}"), "deflate")):
        answer = [http(body, "200 OK", f"Content-Encoding: {coding}")]
        with (
            Wire(lambda *_, answer=answer: answer) as wire,
            pytest.raises(ResponseError, match="not JSON"),
        ):
            client_of(wire).wallets()
        assert "accept-encoding: gzip\r" in wire.asked[0].lower()


def test_gzip_is_still_understood(client_of: Make) -> None:
    """An answer in many small pieces is unpacked too."""
    body = packed([b'{"code":0,"wallets":[{"name":"bitcoin"}]}'])
    answer = http(body, "200 OK", "Content-Encoding: GZip")
    with Wire(lambda *_: (answer[i : i + 1] for i in range(len(answer)))) as wire:
        (wallet,) = client_of(wire).wallets()
    assert wallet.name == "bitcoin"


def test_empty_gzip_blocks_are_bounded_too() -> None:
    """A gzip may go on forever without a byte of content."""
    body = Body("gzip")
    head = packed([])[:10]
    assert body.add(head)
    empty = b"\x00\x00\x00\xff\xff" * 200_000
    rounds = sum(1 for _ in itertools.takewhile(body.add, itertools.repeat(empty)))
    assert rounds == MOST_BYTES // len(empty)
    assert body.content == b""


def _drips(wire: Wire, what: str) -> Iterable[bytes]:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    pieces: dict[str, Iterable[bytes]] = {
        "body": itertools.chain([head], itertools.repeat(b" ")),
        "headers": itertools.chain([b"HTTP/1.1 200 OK\r\nX: "], itertools.repeat(b"a")),
        "status": itertools.chain([b"HTTP/1.1 200 "], itertools.repeat(b"a")),
        "nothing yet": itertools.repeat(b"HTTP/1.1 102 Wait\r\n\r\n"),
    }
    return wire.drip(pieces[what], 0.05)


@pytest.mark.parametrize("what", ["body", "headers", "status", "nothing yet"])
def test_a_drip_ends(client_of: Make, what: str) -> None:
    """Each byte comes in time but the answer never ends: the limit is four times the timeout."""
    with Wire(lambda *_: _drips(wire, what)) as wire:
        start = time.monotonic()
        with pytest.raises(TransportError, match="no answer in time") as caught:
            client_of(wire, timeout=0.2).wallets()
        assert time.monotonic() - start < FAR_BELOW_S
    assert caught.value.maybe_acted


def test_a_drip_ends_with_the_deadline(client_of: Make) -> None:
    """The deadline of a call also applies to an answer that has begun."""
    with Wire(lambda *_: _drips(wire, "body")) as wire:
        start = time.monotonic()
        with pytest.raises(TransportError, match="no answer in time"):
            client_of(wire, deadline=0.5).wallets()
        assert time.monotonic() - start < FAR_BELOW_S


def test_a_dripped_answer_to_a_new_order(client_of: Make) -> None:
    """The call gives up and looks for the order."""

    def answer(path: str, number: int) -> Iterable[bytes]:
        rows = [ROW] if number else []
        return _drips(wire, "body") if path == "create_order" else [says(orders=rows)]

    with Wire(answer) as wire:
        assert client_of(wire, timeout=0.2).rent(5).id == 9
    assert wire.paths.count("create_order") == 1


def test_a_flood_of_informational_answers_ends(client_of: Make) -> None:
    """They come without pauses, so no timeout of a read would end them."""
    flood = itertools.repeat(b"HTTP/1.1 102 Wait\r\n\r\n" * 100)
    with Wire(lambda *_: flood) as wire:
        start = time.monotonic()
        with pytest.raises(TransportError):
            client_of(wire, timeout=0.1).wallets()
        assert time.monotonic() - start < FAR_BELOW_S


HEADS: dict[str, Callable[[], bytes]] = {
    "a header of 10 MB": lambda: b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10_000_000 + b"\r\n\r\n",
    "100,000 headers": lambda: b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "a length below 0": lambda: http(b"{}", length=-1),
    "a length of 10^30": lambda: http(b'{"code":0}', length=10**30),
    "two lengths": lambda: http(b'{"code":0}', "200 OK", "Content-Length: 3"),
    "a chunk of 10^30": lambda: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 26 + b"\r\n{}"
    ),
    "a status of 6 digits": lambda: http(b'{"code":0}', "200200 OK"),
    "HTTP/2": lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no text": lambda: bytes(range(256)) * 10,
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("head", HEADS)
def test_invalid_heads(client_of: Make, head: str) -> None:
    """The error is ours, and knows that the request has arrived."""
    answer = [HEADS[head]()]
    with Wire(lambda *_: answer) as wire, pytest.raises(TransportError) as caught:
        client_of(wire, timeout=2).wallets()
    assert caught.value.maybe_acted


# Made when used: they are of 60 MB, and each process of a test run reads this file.
JSON: dict[str, Callable[[], bytes]] = {
    "deep": lambda: b'{"code":0,"wallets":' + b"[" * 100_000,
    "deep and whole": lambda: b'{"code":0,"wallets":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deeper than others read": lambda: b'{"code":0,"wallets":' + b'{"a":' * 400 + b"1" + b"}" * 401,
    "a number of 10,000 digits": lambda: b'{"code":' + b"1" * 10_000 + b"}",
    "30 million numbers": lambda: b'{"code":0,"wallets":[' + b"1," * 30_000_000 + b"1]}",
    "20 million lists": lambda: b'{"code":0,"wallets":[' + b"[]," * 20_000_000 + b"[]]}",
    "300,000 wallets": lambda: b'{"code":0,"wallets":[' + b"{}," * 300_000 + b"{}]}",
}


@pytest.mark.parametrize("body", JSON)
def test_json_bombs(client_of: Make, body: str) -> None:
    """They cause neither a crash nor minutes of work: the answer is unusable."""
    answer = [http(JSON[body]())]
    start = time.monotonic()
    with Wire(lambda *_: answer) as wire, pytest.raises(ResponseError):
        client_of(wire).wallets()
    assert time.monotonic() - start < FAR_BELOW_S


def test_invalid_numbers(client_of: Make) -> None:
    """NaN and huge numbers cost the field, not the wallet or the answer."""
    odd = ["NaN", "-Infinity", "1e400", "1" * 400, "1" * 10_000, "9" * 400 + ".5", '"nan"']
    rows = ",".join(f'{{"name":"{n}","balance":{value}}}' for n, value in enumerate(odd))
    body = f'{{"code":0,"wallets":[{rows},{{"name":"good","balance":1.5}}]}}'.encode()
    with Wire(lambda *_: [http(body)]) as wire:
        wallets = client_of(wire).wallets()
    assert [w.balance for w in wallets] == [None] * len(odd) + [1.5]


def test_a_duplicate_name(client_of: Make) -> None:
    """The last one counts, as in all JSON parsers."""
    body = b'{"code":0,"code":6,"error":"not_enough_balance"}'
    with Wire(lambda *_: [http(body)]) as wire, pytest.raises(CloreAPIError, match="not_enough"):
        client_of(wire).wallets()


LOCATIONS = [
    "{other}/v1/wallets", "{other}", "//{other_host}/v1", "http://user:pw@{other_host}/", "../..",
    "http://{other_host}:99999/", "http://[::1", "javascript:alert(1)", "file:///etc/passwd", "",
    "http://\xff\xfe/", "http://{other_host}/" + "a" * 50_000, " {other}", "\t{other}", "?{other}",
]  # fmt: skip


@pytest.mark.parametrize(
    "status",
    [
        *(201, 302, 308, 401),
        *(
            pytest.param(status, marks=pytest.mark.exhaustive)
            for status in (300, 301, 303, 304, 305, 307, 399, 503)
        ),
    ],
)
def test_no_odd_answer_carries_the_key_elsewhere(client_of: Make, status: int) -> None:
    """Whatever its target, one request is sent, and none to the other host."""
    with Wire(lambda *_: [says()]) as other:

        def answer(_path: str, number: int) -> Iterable[bytes]:
            where = LOCATIONS[number % len(LOCATIONS)]
            where = where.format(other=other.url, other_host=f"127.0.0.1:{other.port}")
            more = (f"Location: {where}", f"Refresh: 0; url={where}", f"Alt-Svc: h2={where}")
            return [http(b"{}", f"{status} Go", *more).replace(b"\xc3\xbf", b"\xff")]

        with Wire(answer) as wire:
            api = client_of(wire, timeout=2)
            for call in (api.wallets, lambda: api.cancel_order(1)):
                for _ in LOCATIONS:
                    with pytest.raises(CloreAPIError):
                        call()
        assert len(wire.asked) == 2 * len(LOCATIONS)
        assert other.asked == []
