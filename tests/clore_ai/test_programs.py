"""The steps `Exec` and `Post`: programs of this machine, and others' addresses, by both drivers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from leaks import answering

from clore_ai import AsyncCloreAI, CloreAI
from clore_ai._flow import Done, Exec, Flow, Post, Posted

if TYPE_CHECKING:
    from pathlib import Path


def one(step: Exec) -> Flow[Done]:
    done: Done = yield step
    return done


def two(first: Exec, then: Exec) -> Flow[Done]:
    """The second is the flow's clean-up."""
    try:
        return (yield first)
    finally:
        yield then


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest, home: Path) -> Any:
    if request.param == "sync":
        with CloreAI("k", "http://127.0.0.1:9/v1") as api:
            yield api.drive
        return

    def in_loop(flow: Flow[Any]) -> Any:
        async def main() -> Any:
            async with AsyncCloreAI("k", "http://127.0.0.1:9/v1") as api:
                return await api.drive(flow)

        return asyncio.run(main())

    yield in_loop


def test_what_it_says_and_how_it_ends(drive: Any) -> None:
    done = drive(one(Exec(("sh", "-c", "cat; echo bad >&2; exit 3"), b"in\0put")))
    assert done == Done(3, b"in\0put", b"bad\n")
    assert drive(one(Exec(("sh", "-c", "kill -9 $$")))).code == -9
    assert drive(one(Exec(("true",), b"x" * 1_000_000))).code == 0  # it does not read it


def test_a_program_that_is_not_here(drive: Any) -> None:
    done = drive(one(Exec(("no-such-program-of-ours", "x"))))
    assert done.code == 127
    assert b"No such file" in done.err


def test_one_that_takes_too_long_is_ended_with_all_that_it_started(drive: Any) -> None:
    """Also what it started in the background, which holds the pipes."""
    mark = f"sleep 61.{os.getpid()}"
    done = drive(one(Exec(("sh", "-c", f"echo begun; {mark} & {mark}"), within_s=0.5)))
    assert (done.code, done.out) == (None, b"begun\n")
    assert mark not in _running()


_STOPPED = """
import asyncio, sys
from clore_ai import AsyncCloreAI, CloreAI
from clore_ai._flow import Exec
def flow():
    try:
        say = 'echo $$ > "$1.part"; mv "$1.part" "$1"; sleep 62'
        yield Exec(("sh", "-c", say, "sh", sys.argv[2]))
    finally:
        done = yield Exec(("echo", "clean"))
        print(done.out.decode(), end="", flush=True)
async def main():
    async with AsyncCloreAI("k", "http://127.0.0.1:9/v1") as api:
        await api.drive(flow())
try:
    if sys.argv[1] == "sync":
        CloreAI("k", "http://127.0.0.1:9/v1").drive(flow())
    else:
        asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_ctrl_c_ends_it_and_the_flow_cleans_up(kind: str, home: Path, tmp_path: Path) -> None:
    """With a program of its own; the one that ran is gone."""
    said = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", _STOPPED, kind, str(said)], stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not said.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "clean\ninterrupted\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.read_text()), 0)


def _running() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


# -- the step `Post` ---------------------------------------------------------------------------


def sent(step: Post) -> Flow[Posted]:
    posted: Posted = yield step
    return posted


def test_what_is_posted_goes_without_the_key(drive: Any) -> None:
    """As it is, as JSON; the answer's status comes back, whatever it is."""
    got: list[str] = []

    def answer(what: str) -> tuple[int, str, str]:
        got.append(what)
        return 418, "text/plain", "no"

    with answering(answer) as address:
        assert drive(sent(Post(f"{address}/hook", b'{"a": 1}'))) == Posted(418)
    (what,) = got
    assert what.startswith("/v1/hook ")
    assert what.endswith('{"a": 1}')
    assert "application/json" in what
    assert "'auth'" not in what.lower()


def test_why_nothing_came_back_names_no_address(drive: Any) -> None:
    """Nobody there, no name, no answer in time: a few words."""
    assert drive(sent(Post("http://127.0.0.1:9/x", b""))) == Posted(None, "it can't be reached")
    assert drive(sent(Post("http://a b/x", b""))).status is None
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/x"
        assert drive(sent(Post(url, b"", 0.3))) == Posted(None, "no answer in time")
    assert "secret" not in repr(Post("http://h/secret", b""))
