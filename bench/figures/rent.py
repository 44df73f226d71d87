"""From deploy to the first SSH command: our time beyond the marketplace's lag and boot.

The time runs from the call (or the command's start) to the end of `ssh … true`. Subtracted is the
marketplace's own time from the order's creation to SSH: the lag until it is listed, and the boot.
The rest is ours: requests, late checks, OpenSSH's login, and for the command line two starts of
Python and the plan.

`clore rent … --yes` is timed from the start of the command to its end, its order verified.
Subtracted are the waits that the account's pace requires, and as many plain OpenSSH
logins, one after the other, as its verification makes. Boot and lag are zero.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

from bench.pairs import Pairs, in_turn
from bench.renter import UNPACED, Renter
from bench.report import Row, timed
from bench.served import free_servers
from bench.worker import worker
from clore_ai._ssh.target import ALONE

if TYPE_CHECKING:
    from bench.setting import Setting

OURS_AT_MOST_S = 0.5
LAG_S, BOOT_S = 1.0, 1.5
LOGINS = 2
"""The number of logins that a verification makes."""
IMAGE = "cloreai/ubuntu22.04-cuda12"


def measure(setting: Setting) -> list[Row]:
    """Measure the SDK in a running process, and the command line."""
    key = setting.folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    lag_s, boot_s = (0.0, 0.0) if setting.quick else (LAG_S, BOOT_S)
    with setting.sandbox(
        limits=False, provision=True, visibility_lag_s=lag_s, boot_s=boot_s
    ) as sandbox:
        server_id = free_servers(setting, 1)[0]
        renter = Renter(setting, sandbox, **UNPACED)
        with worker(setting.places.ours, "rent", renter.env, key) as sdk:
            by_sdk = in_turn(lambda: float(sdk.ask(server_id)), None, setting.long_runs)
        by_cli = in_turn(lambda: _by_cli(renter, server_id), None, setting.long_runs)
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
        *_verified(setting),
    ]


def _verified(setting: Setting) -> list[Row]:
    """Measure `clore rent`, on demand and by spot, at the service's pace.

    Two accounts rent in turn, so that neither waits for the calls of its last run.
    """
    limits = not setting.quick
    with setting.sandbox(
        limits=limits, provision=True, visibility_lag_s=0.0, boot_s=0.0
    ) as sandbox:
        env = UNPACED if setting.quick else {}
        one, other = Renter(setting, sandbox, **env), Renter(setting, sandbox, **env)
        words = ("rent", "--gpu", "RTX", "--yes")
        bids = ("--spot", "--max-bid", "1/h", "--detach")
        pairs = in_turn(
            lambda: _rented(one, *words), lambda: _rented(other, *words, *bids), setting.long_runs
        )
    note = (
        "verified: nvidia-smi, disk and network. A start of Python, the plan of the whole "
        "marketplace and what the checks take there are in it; a create_order is sent at once."
    )
    looks = "at the lowest bid that wins; the auctions that it looks at are among its calls."
    return [
        timed("clore rent --gpu … --yes, above its calls and SSH", Pairs(pairs.a, []),
              notes=[note]),
        timed("  the same, --spot --max-bid 1/h", Pairs(pairs.b, []), notes=[looks]),
    ]  # fmt: skip


def _rented(renter: Renter, *words: str) -> float:
    """Seconds of one `clore rent`, less the unavoidable waits."""
    renter.sandbox.clear_journal()
    start = time.perf_counter()
    order_id = renter.clore(*words)
    took = time.perf_counter() - start - renter.must_wait_s()
    shown = renter.clore("ssh", order_id, "--json", "--", "true")
    ssh: list[str] = json.loads(shown)["command"]
    alone = [ssh[0], *ALONE, *ssh[1:]]
    start = time.perf_counter()
    for _ in range(LOGINS):
        subprocess.run(alone, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    took -= time.perf_counter() - start
    renter.clore("cancel", order_id)
    return took


def _above(pairs: Pairs) -> Pairs:
    return Pairs([seconds - LAG_S - BOOT_S for seconds in pairs.a], [])


def _by_cli(renter: Renter, server_id: int) -> float:
    """`clore deploy --wait`, then `clore ssh -- true`: the seconds of both."""
    rental = ("--image", IMAGE, "--type", "on-demand", "--currency", "bitcoin", "--wait", "--yes")
    start = time.perf_counter()
    order_id = renter.clore("deploy", server_id, *rental)
    renter.clore("ssh", order_id, "--", "true")
    took = time.perf_counter() - start
    renter.clore("cancel", order_id)
    return took
