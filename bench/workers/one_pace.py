"""One of many processes with one key: `one_pace.py HOME CALLS`; ours only.

Prints `ready`, waits for a line, makes its calls, and prints how long each waited, in seconds, and
how many failed after all retries. If CALLS is `store`, it prints `ready` inside a transaction; if
`reserved`, with twenty calls waiting for reserved times. Both then wait to be killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from clore_ai import CloreAI, CloreAPIError, RateLimiter
from clore_ai._state.pace import Pace
from clore_ai._state.store import Store

if TYPE_CHECKING:
    import sqlite3

HOME, CALLS = Path(sys.argv[1]), sys.argv[2]


def ready() -> None:
    print("ready", flush=True)


def calls() -> None:
    waits: list[float] = []
    failed = 0
    with CloreAI(state=HOME) as client:
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


def hold(_db: sqlite3.Connection) -> None:
    ready()
    sys.stdin.readline()


async def reserved() -> None:
    limiter = RateLimiter(shared=Pace(Store(HOME)))
    waits = [asyncio.ensure_future(limiter.wait_async()) for _ in range(20)]
    await asyncio.sleep(0.1)
    ready()
    await asyncio.gather(*waits)


if CALLS == "store":
    Store(HOME).run(hold)
elif CALLS == "reserved":
    asyncio.run(reserved())
else:
    calls()
