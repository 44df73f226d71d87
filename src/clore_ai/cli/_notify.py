"""Tell others of an event of `clore watch`: a command of the user's, an address that takes JSON.

What goes wrong there is one sentence, and ends nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clore_ai._secrets import without
from clore_ai.cli import _output

if TYPE_CHECKING:
    from clore_ai._flow import Done, Flow, Posted
    from clore_ai.client import CloreAI

_WITHIN_S = 30.0


def notify(api: CloreAI, event: dict[str, Any], command: str | None, webhook: str | None) -> None:
    """Run `command` with the event as JSON on stdin, and send it to `webhook`."""
    body = json.dumps(without(event), default=str)
    if command is not None:
        done = api.drive(_run(command, event, body))
        if done.code != 0:
            _output.note(f"--notify-cmd {_ended(done)}. Watching on.")
    if webhook is not None:
        posted = api.drive(_post(webhook, body))
        if posted.status is None or not 200 <= posted.status < 300:  # noqa: PLR2004 - HTTP's success
            why = posted.why or f"it answered with HTTP {posted.status}"
            _output.note(f"--webhook at {urlsplit(webhook).hostname}: {why}. Watching on.")


def _run(command: str, event: dict[str, Any], body: str) -> Flow[Done]:
    from clore_ai._flow import Exec  # noqa: PLC0415 - not for --help

    offer: dict[str, Any] = event.get("offer") or {}
    known: dict[str, object] = {
        "CLORE_EVENT": event["event"],
        "CLORE_WATCH": event["watch"],
        "CLORE_SERVER_ID": offer.get("id") or event.get("server_id"),
        "CLORE_ORDER_ID": event.get("order_id"),
        "CLORE_GPU": offer.get("gpu"),
        "CLORE_PRICE_USD_PER_HOUR": offer.get("price_usd_per_hour"),
    }
    variables = [f"{name}={value}" for name, value in known.items() if value is not None]
    words = ("env", *variables, "sh", "-c", command)
    done: Done = yield Exec(words, f"{body}\n".encode(), _WITHIN_S)
    return done


def _post(webhook: str, body: str) -> Flow[Posted]:
    from clore_ai._flow import Post  # noqa: PLC0415 - not for --help

    posted: Posted = yield Post(webhook, body.encode())
    return posted


def _ended(done: Done) -> str:
    if done.code is None:
        return f"was not done within {_WITHIN_S:.0f} s and was stopped"
    said = done.err.decode("utf-8", "replace").strip().splitlines()
    return f"ended with {done.code}" + (f": {said[-1][:200]}" if said else "")
