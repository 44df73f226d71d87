"""Some watches of one process: `watch.py FOLDER WATCHES EVERY SECONDS`; ours only."""

from __future__ import annotations

import sys
import threading

from clore_ai import CloreAI

FOLDER, WATCHES, EVERY_S, LASTS_S = sys.argv[1:]


def one(client: CloreAI, limit: float) -> None:
    for _ in client.watch(max_price_usd=limit, every=float(EVERY_S), timeout=float(LASTS_S)):
        pass


with CloreAI(state=FOLDER) as shared:
    threads = [
        threading.Thread(target=one, args=(shared, 0.1 * (n + 1))) for n in range(int(WATCHES))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
