"""Rents as each line of stdin says, one forked process each, and prints what its caller learnt.

A line: `seed`, `base_url`, `key`, `server`, `kind`, `cancels`, `stop`, `after_s`, `timeout_s`.
The waits between tries are a thirtieth of what they are, as in the schedules of ours.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from clore_ai import CloreAI

_SCALE = 30
_sleep = time.sleep


def act(plan: dict[str, Any], out: int) -> None:
    """Create, and cancel: each outcome is written at once, since a kill may follow."""
    time.sleep = lambda seconds: _sleep(seconds / _SCALE)
    client = CloreAI(plan["key"], base_url=plan["base_url"], timeout=plan["timeout_s"])
    try:
        order = client.create_order(
            server_id=plan["server"],
            image="cloreai/ubuntu22.04-cuda12",
            type=plan["kind"],
            currency="bitcoin",
            ssh_password="Schedule123",
            ports={"22": "tcp"},
            spot_price=0.0009 if plan["kind"] == "spot" else None,
        )
    except KeyboardInterrupt:
        _tell(out, create="stopped")
        return
    except Exception as exc:  # noqa: BLE001 - the caller has nothing but the error
        _tell(out, create="failed", error=repr(exc)[:200])
        return
    _tell(out, create="done", order=order.id)
    if plan["cancels"]:
        try:
            client.cancel_order(order.id)
        except Exception as exc:  # noqa: BLE001 - likewise
            _tell(out, cancel="failed", error=repr(exc)[:200])
        else:
            _tell(out, cancel="done")


def _tell(out: int, **facts: object) -> None:
    os.write(out, json.dumps(facts).encode() + b"\n")


def play(plan: dict[str, Any]) -> dict[str, Any]:
    """What the caller of one plan learnt."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            act(plan, writer)
        finally:
            os._exit(0)
    os.close(writer)
    if plan["stop"] is not None:
        _sleep(plan["after_s"])
        os.kill(child, signal.SIGINT if plan["stop"] == "interrupt" else signal.SIGKILL)
    with os.fdopen(reader) as told:
        lines = [json.loads(line) for line in told]
    os.waitpid(child, 0)
    facts: dict[str, Any] = {"seed": plan["seed"]}
    for line in lines:
        facts.update(line)
    return facts


for text in sys.stdin:
    print(json.dumps(play(json.loads(text))), flush=True)
