"""A marketplace in a process of its own: `served.py OPTIONS ACCOUNTS`, both JSON.

OPTIONS are `Sandbox`'s; ACCOUNTS is the number of funded renters. Prints the address and their
keys; after that, for each line on stdin, the created orders in the journal.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from clore_sandbox import Sandbox

RICH = {"bitcoin": 1_000.0}


def created(sandbox: Sandbox) -> list[int]:
    """The order of each `create_order` that was executed and answered with code 0."""
    return [e.order for e in sandbox.journal("create_order") if e.acted and e.code == 0 and e.order]


# Shells of its rooms must not inherit an ignored SIGINT; the measuring process handles Ctrl-C.
signal.signal(signal.SIGINT, lambda *_: None)
with Sandbox(**json.loads(sys.argv[1])) as sandbox:
    keys = [sandbox.create_account(RICH) for _ in range(int(sys.argv[2]))]
    where = {"base_url": sandbox.base_url, "keys": keys, "pid": os.getpid()}
    print(json.dumps(where), flush=True)
    for _ in sys.stdin:
        print(json.dumps(created(sandbox)), flush=True)
