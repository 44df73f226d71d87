"""Exit codes, and errors in one sentence: what failed, with which id, what to type next.

0 done · 1 API or network · 2 usage · 3 key · 4 not found · 5 rate limited · 6 nothing matched ·
7 balance · 8 timed out · 9 order uncertain (money may be spent) · 130 Ctrl-C.
With ``--json`` an error is one JSON object on stderr: `code` (stable), `message`, `exit`, and
where known `error` (the service's reason), `api_code`, `order_id`, `server_id`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from clore_ai import exceptions as e

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE, INTERRUPTED = 2, 130

_BY_REASON = {
    "server-dont-exist": ("not_found", 4),
    "server_dont_exist": ("not_found", 4),
    "order_dont_exist": ("not_found", 4),
    "you_dont_own_this_order": ("not_found", 4),
    "not_enough_balance": ("balance", 7),
}
_BY_CLASS: list[tuple[type[Exception], str, int]] = [
    (e.OrderUncertain, "order_uncertain", 9),
    (e.WaitTimeout, "timed_out", 8),
    (e.OrderEnded, "order_ended", 4),
    (e.NotFoundError, "not_found", 4),
    (e.ConfigError, "config", USAGE),
    (e.InvalidInputError, "invalid_input", USAGE),
    (e.AuthError, "auth", 3),
    (e.RateLimitError, "rate_limited", 5),
    (e.TransportError, "network", 1),
    (e.FieldError, "refused", 1),
    (e.CloreAPIError, "api", 1),
]


class Nothing(click.ClickException):
    """Nothing matched what was asked for."""

    exit_code = 6


def run(command: click.Command, args: Sequence[str]) -> int:  # noqa: PLR0911 - one a kind of end
    """Run a command and return its exit code; errors are told here and nowhere else."""
    as_json = "--json" in args[: args.index("--")] if "--" in args else "--json" in args
    try:
        result: object = command.main(args=list(args), prog_name="clore", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.ctx.get_help(), err=True)
        return USAGE
    except (click.Abort, KeyboardInterrupt) as exc:
        return _tell(as_json, "interrupted", INTERRUPTED, str(exc) or "Interrupted.")
    except Nothing as exc:
        return _tell(as_json, "nothing_matched", exc.exit_code, exc.message)
    except click.ClickException as exc:
        ctx = exc.ctx if isinstance(exc, click.UsageError) else None
        hint = f" See: {ctx.command_path} --help" if ctx and "See: " not in exc.message else ""
        return _tell(as_json, "usage", USAGE, exc.format_message() + hint)
    except e.CloreAPIError as exc:
        return _tell_error(as_json, exc)
    except BrokenPipeError:
        # The reader of our output left, as `| head` does: nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def _tell_error(as_json: bool, exc: e.CloreAPIError) -> int:  # noqa: FBT001 - private
    code, status = _BY_REASON.get(exc.error or "") or next(
        (code, status) for kind, code, status in _BY_CLASS if isinstance(exc, kind)
    )
    facts: dict[str, Any] = {"error": exc.error, "api_code": exc.code}
    order = getattr(exc, "order", None)
    if order is not None:
        facts |= {"order_id": order.id, "server_id": order.server_id}
    if isinstance(exc, e.OrderUncertain):
        facts["server_id"] = exc.intent.server_id
    message = str(exc)
    if isinstance(exc, e.AuthError) and exc.status is not None:
        message += _whose_key()
    return _tell(as_json, code, status, message, **facts)


def _whose_key() -> str:
    """Where the refused key came from, and how it ends; never the key."""
    from clore_ai.config import resolve  # noqa: PLC0415 - only on this error

    try:
        settings = resolve()
    except e.ConfigError:
        return ""
    return (
        f" It came from {settings.api_key_source} and ends in …{(settings.api_key or '')[-4:]}. "
        "Set the right one with: clore config set api_key"
    )


def _tell(as_json: bool, code: str, status: int, message: str, **facts: object) -> int:  # noqa: FBT001 - private
    if as_json:
        known = {name: value for name, value in facts.items() if value is not None}
        click.echo(
            json.dumps({"code": code, "message": message, "exit": status, **known}), err=True
        )
    else:
        click.echo(click.style("Error: ", fg="red", bold=True) + message, err=True, color=colour())
    return status


def colour() -> bool | None:
    """Click's `color`: never with NO_COLOR, else as the stream is."""
    return False if os.environ.get("NO_COLOR") else None
