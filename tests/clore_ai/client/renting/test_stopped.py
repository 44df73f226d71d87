"""A rental that is stopped at any moment, by a cancelled task or Ctrl-C, leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

import programs
import pytest
from clients import Api

from clore_ai import AsyncCloreAI

USD = "USD-Blockchain"


@pytest.mark.parametrize("moment", ["created", "late"])
def test_a_cancelled_task_leaves_nothing_running(market, tmp_path, moment):
    """If the answer to its order is still on the way, the order is looked for first."""
    watcher = Api("sync", market)

    async def main() -> None:
        came = asyncio.Event()
        async with AsyncCloreAI(watcher.key, market.base_url, state=tmp_path) as client:
            client.rate_limiter.min_interval = client.rate_limiter.create_order_delay = 0
            if moment == "late":
                watcher.fault("create_order", "late", delay_s=1)
            else:
                watcher.fault("create_order", "never_boots")
            rental = client.rent(
                "RTX 4090", on_event=lambda e: came.set() if e.what == "created" else None
            )
            task = asyncio.ensure_future(rental.start())
            if moment == "late":
                while not await asyncio.to_thread(watcher.my_orders):
                    pass
            else:
                await came.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert rental.events[-1].what == "cancelled"
            assert rental.order_id is not None

    try:
        asyncio.run(main())
        assert [o.id for o in watcher.my_orders() if o.active] == []
        assert len([e for e in watcher.entries("create_order") if e.order is not None]) == 1
    finally:
        watcher.shut()


SCRIPT = """
import sys, time
from clore_ai import CloreAI
with CloreAI(state=sys.argv[1]) as client:
    client.rate_limiter.min_interval = client.rate_limiter.create_order_delay = 0
    def on_event(event):
        print(event.what, event.order_id, flush=True)
        if event.what == sys.argv[2]:
            time.sleep(1)
    with client.rent("RTX 4090", on_event=on_event) as rental:
        print("in", flush=True)
        rental.exec("sleep 600")
"""


@pytest.mark.parametrize("moment", ["created", "rented", "in"])
def test_ctrl_c_cancels_the_order(market, tmp_path, moment):
    """Ctrl-C may come during boot, between the last step and the return, or in the block."""
    watcher = Api("sync", market)
    if moment == "created":
        watcher.fault("create_order", "never_boots")
    env = {"PATH": os.environ["PATH"], "CLORE_API_KEY": watcher.key}
    env["CLORE_BASE_URL"] = market.base_url
    env |= {"CLORE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    process = programs.start(SCRIPT, tmp_path, moment, env=env, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(moment):
                break
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=30)
        assert "KeyboardInterrupt" in err
        assert [o.id for o in watcher.my_orders() if o.active] == []
    finally:
        process.kill()
        process.communicate()
        watcher.shut()
