"""A marketplace in a process of its own: `served.py OPTIONS ACCOUNTS`, both JSON.

OPTIONS are `Sandbox`'s, ACCOUNTS how many renters with money there are to be. Prints where it is
and their keys; after that, for each line on stdin, the orders that its journal says were created.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from clore_sandbox import Sandbox

RICH = {"bitcoin": 1_000.0}


def created(sandbox: Sandbox) -> list[int]:
    """The order of each `create_order` that was carried out and answered with code 0."""
    return [e.order for e in sandbox.journal("create_order") if e.acted and e.code == 0 and e.order]


# Its rooms' shells are not to inherit an ignored SIGINT, and Ctrl-C is for whoever measures.
signal.signal(signal.SIGINT, lambda *_: None)
with Sandbox(**json.loads(sys.argv[1])) as sandbox:
    keys = [sandbox.create_account(RICH) for _ in range(int(sys.argv[2]))]
    where = {"base_url": sandbox.base_url, "keys": keys, "pid": os.getpid()}
    print(json.dumps(where), flush=True)
    for _ in sys.stdin:
        print(json.dumps(created(sandbox)), flush=True)
