"""From deploy to the first SSH command: our time beyond the marketplace's lag and boot.

The time runs from the call (or the command's start) to the end of `ssh … true`. Subtracted is the
marketplace's own time from the order's creation to SSH: the lag until it is listed, and the boot.
The rest is ours: requests, late checks, OpenSSH's login, and for the command line two starts of
Python and the plan.

`clore rent … --yes` is timed from the start of the command to its end, its order verified.
Subtracted are the waits that the account's pace requires (`bench.waits`), and as many plain OpenSSH
logins, one after the other, as its verification makes. Boot and lag are zero.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

from bench.pairs import Pairs, in_turn
from bench.report import Row, timed
from bench.served import free_servers
from bench.waits import CREATE_GAP_S, must_wait_s
from bench.worker import worker
from clore_ai.rental.rent.verify import ALONE

if TYPE_CHECKING:
    from bench.setting import Setting
    from clore_sandbox import Sandbox

OURS_AT_MOST_S = 0.5
LAG_S, BOOT_S = 1.0, 1.5
BALANCES = {"bitcoin": 1.0}
COINS = {"bitcoin": 1.0, "USD-Blockchain": 1_000.0, "CLORE-Blockchain": 100_000.0}
LOGINS = 2
"""The number of logins that a verification makes."""
IMAGE = "cloreai/ubuntu22.04-cuda12"
# The marketplace has no limits here: the figure is our time, not its pace.
UNPACED = {"CLORE_REQUESTS_PER_SECOND": "1000000"}


def measure(setting: Setting) -> list[Row]:
    """Measure the SDK in a running process, and the command line."""
    key = setting.folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    lag_s, boot_s = (0.0, 0.0) if setting.quick else (LAG_S, BOOT_S)
    with setting.sandbox(
        limits=False, provision=True, visibility_lag_s=lag_s, boot_s=boot_s, balances=BALANCES
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
        *_verified(setting),
    ]


def _verified(setting: Setting) -> list[Row]:
    """Measure `clore rent`, on demand and by spot, at the service's pace."""
    with setting.sandbox(
        limits=not setting.quick, provision=True, visibility_lag_s=0.0, boot_s=0.0, balances=COINS
    ) as sandbox:
        words = ("rent", "--gpu", "RTX", "--yes")
        on_demand = in_turn(lambda: _rented(setting, sandbox, *words), None, setting.runs)
        words = (*words, "--spot", "--max-bid", "1/h", "--detach")
        by_spot = in_turn(lambda: _rented(setting, sandbox, *words), None, setting.runs)
    note = (
        "verified: nvidia-smi, disk and network. A start of Python, the plan of the whole "
        "marketplace and what the checks take there are in it; a create_order is sent at once."
    )
    looks = "at the lowest bid that wins; the auctions that it looks at are among its calls."
    return [
        timed("clore rent --gpu … --yes, above its calls and SSH", on_demand,
              notes=[note]),
        timed("  the same, --spot --max-bid 1/h", by_spot, notes=[looks]),
    ]  # fmt: skip


def _rented(setting: Setting, sandbox: Sandbox, *words: str) -> float:
    """Seconds of one `clore rent`, less the unavoidable waits."""
    env = setting.environ(sandbox, **(UNPACED if setting.quick else {}))
    if not setting.quick:
        time.sleep(CREATE_GAP_S)  # so that this run does not wait for the calls of the last one
    sandbox.clear_journal()
    start = time.perf_counter()
    order_id = _clore(setting, env, *words)
    took = time.perf_counter() - start - must_wait_s(sandbox)
    ssh: list[str] = json.loads(_clore(setting, env, "ssh", order_id, "--json", "--", "true"))[
        "command"
    ]
    alone = [ssh[0], *ALONE, *ssh[1:]]
    start = time.perf_counter()
    for _ in range(LOGINS):
        subprocess.run(alone, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    took -= time.perf_counter() - start
    _clore(setting, env, "cancel", order_id)
    return took


def _above(pairs: Pairs) -> Pairs:
    return Pairs([seconds - LAG_S - BOOT_S for seconds in pairs.a], [])


def _by_cli(setting: Setting, sandbox: Sandbox, server_id: int) -> float:
    """`clore deploy --wait`, then `clore ssh -- true`: the seconds of both."""
    env = {**setting.environ(sandbox), **UNPACED}
    rental = ("--image", IMAGE, "--type", "on-demand", "--currency", "bitcoin", "--wait", "--yes")
    start = time.perf_counter()
    order_id = _clore(setting, env, "deploy", server_id, *rental)
    _clore(setting, env, "ssh", order_id, "--", "true")
    took = time.perf_counter() - start
    _clore(setting, env, "cancel", order_id)
    return took


def _clore(setting: Setting, env: dict[str, str], *words: object) -> str:
    """The stdout of a command."""
    command = [str(setting.places.ours.clore), *map(str, words)]
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"clore {words[0]} exited with {done.returncode}: {done.stderr}")
    return done.stdout.strip()
