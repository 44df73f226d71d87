"""Times "body → validated models" in either environment: `parse.py BODY`.

For each line on stdin, `all` or `gpu`, it parses the body once and prints the seconds and the
number of servers. Each side runs its whole `marketplace()` except the network: 0.1.1's method
with its `_request` answered from memory, ours with the request's step answered from memory.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import clore_ai

BODY = Path(sys.argv[1]).read_bytes()
WISHES: dict[str, dict[str, Any]] = {"all": {"available_only": False}, "gpu": {"gpu": "RTX 4090"}}


def theirs(wish: str) -> int:
    """0.1.1: json, then `Model(**d)` in a loop, then its filters."""
    client: Any = clore_ai.CloreAI()
    client._request = lambda *_args, **_more: json.loads(BODY)  # noqa: SLF001 - the network
    return len(client.marketplace(**WISHES[wish]))


def ours(wish: str) -> int:
    """Our flow, with its one request answered at once."""
    # 0.1.1 has none of these.
    from clore_ai._api.call import Reply
    from clore_ai._api.steps import Clock, Flow, Instant, Send, Shared, Turn
    from clore_ai.rental.market.listing import Filter, marketplace
    from clore_ai.rental.session import Session

    def perform(flow: Flow[Any]) -> Any:  # noqa: ANN401 - any flow
        try:
            step = next(flow)
            while True:
                if isinstance(step, Shared):
                    step = flow.send(perform(step.make()))
                elif isinstance(step, Turn):
                    step = next(flow)
                elif isinstance(step, Clock):
                    step = flow.send(Instant(time.time(), time.monotonic()))
                elif isinstance(step, Send):
                    step = flow.send(Reply(200, "application/json", BODY))
                else:
                    raise TypeError(step)
        except StopIteration as stop:
            return stop.value

    return len(perform(marketplace(Session(), Filter(**WISHES[wish]))).servers)


parse = theirs if clore_ai.__version__.startswith("0.1.") else ours
for line in sys.stdin:
    start = time.perf_counter()
    try:
        answer: Any = [0.0, parse(line.strip())]
        answer[0] = time.perf_counter() - start
    except ValueError as exc:  # 0.1.1 raises pydantic's error if one server is malformed
        answer = {"failed": " ".join(str(exc).split())}
    print(json.dumps(answer), flush=True)
