"""Deploy to the first SSH command: what we add to the marketplace's own lag and boot time.

Measured is everything from the call (the command's start) to the end of `ssh … true`. Subtracted
are the seconds that the marketplace takes by its own rule from the order's creation to SSH: the
lag until it is seen, and the boot. What is left is ours: requests, looking and waiting too late,
OpenSSH's login, and for the command line two starts of Python and the plan.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from bench.pairs import Pairs, in_turn
from bench.report import Row, timed
from bench.served import free_servers
from bench.worker import worker

if TYPE_CHECKING:
    from bench.setting import Setting
    from clore_sandbox import Sandbox

OURS_AT_MOST_S = 0.5
LAG_S, BOOT_S = 1.0, 1.5
BALANCES = {"bitcoin": 1.0}
IMAGE = "cloreai/ubuntu22.04-cuda12"
# The marketplace has no limits here: what is measured is our time, not its pace.
UNPACED = {"CLORE_REQUESTS_PER_SECOND": "1000000"}


def measure(setting: Setting) -> list[Row]:
    """With the SDK in a running process, and with the command line."""
    key = setting.folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with setting.sandbox(
        limits=False, provision=True, visibility_lag_s=LAG_S, boot_s=BOOT_S, balances=BALANCES
    ) as sandbox:
        server_id = free_servers(setting, 1)[0]
        env = setting.environ(sandbox)
        with worker(setting.places.ours, "rent", env, key) as sdk:
            by_sdk = in_turn(lambda: float(sdk.ask(server_id)), None, setting.runs)
        by_cli = in_turn(lambda: _by_cli(setting, sandbox, server_id), None, setting.runs)
    note = (
        f"subtracted: the marketplace's own {LAG_S:g} s until an order is seen and {BOOT_S:g} s of "
        "boot, both from its creation; left is our time, OpenSSH's login included. The pace is "
        "lifted, the marketplace is without limits. 0.1.1 can't be timed: its create_order "
        "returns no order id, and it has no wait."
    )
    starts = (
        "has two starts of Python and the plan in it, with the whole marketplace read for that."
    )
    return [
        timed("deploy to SSH, SDK", _above(by_sdk), ours_at_most_s=OURS_AT_MOST_S, notes=[note]),
        timed("  the same, clore deploy + ssh", _above(by_cli), notes=[starts]),
    ]


def _above(pairs: Pairs) -> Pairs:
    return Pairs([seconds - LAG_S - BOOT_S for seconds in pairs.a], [])


def _by_cli(setting: Setting, sandbox: Sandbox, server_id: int) -> float:
    """`clore deploy --wait`, then `clore ssh -- true`: the seconds of both."""
    env = {**setting.environ(sandbox), **UNPACED}

    def clore(*words: object) -> str:
        command = [str(setting.places.ours.clore), *map(str, words)]
        done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"clore {words[0]} exited with {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    rental = ("--image", IMAGE, "--type", "on-demand", "--currency", "bitcoin", "--wait", "--yes")
    start = time.perf_counter()
    order_id = clore("deploy", server_id, *rental)
    clore("ssh", order_id, "--", "true")
    took = time.perf_counter() - start
    clore("cancel", order_id)
    return took
