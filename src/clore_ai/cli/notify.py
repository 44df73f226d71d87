"""Sends events of `clore watch` to a command of the user's, or to an address that takes JSON.

What goes wrong there is one sentence, and ends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clore_ai._values.kinds import as_dict, as_list, written
from clore_ai._values.secrets import without
from clore_ai._values.text import LONGEST, one_line
from clore_ai.cli import output

if TYPE_CHECKING:
    from clore_ai._api.steps import Done, Flow, Posted
    from clore_ai.client import CloreAI

_WITHIN_S = 30.0
_LONGEST_BODY = 64_000
"""Characters; beyond, an offer's fields that hold fields (its specs, its prices) are left out."""


def notify(api: CloreAI, event: dict[str, Any], command: str | None, webhook: str | None) -> None:
    """Run `command` with the event as JSON on stdin, and send it to `webhook`."""
    body = _body(without(event))
    if command is not None:
        done = api.drive(_run(command, event, body))
        if done.code != 0:
            output.note(f"--notify-cmd {_ended(done)}. Still watching.")
    if webhook is not None:
        posted = api.drive(_post(webhook, body))
        if posted.status is None or not 200 <= posted.status < 300:  # noqa: PLR2004 - HTTP's success
            why = posted.why or f"it answered with HTTP {posted.status}"
            output.note(f"--webhook at {urlsplit(webhook).hostname}: {why}. Still watching.")


def _body(event: dict[str, Any]) -> str:
    """The event in JSON, short enough for any receiver, whatever a host has put into its record."""
    from clore_ai._api.clean import rebuilt

    def brief(value: dict[str, Any]) -> str:
        return written(rebuilt(value, lambda text: one_line(text, LONGEST)))

    body = brief(event)
    if len(body) > _LONGEST_BODY:
        body = brief({name: _flat(value) for name, value in event.items()})
    return body


def _flat(value: object) -> object:
    """An offer, or each of a list, without its fields that hold fields."""
    entries, items = as_dict(value), as_list(value)
    if items is not None:
        return [_flat(item) for item in items]
    if entries is None:
        return value
    return {k: v for k, v in entries.items() if not isinstance(v, (dict, list))}


def _run(command: str, event: dict[str, Any], body: str) -> Flow[Done]:
    from clore_ai._api.steps import Exec

    offer: dict[str, Any] = event.get("offer") or {}
    known: dict[str, object] = {
        "CLORE_EVENT": event["event"],
        "CLORE_WATCH": event["watch"],
        "CLORE_SERVER_ID": offer.get("id") or event.get("server_id"),
        "CLORE_ORDER_ID": event.get("order_id"),
        "CLORE_GPU": offer.get("gpu"),
        "CLORE_PRICE_USD_PER_HOUR": offer.get("price_usd_per_hour"),
    }
    # The system refuses to start a program with one of 128 KB, or with a NUL.
    short = {name: one_line(str(v), LONGEST) for name, v in known.items() if v is not None}
    variables = [f"{name}={value}" for name, value in short.items()]
    words = ("env", *variables, "sh", "-c", command)
    done: Done = yield Exec(words, f"{body}\n".encode(), _WITHIN_S)
    return done


def _post(webhook: str, body: str) -> Flow[Posted]:
    from clore_ai._api.steps import Post

    posted: Posted = yield Post(webhook, body.encode())
    return posted


def _ended(done: Done) -> str:
    if done.code is None:
        return f"did not finish within {_WITHIN_S:.0f} s and was stopped"
    from clore_ai.rental.rent.verify import last_line

    said = last_line(done.err)
    return f"ended with {done.code}" + (f": {said}" if said else "")
