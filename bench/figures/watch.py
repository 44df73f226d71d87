"""Twenty watches at once: requests per poll, counted by the marketplace's journal.

First in one process, each watch in its own thread of one client; then each watch in its own process
with the same key and state folder. Also the CPU time of one check, without the request.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bench.pairs import Pairs
from bench.report import Row, timed
from clore_ai import CloreAI
from clore_ai._api.steps import clock
from clore_ai.rental.market import listing
from clore_ai.rental.watch import market

if TYPE_CHECKING:
    from bench.setting import Setting
    from clore_sandbox import Sandbox

WATCHES = 20
PROCESSES = 5
EVERY_S = 2.0
POLLS = 5
NOBODY = "http://127.0.0.1:9/v1"
WORKER = Path(__file__).parents[1] / "workers" / "watch.py"


def measure(setting: Setting) -> list[Row]:
    """Measure the threads of one process, then several processes."""
    polls = 2 if setting.quick else POLLS
    watches, processes = (4, 2) if setting.quick else (WATCHES, PROCESSES)
    with ThreadPoolExecutor() as pool:  # they wait, each at its own marketplace
        waiting = [
            pool.submit(_threads, setting, polls, watches),
            pool.submit(_processes, setting, polls, watches, processes),
        ]
    return [*(row.result() for row in waiting), _look(setting, watches)]


def _look(setting: Setting, count: int) -> Row:
    """One check of all watches on a marketplace that has been read."""
    records = json.loads(setting.body.read_bytes())["servers"]
    limits = [0.05 * (number + 1) for number in range(count)]
    took: list[float] = []
    for _ in range(setting.runs):
        with CloreAI("k", NOBODY) as client:
            client.session.market.alone(records, client.drive(clock()))
            watches = [market.Watch(listing.Filter(max_price_usd=limit)) for limit in limits]
            state = market.MarketWatch.of(watches, EVERY_S, None)
            start = time.process_time()
            client.drive(market.look(client.session, state))
            took.append(time.process_time() - start)
    return timed(
        f"CPU of a look of {count} watches at {len(records)} servers",
        Pairs(took, []),
        notes=["each with another price, so that most servers fit some; in one process."],
    )


def _threads(setting: Setting, polls: int, watches: int) -> Row:
    with setting.sandbox() as sandbox, CloreAI(sandbox.api_key, sandbox.base_url) as client:

        def one(number: int) -> None:
            limit = 0.05 * (number + 1)
            for _ in client.watch(max_price_usd=limit, every=EVERY_S, timeout=_lasts_s(polls)):
                pass

        threads = [threading.Thread(target=one, args=(n,)) for n in range(watches)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return _row(f"{watches} watches of one client", sandbox)


def _processes(setting: Setting, polls: int, watches: int, processes: int) -> Row:
    words = [str(setting.places.ours.python), str(WORKER), str(setting.folder / "watches")]
    words += [str(watches // processes), str(EVERY_S), str(_lasts_s(polls))]
    with setting.sandbox() as sandbox:
        running = [subprocess.Popen(words, env=setting.environ(sandbox)) for _ in range(processes)]
        if any(process.wait() for process in running):
            raise RuntimeError(f"{WORKER.name} failed")
        return _row(f"{watches} watches in {processes} processes of one key", sandbox)


def _lasts_s(polls: int) -> float:
    return EVERY_S * (polls - 0.5)


def _row(what: str, sandbox: Sandbox) -> Row:
    """Requests per poll, from the time between the first and the last."""
    times = [entry.time for entry in sandbox.journal("marketplace")]
    polls = round((times[-1] - times[0]) / EVERY_S) + 1
    return Row(
        what,
        f"{len(times)} requests in {polls} polls, {len(times) / polls:.2f} a poll",
        target="1 a poll",
        met=len(times) <= polls,
        notes=[f"a poll in {EVERY_S:g} s, at the service's own pace; counted by the journal."],
    )
