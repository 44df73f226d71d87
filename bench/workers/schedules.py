"""Rents by the plan in each line of stdin, in a forked process, and prints its caller's results.

A line: `seed`, `base_url`, `key`, `server`, `kind`, `cancels`, `stop`, `after_s`, `timeout_s`.
The waits between retries are a thirtieth of the real ones, as in our own schedules.
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
    """Create and cancel; write each outcome at once, since a kill may follow."""
    time.sleep = lambda seconds: _sleep(float(seconds) / _SCALE)
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
        _write(out, create="stopped")
        return
    except Exception as exc:  # noqa: BLE001 - the caller gets only the error
        _write(out, create="failed", error=repr(exc)[:200])
        return
    _write(out, create="done", order=order.id)
    if plan["cancels"]:
        try:
            client.cancel_order(order.id)
        except Exception as exc:  # noqa: BLE001 - likewise
            _write(out, cancel="failed", error=repr(exc)[:200])
        else:
            _write(out, cancel="done")


def _write(out: int, **facts: object) -> None:
    os.write(out, json.dumps(facts).encode() + b"\n")


def play(plan: dict[str, Any]) -> dict[str, Any]:
    """The results that the caller of one plan got."""
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
    with os.fdopen(reader) as reported:
        lines = [json.loads(line) for line in reported]
    os.waitpid(child, 0)
    facts: dict[str, Any] = {"seed": plan["seed"]}
    for line in lines:
        facts.update(line)
    return facts


for text in sys.stdin:
    print(json.dumps(play(json.loads(text))), flush=True)
