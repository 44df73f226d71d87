"""Print how many servers of each kind are free, and the lowest price, with a single request."""

import asyncio

from clore_ai import AsyncCloreAI

KINDS = ["RTX 4090", "RTX 3090", "RTX 3080", "RTX 3060"]


async def main() -> None:
    async with AsyncCloreAI() as client:
        found = await asyncio.gather(*(client.marketplace(gpu=kind) for kind in KINDS))
    for kind, servers in zip(KINDS, found):
        prices = [server.price_usd for server in servers if server.price_usd is not None]
        lowest = f"from ${min(prices):.4f}/h" if prices else "no known price"
        print(f"{kind:<9} {len(servers):>4} free, {lowest}")


asyncio.run(main())
