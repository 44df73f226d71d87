"""Ctrl-C and cancelled tasks end a call at once; an order that may be billed stays recorded."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import programs
import pytest
from clients import Api

from clore_ai import AsyncCloreAI, CloreAI
from clore_ai.exceptions import OrderUncertain

if TYPE_CHECKING:
    import subprocess

RENT = {"image": "i", "type": "on-demand", "currency": "bitcoin"}


def until(condition: Any, timeout_s: float = 60) -> Any:
    """Wait until the condition is true, and return its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def unpaced(client: Any) -> Any:
    client.rate_limiter.min_interval = client.rate_limiter.create_order_delay = 0
    return client


@pytest.fixture
def watcher(market):
    """A blocking client that shows what an account really has."""
    api = Api("sync", market)
    yield api
    api.shut()


def test_a_cancelled_task_leaves_the_intent_uncertain(market, server, watcher):
    """The task is cancelled after the order was made and before its answer has arrived."""

    async def main() -> AsyncCloreAI:
        async with AsyncCloreAI(watcher.key, market.base_url) as client:
            unpaced(client)
            watcher.fault("create_order", "late", delay_s=1)
            task = asyncio.ensure_future(client.create_order(server, **RENT))
            await asyncio.to_thread(until, watcher.my_orders)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
        return client

    client = asyncio.run(main())
    (intent,) = client.ledger.unsettled()
    assert (intent.state, intent.server_id, intent.order_id) == ("uncertain", server, None)


def test_a_task_cancelled_before_sending_leaves_nothing(market, server, watcher):
    """While the task waited for its pace, nothing was sent, so no intent is open."""

    async def main() -> AsyncCloreAI:
        async with AsyncCloreAI(watcher.key, market.base_url) as client:
            client.rate_limiter.set_backoff(60)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.create_order(server, **RENT), 0.1)
        return client

    client = asyncio.run(main())
    assert client.ledger.unsettled() == []
    assert watcher.entries() == []


def test_one_cancelled_caller_does_not_cancel_a_shared_request(market, watcher):
    """Of two callers that share a marketplace request one is cancelled; the other gets servers."""

    async def main() -> list[Any]:
        async with AsyncCloreAI(watcher.key, market.base_url) as client:
            watcher.fault("marketplace", "late", delay_s=0.4)
            first = asyncio.ensure_future(client.marketplace())
            second = asyncio.ensure_future(client.marketplace())
            await asyncio.sleep(0.1)
            first.cancel()
            return await second

    assert asyncio.run(main())
    assert len(watcher.entries("marketplace")) == 1


@pytest.mark.parametrize("how", ["cancelled", "closed", "closed twice"])
def test_a_loop_that_ends_leaves_no_warning(how, market, watcher):
    """No task is left pending and no exception unretrieved, whatever was in progress."""

    async def main() -> None:
        client = unpaced(AsyncCloreAI(watcher.key, market.base_url))
        await client.wallets()
        if how == "cancelled":
            watcher.fault("marketplace", "late", delay_s=0.3)
            task = asyncio.ensure_future(client.marketplace())
            await asyncio.sleep(0.1)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await client.close()
        if how == "closed twice":
            await client.close()

    asyncio.run(main())
    gc.collect()  # destructors warn here, and a warning is an error


PROGRAM = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # may be ignored in the background
from clore_ai import CloreAI
client = CloreAI(max_retries=0)
client.rate_limiter.min_interval = client.rate_limiter.create_order_delay = 0
"""
CREATING = """
try:
    client.create_order(int(sys.argv[1]), "i", "on-demand", "bitcoin")
except KeyboardInterrupt:
    print([(i.state, i.server_id) for i in client.ledger.unsettled()])
"""
WAITING = """
threading.Thread(target=client.marketplace, daemon=True).start()
time.sleep(0.3)
print("waiting", flush=True)
start = time.monotonic()
try:
    client.marketplace()
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - start < 3)
"""
ASKING = """
found = []
def other():
    time.sleep(0.3)
    print("waiting", flush=True)
    found.append(client.marketplace())
thread = threading.Thread(target=other)
thread.start()
try:
    client.marketplace()
except KeyboardInterrupt:
    print("interrupted")
thread.join()
print(len(found[0]) > 50)
"""


def program(market, watcher, code: str, *words: object) -> subprocess.Popen[str]:
    env = {"CLORE_BASE_URL": market.base_url, "CLORE_API_KEY": watcher.key, "HOME": "/nowhere"}
    return programs.start(PROGRAM + code, *words, env=env)


def test_ctrl_c_leaves_the_intent_uncertain(market, server, watcher):
    """A real SIGINT arrives while the answer is on its way."""
    watcher.fault("create_order", "late", delay_s=2)
    with program(market, watcher, CREATING, server) as running:
        until(watcher.my_orders)
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=15)[0] == f"[('uncertain', {server})]\n"


def test_ctrl_c_ends_the_wait_for_another_thread_s_request(market, watcher):
    """A thread that waits for another's marketplace request is interrupted at once."""
    watcher.fault("marketplace", "late", delay_s=5)
    with program(market, watcher, WAITING) as running:
        assert running.stdout.readline() == "waiting\n"
        time.sleep(0.2)  # time to get from the print to the wait
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=15)[0] == "interrupted True\n"


def test_ctrl_c_in_the_requesting_thread_spares_the_waiting_one(market, watcher):
    """The thread that waited sends its own request and gets its servers."""
    watcher.fault("marketplace", "late", delay_s=1.5)
    with program(market, watcher, ASKING) as running:
        assert running.stdout.readline() == "waiting\n"
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=15)[0] == "interrupted\nTrue\n"
    assert len(until(lambda: watcher.entries("marketplace")[1:])) == 1


def test_threads_of_one_client_do_not_mix_answers(market, watcher, server_of):
    """Eight threads make different calls, many times over, and each gets its own answer."""
    servers = [server_of(market) for _ in range(2)]
    client = unpaced(CloreAI(watcher.key, market.base_url))
    wrong: list[object] = []

    def spin(call: Any, good: Any) -> None:
        for _ in range(15):
            try:
                answer = call()
            except Exception as exc:  # noqa: BLE001 - reported below
                wrong.append(exc)
            else:
                if not good(answer):
                    wrong.append(answer)

    jobs = [
        (client.wallets, lambda a: len(a) == 3),
        (client.my_orders, lambda a: a == []),
        (lambda: client.marketplace("4090"), lambda a: all(s.matches_gpu("4090") for s in a)),
        (client.my_servers, lambda a: a == []),
        *((lambda s=s: client.spot_marketplace(s), lambda a: a.server.online) for s in servers),
    ]
    threads = [threading.Thread(target=spin, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert wrong == []


def test_an_uncertain_order_can_be_found_again(own_market, server_of):
    """After OrderUncertain the same `client_ref` finds the order and rents nothing."""
    market = own_market(visibility_lag_s=1, provision=False)
    api, server = Api("sync", market), server_of(market)
    api.session.look_for_s = 0
    api.fault("create_order", "act_then_cut")
    with pytest.raises(OrderUncertain):
        api.rent(server, client_ref="job")
    assert len(api.ledger.unsettled()) == 1
    api.session.look_for_s = 5
    assert api.rent(server, client_ref="job").server_id == server
    assert api.ledger.unsettled() == []
    assert len(api.entries("create_order")) == 1
    api.shut()
