"""Signals belong to the calling program: the client installs no handler; Ctrl-C harms nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from waiting import until

from clore_ai import CloreAI
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_RENTS = """
import asyncio, signal, sys

called = []

def recording(name):
    real = getattr(signal, name)
    def call(*args):
        called.append((name, *args))
        return real(*args)
    setattr(signal, name, call)

for name in ("signal", "set_wakeup_fd", "siginterrupt"):
    recording(name)
before = [signal.getsignal(each) for each in signal.valid_signals()]

from clore_ai import AsyncCloreAI, CloreAI

def check():
    assert [signal.getsignal(each) for each in signal.valid_signals()] == before, before
    assert called == [], called

state, folder = sys.argv[1:]

def sync():
    with CloreAI(state=state) as client:
        with client.rent("RTX 4090", on_event=lambda _: check()) as rental:
            assert rental.exec("true").code == 0
            assert client.run("true", rental.order_id, folder=folder).code == 0
            check()
        order = client.create_order(client.marketplace("3090")[0].id, "i", "on-demand", "bitcoin")
        client.cancel_order(order.id)

async def not_sync():
    async with AsyncCloreAI(state=state) as client:
        async with client.rent("RTX 4090", on_event=lambda _: check()) as rental:
            assert (await rental.exec("true")).code == 0
            assert (await client.run("true", rental.order_id, folder=folder)).code == 0
            check()
        found = await client.marketplace("3090")
        order = await client.create_order(found[0].id, "i", "on-demand", "bitcoin")
        await client.cancel_order(order.id)

sync()
# `asyncio.run`, of the program that uses us, has a handler of its own.
loop = asyncio.new_event_loop()
loop.run_until_complete(not_sync())
loop.close()
check()
print("unchanged")
"""


def test_no_handler_is_ever_installed(tmp_path: Path) -> None:
    """None is installed in a whole rental with a command, a job and a cancelled order."""
    (tmp_path / "work").mkdir()
    with Sandbox(visibility_lag_s=0.05, boot_s=0.1, limits=False) as market:
        done = subprocess.run(
            [sys.executable, "-c", _RENTS, str(tmp_path / "state"), str(tmp_path / "work")],
            env={
                "PATH": os.environ["PATH"], "HOME": str(tmp_path), "CLORE_API_KEY": market.api_key,
                "CLORE_BASE_URL": market.base_url, "CLORE_REQUESTS_PER_SECOND": "1000",
            },
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert (done.stdout, done.returncode) == ("unchanged\n", 0), done.stderr


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's default handler of Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Silent:
    """A server that accepts connections and never sends a byte."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self.listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        for each in (self.listener, *self.taken):
            each.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def press_once(silent: Silent) -> threading.Thread:
    """Press Ctrl-C once the server has a connection."""

    def press() -> None:
        until(lambda: silent.taken, "the connection")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_call_to_a_silent_server(scheme: str, silent: Silent) -> None:
    """The server stops in its answer or in the handshake; the call and `close` end at once."""
    client = CloreAI("key", f"{scheme}://127.0.0.1:{silent.port}/v1", max_retries=0)
    presser = press_once(silent)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.wallets()
    client.close()
    assert time.monotonic() - began < 15  # the timeout is 30 s
    presser.join()


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_leaves_other_threads_alone(silent: Silent) -> None:
    """Their calls are answered, although the main thread's call is interrupted."""
    with Sandbox(provision=False) as market:
        client = CloreAI(market.api_key, market.base_url)
        client.rate_limiter.min_interval = 0
        client.wallets()
        market.fault("my_orders", "late", delay_s=60)
        market.fault("wallets", "late", delay_s=3)
        found: list[Any] = []
        other = threading.Thread(target=lambda: found.append(client.wallets()))
        other.start()

        def press() -> None:
            until(lambda: market.journal("my_orders"), "the call of the main thread")
            os.kill(os.getpid(), signal.SIGINT)

        presser = threading.Thread(target=press)
        presser.start()
        with pytest.raises(KeyboardInterrupt):
            client.my_orders()
        other.join()
        presser.join()
        assert len(found[0]) == 3
        client.close()


_LEFT = """
import os, signal, sys, threading, time, warnings
from clore_ai import CloreAI

def held():
    return sorted(each for each in os.listdir("/proc/self/fd"))

signal.signal(signal.SIGINT, signal.default_int_handler)
client = CloreAI("key", sys.argv[1], max_retries=0)
before = held()
for _ in range(3):
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        client.wallets()
    except KeyboardInterrupt:
        pass
print(len(held()) - len(before), threading.active_count())
client.close()
"""


def test_ctrl_c_leaves_no_socket_or_thread(silent: Silent) -> None:
    """Python also gives no warning of one, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", _LEFT, f"http://127.0.0.1:{silent.port}"],
        env={"CLORE_REQUESTS_PER_SECOND": "1000", "HOME": "/nowhere"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0 1\n", "")
