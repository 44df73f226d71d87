"""Random schedules of faults and stops: unknown orders, and reports that are wrong.

Ours plays them as its tests do (`tests.schedules`): sync, async and command line. 0.1.1 plays the
same seeds with its blocking client. It has no ledger, so only its caller's results are compared.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.schedules import report
from tests.schedules.plan import draw
from tests.schedules.stage import market

from bench.report import Row

if TYPE_CHECKING:
    from tests.schedules.stage import Market

    from bench.environment import Place
    from bench.setting import Setting

WORDS = ("double rents", "lost orders", "false failed")
AT_ONCE = 6
_KILL_A_STEP_S = 0.02
"""If a schedule stops at a step, 0.1.1, whose steps can't be counted, is stopped about then."""


def measure(setting: Setting) -> list[Row]:
    """Play the same seeds with both."""
    runs = 20 if setting.quick else 100
    ours = report.found("tests.schedules", runs=runs, at_once=AT_ONCE)
    theirs = (
        None if setting.places.theirs is None else _theirs(setting, setting.places.theirs, runs)
    )
    rows = []
    for word in WORDS:
        note = [] if theirs is None else [f"of {theirs['orders']} orders that 0.1.1 really made."]
        rows.append(
            Row(
                f"{runs} schedules of faults and stops: {word}",
                f"{ours[word]} of {ours['orders']} orders",
                "-" if theirs is None else str(theirs[word]),
                target="0",
                met=ours[word] == 0,
                notes=note if word == WORDS[0] else [],
            )
        )
    return rows


def _theirs(setting: Setting, place: Place, runs: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder, market(Path(folder)) as place_to_rent:
        plans = [_plan(seed, place_to_rent) for seed in range(runs)]
        reported = _play(setting, place, plans)
        time.sleep(0.2)  # the marketplace's lag until the newest order is listed
        return _judge(plans, reported, place_to_rent)


def _plan(seed: int, place: Market) -> dict[str, Any]:
    """The worker's line for a plan, once its account and faults are set up."""
    plan = draw(seed)
    key = f"schedule-{seed:09}"
    place.account(key)
    faults = [place.fault(key, fault) for fault in plan.faults]
    stopped = plan.after_s if plan.after_s is not None else (plan.at_step or 0) * _KILL_A_STEP_S
    return {
        "seed": seed,
        "faults": faults,
        "key": key,
        "base_url": place.base_url,
        "server": place.servers[seed % len(place.servers)],
        "kind": plan.kind,
        "cancels": plan.cancels,
        "stop": plan.stop,
        "after_s": stopped,
        "timeout_s": plan.timeout_s,
    }


def _play(setting: Setting, place: Place, plans: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    script = Path(__file__).parents[1] / "workers" / "schedules.py"
    players = [
        subprocess.Popen(
            [str(place.python), str(script)],
            env=setting.environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(AT_ONCE)
    ]
    for number, player in enumerate(players):
        assert player.stdin is not None
        player.stdin.writelines(json.dumps(plan) + "\n" for plan in plans[number::AT_ONCE])
        player.stdin.close()
    reported: dict[int, dict[str, Any]] = {}
    for player in players:
        assert player.stdout is not None
        reported |= {fact["seed"]: fact for fact in map(json.loads, player.stdout)}
        player.wait()
    return reported


def _judge(
    plans: list[dict[str, Any]], reported: dict[int, dict[str, Any]], place: Market
) -> dict[str, int]:
    found = dict.fromkeys(("orders", *WORDS), 0)
    for plan in plans:
        for number in plan["faults"]:
            place.clear_fault(number)
        made = {row["id"] for row in place.orders(plan["key"])}
        facts = reported[plan["seed"]]
        found["orders"] += len(made)
        found["double rents"] += len(made) > 1
        found["lost orders"] += bool(made - {facts.get("order")})
        found["false failed"] += bool(made) and facts.get("create") == "failed"
    return found
