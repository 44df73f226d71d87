"""The steps `Exec` and `Post`, local programs and other addresses, in both drivers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import programs
import pytest
from leaks import answering
from waiting import until
from wire import Wire

from clore_ai import AsyncCloreAI, CloreAI
from clore_ai._api.steps import Done, Exec, Flow, Post, Posted


def one(step: Exec) -> Flow[Done]:
    done: Done = yield step
    return done


def two(first: Exec, then: Exec) -> Flow[Done]:
    """The second step is the flow's cleanup."""
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


def test_output_and_exit_code(drive: Any) -> None:
    done = drive(one(Exec(("sh", "-c", "cat; echo bad >&2; exit 3"), b"in\0put")))
    assert done == Done(3, b"in\0put", b"bad\n")
    assert drive(one(Exec(("sh", "-c", "kill -9 $$")))).code == -9
    assert drive(one(Exec(("true",), b"x" * 1_000_000))).code == 0  # it does not read its input


def test_a_missing_program(drive: Any) -> None:
    done = drive(one(Exec(("no-such-program-of-ours", "x"))))
    assert done.code == 127
    assert b"No such file" in done.err


def test_a_program_that_takes_too_long_is_ended_with_its_children(drive: Any) -> None:
    """Background children that hold the pipes end too."""
    mark = f"sleep 61.{os.getpid()}"
    done = drive(one(Exec(("sh", "-c", f"echo begun; {mark} & {mark}"), within_s=2)))
    assert (done.code, done.out) == (None, b"begun\n")
    until(lambda: mark not in _running(), "the end of its children")


def test_a_program_with_endless_output_is_ended(drive: Any) -> None:
    """Its output is bounded, and so is the stored part of its errors."""
    done = drive(one(Exec(("sh", "-c", "yes >&2 & exec yes"), most=100_000)))
    assert (done.code, done.flooded, done.out) == (None, True, b"")
    assert len(done.err) <= 1 << 16


def test_pipes_that_another_process_holds_are_not_waited_for(drive: Any) -> None:
    """A control master holds those of a killed client; here a process of another session."""
    mark = f"sleep 63.{os.getpid()}"
    began = time.monotonic()
    try:
        assert drive(one(Exec(("sh", "-c", f"setsid {mark} & echo out; exit 3")))).code == 3
        line = f"setsid {mark} & echo out; exec sleep 600"
        done = drive(one(Exec(("sh", "-c", line), within_s=0.5)))
        assert (done.code, done.out) == (None, b"out\n")
        assert time.monotonic() - began < 20
    finally:
        subprocess.run(["pkill", "-f", mark], check=False)


def test_an_idle_program_is_ended(drive: Any) -> None:
    """`silent_s` suits transfers that may take hours as long as data moves."""
    pieces = (b"x" * 65536 for _ in range(1000))
    done = drive(one(Exec(("sleep", "600"), pieces, silent_s=0.5)))
    assert done.code is None
    slow = "for i in 1 2 3 4; do echo $i; sleep 0.3; done"
    assert drive(one(Exec(("sh", "-c", slow), silent_s=2))).code == 0


_KILLED = """
import asyncio, sys
from clore_ai._api.steps import Exec
from clore_ai._ssh import async_programs, programs
say = 'echo $$ > "$1.part"; mv "$1.part" "$1"; exec sleep 64'
words = ("sh", "-c", say, "sh", sys.argv[2])
if sys.argv[1] == "sync":
    programs.run(Exec(words))
else:
    async def main():
        await (await async_programs.start(words)).wait()
    asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_program_outlives_a_kill(kind: str, tmp_path: Path) -> None:
    """Programs of a killed process (-9) end: no ssh stays, nor a port of one."""
    said = tmp_path / "pid"
    with programs.start(_KILLED, kind, said) as process:
        until(said.exists, "the program", 30)
        process.kill()
        process.wait(30)
    pid = int(said.read_text())
    until(lambda: not Path(f"/proc/{pid}").exists(), "its end", 30)


_STOPPED = """
import asyncio, sys
from clore_ai import AsyncCloreAI, CloreAI
from clore_ai._api.steps import Exec
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
def test_ctrl_c_ends_the_program_and_the_flow_cleans_up(
    kind: str, home: Path, tmp_path: Path
) -> None:
    """The cleanup runs a program of its own; the first one is gone."""
    said = tmp_path / "pid"
    with programs.start(_STOPPED, kind, said) as process:
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


def test_a_post_never_carries_the_key(drive: Any) -> None:
    """The body is sent unchanged as JSON, and the answer's status is returned, whatever it is."""
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


def test_the_error_of_a_post_shows_no_url(drive: Any) -> None:
    """Nothing listens, the name is unknown, or no answer comes in time: a few words."""
    assert drive(sent(Post("http://127.0.0.1:9/x", b""))) == Posted(None, "it can't be reached")
    assert drive(sent(Post("http://a b/x", b""))).status is None
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/x"
        assert drive(sent(Post(url, b"", 0.3))) == Posted(None, "no answer in time")
    assert "secret" not in repr(Post("http://h/secret", b""))


@pytest.mark.parametrize(
    ("answer", "posted"),
    [
        ([b"HTTP/1.1 200 OK\r\n\r\n", *[b"a" * 65_536] * 10_000], Posted(200)),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"], Posted(200)),
        ([b"HTTP/1.1 200 OK\r\nX: ", *[b"a"] * 1_000], Posted(None, "no answer in time")),
    ],
    ids=["endless", "a body that never comes", "dripped headers"],
)
def test_of_the_answer_to_a_post_only_the_status_is_read(
    drive: Any, answer: list[bytes], posted: Posted
) -> None:
    """The receiver can neither fill the memory nor delay the watch."""
    with Wire(lambda *_: wire.drip(answer, 0.001 if len(answer) > 1_001 else 0.05)) as wire:
        start = time.monotonic()
        assert drive(sent(Post(wire.url, b"{}", 0.5))) == posted
        assert time.monotonic() - start < 5
