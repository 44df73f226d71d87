"""Rents, waits and runs `true` over SSH with the SDK: `rent.py KEY`, our environment only.

For each server id on stdin it prints the seconds from `create_order` to the end of `ssh`. The
order is cancelled after that.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from clore_ai import CloreAI

KEY = Path(sys.argv[1])
OPTIONS = ("UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR")


def rent(client: CloreAI, server_id: int) -> float:
    start = time.perf_counter()
    order = client.create_order(
        server_id=server_id,
        image="cloreai/ubuntu22.04-cuda12",
        type="on-demand",
        currency="bitcoin",
        ssh_key=KEY.with_suffix(".pub").read_text("utf-8").strip(),
        ports={"22": "tcp"},
    )
    order = client.wait_for_ssh(order.id)
    options = [word for option in OPTIONS for word in ("-o", option)]
    where = ["-i", str(KEY), "-p", str(order.ssh_port), f"root@{order.ssh_host}"]
    subprocess.run(["ssh", *options, *where, "true"], check=True, stdin=subprocess.DEVNULL)
    took = time.perf_counter() - start
    client.cancel_order(order.id)
    return took


with CloreAI() as client:
    # The marketplace has no limits here: the figure is our time, not its pace.
    client.rate_limiter.min_interval = client.rate_limiter.create_order_delay = 0
    for line in sys.stdin:
        print(json.dumps(rent(client, int(line))), flush=True)
