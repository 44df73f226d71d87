"""Print the five cheapest free servers with a GPU, with their prices per hour and per day.

python examples/find_cheapest.py "RTX 4090"
"""

import sys

from clore_ai import CloreAI

gpu = sys.argv[1] if len(sys.argv) > 1 else "RTX 4090"

with CloreAI() as client:  # the marketplace needs no key
    servers = [s for s in client.marketplace(gpu=gpu) if s.price_usd is not None]

servers.sort(key=lambda server: server.price_usd)
for server in servers[:5]:
    print(
        f"{server.id:>7}  {server.gpu_model:<34} {server.location or '-':<3}"
        f" ${server.price_usd:.4f}/h = ${server.price_usd_per_day:.2f}/day"
    )
