"""Makes CALLS paced calls in either environment: `pace.py sync|threads|gather CALLS INTERVAL`.

INTERVAL is the limit's second in real seconds, as the market's time is scaled. Prints how many
calls failed despite the client's own retries.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clore_ai import AsyncCloreAI, CloreAI, CloreAPIError

MODE, CALLS, INTERVAL = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
THREADS = {"sync": 1, "threads": 8}


def environment() -> dict[str, Any]:
    """The address and key from the environment, which 0.1.1 does not read."""
    return {"api_key": os.environ["CLORE_API_KEY"], "base_url": os.environ["CLORE_BASE_URL"]}


def pace(client: CloreAI | AsyncCloreAI) -> None:
    client.rate_limiter.min_interval = INTERVAL
    client.rate_limiter.create_order_delay = 5 * INTERVAL


def in_threads(workers: int) -> int:
    """How many of the calls failed."""
    with CloreAI(**environment()) as client, ThreadPoolExecutor(workers) as pool:
        pace(client)

        def call(_number: int) -> bool:
            try:
                client.wallets()
            except CloreAPIError:
                return False
            return True

        return CALLS - sum(pool.map(call, range(CALLS)))


async def in_gather() -> int:
    """How many of the calls failed."""
    async with AsyncCloreAI(**environment()) as client:
        pace(client)
        done = await asyncio.gather(
            *(client.wallets() for _ in range(CALLS)), return_exceptions=True
        )
        return sum(isinstance(answer, BaseException) for answer in done)


failed = asyncio.run(in_gather()) if MODE == "gather" else in_threads(THREADS[MODE])
print(json.dumps({"failed": failed}))
