"""Both drivers perform each kind of step alike: one table, so that no flow is tested twice."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Callable

import pytest
from wire import RESET, Wire, http, says

from clore_ai._api.call import Call
from clore_ai._api.steps import (
    Backoff,
    Clock,
    Done,
    Exec,
    Fetch,
    Flow,
    Local,
    Post,
    Posted,
    Probe,
    Put,
    Send,
    Shared,
    Sleep,
    Turn,
    Way,
)
from clore_ai.exceptions import TransportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from clients import Api

    from clore_sandbox import Sandbox

BOTH_CLIENTS = "suite"
WALLETS: Call[Any] = Call("GET", "wallets", lambda body: body)
POSTED: Call[Any] = Call("POST", "cancel_order", lambda body: body, body={"id": 1})
BAD = b"HTTP/1.1 oh dear\r\n\r\n"
LONG = http(b'{"code":0}', length=1000)


def one(step: Any) -> Flow[Any]:
    return (yield step)


@pytest.fixture
def api(kind: str, api_of: Callable[..., Api], market: Sandbox) -> Api:
    return api_of(market)


def _fails(work: Callable[[], object]) -> str:
    with pytest.raises(TransportError) as caught:
        work()
    return f"{'maybe' if caught.value.maybe_acted else 'never'}: {caught.value}"


SENT: dict[str, tuple[Callable[[Wire], Iterable[bytes]], str]] = {
    "answered": (lambda _: [says(a=1)], "200"),
    "an error": (lambda _: [http(b"no", "502 Bad Gateway")], "502"),
    "closed": (lambda _: [b""], "maybe: wallets: the connection was cut"),
    "reset": (lambda _: [RESET], "maybe: wallets: the connection was cut"),
    "cut in its body": (lambda _: [LONG], "maybe: wallets: the connection was cut"),
    "cut in its head": (lambda _: [LONG[:20], RESET], "maybe: wallets: the connection was cut"),
    "no HTTP": (lambda _: [BAD], "maybe: wallets: the connection was cut"),
    "silent": (lambda wire: wire.drip([b"", b""], 60), "maybe: wallets: no answer in time"),
    "dripped": (
        lambda wire: wire.drip(itertools.chain([LONG], itertools.repeat(b" ")), 0.02),
        "maybe: wallets: no answer in time",
    ),
}
"""The behaviour of a server, and the result."""


@pytest.mark.parametrize("what", SENT)
def test_a_request(api_of: Callable[..., Api], market: Sandbox, what: str) -> None:
    """Its result is the answer, or an error that knows if the service may have acted."""
    pieces, expected = SENT[what]
    with Wire(lambda *_: pieces(wire)) as wire:
        client = api_of(market, base_url=wire.url)
        step = Send(WALLETS, within_s=0.5)
        if expected.isdigit():
            assert client.drive(one(step)).status == int(expected)
        else:
            assert _fails(lambda: client.drive(one(step))).startswith(expected)
    assert wire.paths == ["wallets"]


def test_a_request_without_a_listener(api_of: Callable[..., Api], market: Sandbox) -> None:
    """Certainly nothing was done."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    client = api_of(market, base_url=f"http://127.0.0.1:{port}/v1")
    assert _fails(lambda: client.drive(one(Send(POSTED)))).startswith("never: ")


def test_time_and_turns(api: Api) -> None:
    """A turn follows the pace or is too late; a backoff delays the next; a sleep sleeps."""
    api.client.rate_limiter.min_interval = 0.2
    before = api.drive(one(Clock()))
    assert abs(before.wall - time.time()) < 60
    for _ in range(2):
        api.drive(one(Turn(False)))
    assert api.drive(one(Clock())).mono - before.mono >= 0.2
    api.drive(one(Backoff(30)))
    with pytest.raises(TimeoutError):
        api.drive(one(Turn(False, within_s=0.05)))
    before = api.drive(one(Clock()))
    api.drive(one(Sleep(0.05)))
    assert api.drive(one(Clock())).mono - before.mono >= 0.05


@pytest.fixture
def greeting() -> Iterator[Callable[[bytes], int]]:
    """Makes ports that greet with these bytes."""
    made: list[socket.socket] = []

    def serve(said: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        made.append(listener)

        def speak() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(said)
            except OSError:
                return

        threading.Thread(target=speak, daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    yield serve
    for listener in made:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_does_ssh_answer(api: Api, greeting: Callable[[bytes], int]) -> None:
    """The server greets, is silent, its port is closed, or its name is invalid."""
    for said, expected in ((b"SSH-2.0-x\r\n", True), (b"HTTP/1.1", False), (b"", False)):
        assert api.drive(one(Probe("127.0.0.1", greeting(said), 5))) is expected
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert api.drive(one(Probe("127.0.0.1", port, 5))) is False
    why = api.drive(one(Probe("no-such-host.invalid", port, 5)))
    assert why is False or "no-such-host.invalid" in why


def test_is_there_a_route(api: Api, greeting: Callable[[bytes], int]) -> None:
    port = greeting(b"")
    assert api.drive(one(Way("127.0.0.1", port))) == ""
    assert api.drive(one(Way("127.0.0.1", port, opens=True))) == ""


def test_a_program(api: Api) -> None:
    """It returns exit code and output; it may be missing or take too long."""
    done = api.drive(one(Exec(("sh", "-c", "cat; echo e >&2; exit 3"), b"in")))
    assert done == Done(3, b"in", b"e\n")
    assert api.drive(one(Exec(("no-such-program-of-ours",)))).code == 127
    assert api.drive(one(Exec(("sleep", "60"), within_s=0.2))).code is None


def _shell(line: str) -> tuple[str, ...]:
    return ("sh", "-c", line)


def test_copies(api: Api, tmp_path: Path) -> None:
    """Upload and download; a missing file is an error of ours."""
    here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
    for folder in (here, there):
        folder.mkdir()
    (here / "a").write_text("content")
    api.drive(one(Put(_shell, here, str(there))))
    assert (there / "a").read_text() == "content"
    assert api.drive(one(Fetch(_shell, str(there), back, 1000))) == {}
    assert (back / "a").read_text() == "content"
    assert "does not exist on the machine" in _fails(
        lambda: api.drive(one(Fetch(_shell, str(there / "b"), back, 1000)))
    )


def test_a_message_to_a_url_of_the_user(api: Api) -> None:
    """The result is its status or the reason for none; the key is never sent."""
    with Wire(lambda *_: [http(b"", "204 No Content")]) as wire:
        assert api.drive(one(Post(f"{wire.url}/x", b"{}"))) == Posted(204)
    assert api.key not in wire.asked[0]
    answer = api.drive(one(Post(f"{wire.url}/x", b"{}")))
    assert answer.status is None
    assert answer.why


def test_concurrent_callers_share_a_result(kind: str, api: Api) -> None:
    """`make` is called once, even if it fails."""
    made = itertools.count()

    def make() -> Flow[int]:
        yield Sleep(0.3)
        return next(made)

    def broken() -> Flow[int]:
        yield Sleep(0.3)
        raise OSError(next(made))

    assert api.at_once(*[("drive", {"flow": one(Shared("a", make))}) for _ in range(3)]) == [0] * 3
    failures = api.at_once(*[("drive", {"flow": one(Shared("a", broken))}) for _ in range(3)])
    assert [exc.args for exc in failures] == [(1,)] * 3


def test_local_work(api: Api) -> None:
    """The flow gets its result or its failure."""
    assert api.drive(one(Local(lambda: 7))) == 7

    def work() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        api.drive(one(Local(work)))


def test_a_flow_handles_the_error_of_a_step_and_is_closed(api: Api) -> None:
    """The handler may take further steps."""
    said: list[str] = []

    def flow() -> Flow[str]:
        try:
            yield Turn(False, within_s=-1)
        except TimeoutError:
            said.append("late")
        finally:
            yield Sleep(0)
            said.append("closed")
        return "result"

    api.client.rate_limiter.min_interval = 5
    api.drive(one(Backoff(30)))
    assert api.drive(flow()) == "result"
    assert said == ["late", "closed"]
