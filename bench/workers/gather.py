"""004's example in either environment: three `marketplace()` calls in one `asyncio.gather`."""

from __future__ import annotations

import asyncio
import json
import os

from clore_ai import AsyncCloreAI


async def compare() -> list[int]:
    """How many servers each call found."""
    async with AsyncCloreAI(base_url=os.environ["CLORE_BASE_URL"]) as client:
        found = await asyncio.gather(
            client.marketplace(gpu="RTX 4090"),
            client.marketplace(gpu="A100"),
            client.marketplace(gpu="RTX 3090"),
        )
    return [len(servers) for servers in found]


print(json.dumps(asyncio.run(compare())))
