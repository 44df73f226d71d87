"""Sends an event of a watch to a command of the user, or posts it to a URL as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clore_ai._api.clean import rebuilt
from clore_ai._api.steps import Exec, Flow, Post
from clore_ai._values.kinds import as_dict, as_list, written
from clore_ai._values.secrets import without
from clore_ai._values.text import LONGEST, one_line
from clore_ai.rental.rent.verify import last_line

if TYPE_CHECKING:
    from clore_ai._api.steps import Done, Posted

_WITHIN_S = 30.0
_LONGEST_BODY = 64_000
"""In characters; above this, nested fields of an offer (its specs, its prices) are omitted."""


def is_address(url: str) -> bool:
    """Can an event be posted there?"""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def notify(event: dict[str, Any], command: str | None, webhook: str | None) -> Flow[list[str]]:
    """Run `command` with the event as JSON on stdin, and post it to `webhook`; the errors."""
    wrong: list[str] = []
    body = _body(without(event))
    if command is not None:
        words = ("env", *_variables(event), "sh", "-c", command)
        done: Done = yield Exec(words, f"{body}\n".encode(), _WITHIN_S)
        if done.code is None:
            wrong.append(f"--notify-cmd did not finish within {_WITHIN_S:.0f} s and was stopped")
        elif done.code != 0:
            said = last_line(done.err)
            wrong.append(f"--notify-cmd ended with {done.code}" + (f": {said}" if said else ""))
    if webhook is not None:
        posted: Posted = yield Post(webhook, body.encode())
        if posted.status is None or not 200 <= posted.status < 300:  # noqa: PLR2004 - HTTP's success
            why = posted.why or f"it answered with HTTP {posted.status}"
            wrong.append(f"--webhook at {urlsplit(webhook).hostname}: {why}")
    return wrong


def _variables(event: dict[str, Any]) -> list[str]:
    offer: dict[str, Any] = event.get("offer") or {}
    known: dict[str, object] = {
        "CLORE_EVENT": event["event"],
        "CLORE_WATCH": event["watch"],
        "CLORE_SERVER_ID": offer.get("id") or event.get("server_id"),
        "CLORE_ORDER_ID": event.get("order_id"),
        "CLORE_GPU": offer.get("gpu"),
        "CLORE_PRICE_USD_PER_HOUR": offer.get("price_usd_per_hour"),
    }
    # The system does not start a program with a variable of 128 KB, or with a NUL.
    return [f"{name}={one_line(str(v), LONGEST)}" for name, v in known.items() if v is not None]


def _body(event: dict[str, Any]) -> str:
    """The event in JSON, short enough for any receiver, whatever a host put into its record."""
    body = _brief(event)
    if len(body) > _LONGEST_BODY:
        body = _brief({name: _flat(value) for name, value in event.items()})
    return body


def _brief(event: dict[str, Any]) -> str:
    return written(rebuilt(event, lambda text: one_line(text, LONGEST)))


def _flat(value: object) -> object:
    """An offer, or each of a list, without its nested fields."""
    entries, items = as_dict(value), as_list(value)
    if items is not None:
        return [_flat(item) for item in items]
    if entries is None:
        return value
    return {k: v for k, v in entries.items() if not isinstance(v, (dict, list))}
