"""One of many processes with one key: `one_pace.py FILE CALLS`; ours only.

Says `ready`, waits for a line, makes its calls, and prints how long each waited, in seconds, and
how many failed for good. With `lock` or `places` for CALLS it prints `ready` and holds FILE's lock,
or twenty places in the queue, until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from clore_ai import CloreAI, CloreAPIError, RateLimiter

FILE, CALLS = Path(sys.argv[1]), sys.argv[2]  # the calls' is a state folder


def ready() -> None:
    print("ready", flush=True)


def calls() -> None:
    waits: list[float] = []
    failed = 0
    with CloreAI(state=FILE) as client:
        ready()
        sys.stdin.readline()
        for _ in range(int(CALLS)):
            start = time.monotonic()
            try:
                client.wallets()
            except CloreAPIError:
                failed += 1
            waits.append(time.monotonic() - start)
    print(json.dumps({"waits": waits, "failed": failed}))


async def places() -> None:
    limiter = RateLimiter(shared=FILE)
    waits = [asyncio.ensure_future(limiter.wait_async()) for _ in range(20)]
    await asyncio.sleep(0.1)
    ready()
    await asyncio.gather(*waits)


if CALLS == "lock":
    with RateLimiter(shared=FILE)._kept.open():  # noqa: SLF001 - to be killed with it in hand
        ready()
        sys.stdin.readline()
elif CALLS == "places":
    asyncio.run(places())
else:
    calls()
