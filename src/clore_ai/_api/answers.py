"""Deciphers answers: the body of a success, or the one exact error (service.md, 1). Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from clore_ai._api.clean import clean
from clore_ai._api.parse import read_json
from clore_ai._values.kinds import as_dict
from clore_ai._values.secrets import conceal, masked, scrub, scrub_json, texts
from clore_ai._values.text import plain
from clore_ai.exceptions import (
    ERROR_MAP,
    AuthError,
    CloreAPIError,
    InvalidEndpointError,
    RateLimitError,
    ResponseError,
)

if TYPE_CHECKING:
    from clore_ai._api.call import Body, Call, Reply

_OK = 200
_REDIRECT = 300
_SERVER_ERROR = 500
_RATE_LIMITED = 429
_TIMED_OUT = 408
_CODE_RATE_LIMITED = 5
_CODE_FIELD = 6
_HIGHEST_CODE = 9_999
"""A greater number is not a code; it might have thousands of digits."""
_LONGEST_PAGE = 10_000

HINTS = {
    "server-dont-exist": "no such server; list them with `clore search`",
    "server-offline": "its host is offline; choose another server",
    "server-already-rented": "somebody else rented it first; choose another server",
    "not_enough_balance": "the wallet can't cover it; see `clore wallets`, or pay in another coin",
    "cant_rent_from_yourself": "it is your own server",
    "too_low_price": "the price or bid is below what the host asks; see `clore spot SERVER_ID`",
    "you_already_have_spot_order": "one spot order per server; change its bid: `clore spot-price`",
    "currency-not-allowed": "the host does not take this coin; see `allowed_coins`",
    "machine-is-on-gigaspot": "this server is now rented out only through GigaSPOT; choose another",
    "you_dont_own_this_order": "see your own with `clore orders`",
    "order_not_active": "it has already ended",
    "issue_description_too_long": "2,048 characters at most",
    "order_dont_exist": "see your own with `clore orders`",
    "amount_too_low": "the bid is below the lowest that the host takes",
    "can_lower_every_600_seconds": "a bid can be lowered once in 600 s; raising is free",
    "exceeded_max_step": "lower the bid in smaller steps",
    "server_dont_exist": "you host no server with this name; see `clore servers`",
    "not_all_parameters_present": "name, availability, mrl, on_demand and spot go together",
    "invalid_mrl": "the maximum rental length is in hours",
    "invalid_input": "a value is out of range",
}
"""The next step, by the service's reason (service.md, 1)."""


def decipher(call: Call[Any], reply: Reply) -> Body:
    """The body of a success, or the one exact error.

    The JSON and its `code` come first, the HTTP status second: a success may come with any
    status, a refusal with 200 or 500, and a CDN in front answers in plain text (service.md, 1).

    Raises:
        CloreAPIError: the subclass for the code; `ResponseError` if there is none.
    """
    body = _body(call, reply)
    if body is None:
        raise _not_json(call, reply)
    code: object = body.get("code")
    if isinstance(code, bool) or not isinstance(code, int) or abs(code) > _HIGHEST_CODE:
        if reply.status == _RATE_LIMITED:
            code = _CODE_RATE_LIMITED
        else:
            raise _not_json(call, reply, "an answer without a `code`", body)
    if code == 0:
        return body
    error = ERROR_MAP.get(code, CloreAPIError)
    raise error(
        _message(call, code, body, "" if reply.retry_after_s else "; wait a few seconds"),
        code=code,
        response=body,
        status=reply.status,
        # A 5xx is a failure, whatever its code, except for reasons that the service is known to
        # send with a 5xx.
        maybe_acted=code == 1
        or code not in ERROR_MAP
        or (reply.status >= _SERVER_ERROR and body.get("error") not in HINTS),
    )


def _body(call: Call[Any], reply: Reply) -> Body | None:
    """The answer, fit to print and without secrets; None if it is not JSON, or incomplete."""
    if not reply.whole:
        return None
    try:
        value, may_be_unfit = read_json(reply.content)
        body = as_dict(value) or {}
        refused = body.get("code") != 0
        if refused and not _is_known(body.get("error")):  # it may quote the request
            body = scrub_json(body, texts(call.body))
        if may_be_unfit:
            body = clean(body)
        # A success of a call without a key holds no secrets, and has megabytes.
        return conceal(body) if call.needs_key or refused else body
    except (ValueError, RecursionError):
        return None


def _is_known(reason: object) -> bool:
    return isinstance(reason, str) and reason in HINTS


def _message(call: Call[Any], code: int, body: Body, wait: str) -> str:
    reason = body.get("error") or body.get("message")
    if code == _CODE_FIELD and isinstance(reason, str):
        hint = HINTS.get(reason)
        more = {k: v for k, v in body.items() if k in ("max_step", "time_to_lowering")}
        extra = "".join(f", {k} {v}" for k, v in more.items())
        return f"{call.path}: {reason}{extra}" + (f" - {hint}." if hint else ".")
    tail = f" ({reason})" if reason else ""
    return {
        1: f"{call.path}: the service failed (code 1){tail}.",
        2: f"{call.path}: the service refused the input (code 2){tail}.",
        3: f"{call.path}: the service does not know this API key (code 3){tail}.",
        4: f"{call.path}: no such endpoint (code 4){tail}; check the base URL.",
        5: f"{call.path}: too many requests (code 5){tail}{wait}.",
    }.get(code, f"{call.path}: error code {code}{tail}.")


def _not_json(
    call: Call[Any], reply: Reply, what: str | None = None, body: Body | None = None
) -> CloreAPIError:
    """The error for an answer that the service itself would not send."""
    if not reply.whole:
        what = f"an answer of more than {len(reply.content) >> 20} MiB"
    text = reply.content[: _LONGEST_PAGE * reply.whole].decode("utf-8", "replace")
    text = " ".join(scrub(text, texts(call.body)).split())[:80]
    if text.startswith(("{", "[")):  # it may hold secrets, unrecognised in broken JSON
        text = json.dumps(masked(body))[:80] if body else f"{len(reply.content)} bytes of JSON"
    elif not text.isprintable() or "\ufffd" in text:  # a damaged compressed body, say
        text = f"{len(reply.content)} bytes that are not text"
    status = reply.status
    if status == _RATE_LIMITED:
        return RateLimitError(f"{call.path}: too many requests (HTTP 429).", 5, status=status)
    if status == 401:  # noqa: PLR2004 - the HTTP status of code 3
        return AuthError(f"{call.path}: the service does not know this API key.", 3, status=status)
    if status == 404:  # noqa: PLR2004 - the HTTP status of code 4
        return InvalidEndpointError(
            f"{call.path}: no such endpoint (HTTP 404); check the base URL.", 4, status=status
        )
    if _REDIRECT <= status < 400:  # noqa: PLR2004 - never followed: the key would go along
        where = f" to {plain(reply.location)}" if reply.location else ""
        message = f"{call.path}: redirected{where}, which is not followed; check the base URL."
        return ResponseError(message, status=status)
    what = what or ("an answer that is not JSON" if text else "an empty answer")
    if "error code: 1010" in text:
        what = "refused by the CDN in front of the service (error code: 1010)"
    return ResponseError(
        f"{call.path}: {what} (HTTP {status}" + (f": {text!r}" if text else "") + ").",
        status=status,
        # A 4xx of a proxy means that the service did not act. After a 5xx, a damaged 2xx, JSON
        # without a code or a timeout it may have acted.
        maybe_acted=status >= _SERVER_ERROR
        or _OK <= status < _REDIRECT
        or status == _TIMED_OUT
        or body is not None,
    )
