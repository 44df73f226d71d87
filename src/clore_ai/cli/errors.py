"""Exit codes, and errors in one sentence: what failed, with which id, the next command.

0 done · 1 API or network · 2 usage · 3 key · 4 not found · 5 rate limited · 6 nothing matched ·
7 balance, budget or limit · 8 timed out · 9 order uncertain (money may be spent) · 130 Ctrl-C.
With ``--json`` an error is one JSON object on stderr: `code` (stable), `message`, `exit`, and,
if known, `error` (the service's reason), `api_code`, `order_id`, `server_id`.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from clore_ai import exceptions as e
from clore_ai._signals import INTERRUPTED
from clore_ai._values.kinds import written
from clore_ai._values.secrets import HIDDEN, ending
from clore_ai._values.text import one_line, plain
from clore_ai.cli import debug

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

USAGE, LIMIT = 2, 7
_LONGEST, _LONGEST_TRACEBACK = 10_000, 100_000

_TABLE: list[tuple[type[Exception] | str, str, int, str]] = [
    ("server-dont-exist", "not_found", 4, ""),
    ("server_dont_exist", "not_found", 4, ""),
    ("order_dont_exist", "not_found", 4, ""),
    ("you_dont_own_this_order", "not_found", 4, ""),
    ("order_not_active", "order_ended", 4, ""),
    ("not_enough_balance", "balance", 7, ""),
    ("wallet empty", "order_ended", 7, ""),  # `rental.orders.ending` is slow to import
    (e.BudgetError, "budget", 7, ""),
    (e.LimitReached, "limit", LIMIT, ""),
    (e.OrderUncertain, "order_uncertain", 9, ""),
    (e.WaitTimeout, "timed_out", 8, ""),
    (e.OrderEnded, "order_ended", 4, ""),
    (e.NoOffer, "nothing_matched", 6, ""),
    (e.RentFailed, "none_good", 1, ""),
    (e.NotFoundError, "not_found", 4, ""),
    (e.ConfigError, "config", USAGE, ""),
    (e.InvalidInputError, "invalid_input", USAGE, ""),
    (e.AuthError, "auth", 3, ""),
    (e.RateLimitError, "rate_limited", 5, ""),
    (e.TransportError, "network", 1, "Check the network and CLORE_BASE_URL, then try again."),
    (e.FieldError, "refused", 1, ""),
    (e.OrderUnlisted, "api", 1, "Check again in half a minute: clore orders"),
    (e.ResponseError, "api", 1, ("Try again in a minute; if the problem persists, check "
        "CLORE_BASE_URL.")),
    (e.DBError, "api", 1, "Try again in a minute."),
    (e.CloreAPIError, "api", 1, ""),
]  # fmt: skip
"""Why an order ended, the service's reason, or the class of an error -> its `code`, its exit code,
and the next step. The first row that fits counts."""
_LOOK_FIRST = "Check your orders before you try again: clore orders"


class _Came(click.ClickException):
    """An outcome that ends a command; `code` is its name with ``--json``."""

    code: str


class Nothing(_Came):
    """Nothing matched the request."""

    code, exit_code = "nothing_matched", 6


class Late(_Came):
    """The wait timed out."""

    code, exit_code = "timed_out", 8


class Declined(_Came):
    """The user answered No."""

    code, exit_code = "declined", 1


class _Never(click.UsageError):
    """Never raised."""


# click 8.1, the last version for Python 3.9, shows the help by itself.
_HELP_WANTED: type[click.UsageError] = getattr(click.exceptions, "NoArgsIsHelpError", _Never)


@contextmanager
def as_usage(where: str = "") -> Generator[None]:
    """In this block an input that is refused is an error of usage; the message begins `where`."""
    try:
        yield
    except (ValueError, e.InvalidInputError) as exc:
        raise click.UsageError(f"{where}{exc}") from exc


def run(command: click.Command, args: Sequence[str]) -> int:  # noqa: C901, PLR0911 - one per kind of end
    """Run a command and return its exit code; errors are reported here and nowhere else."""
    # httpx imports its own command line if rich and pygments are installed: 50 ms of a search's 850
    # that no command needs. None makes that import fail, as if they were missing.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    as_json = "--json" in args[: args.index("--")] if "--" in args else "--json" in args
    try:
        result: object = command.main(args=list(args), prog_name="clore", standalone_mode=False)
        sys.stdout.flush()
    except _HELP_WANTED as exc:
        click.echo(exc.ctx.get_help() if exc.ctx else "", err=True)
        return USAGE
    except (click.Abort, KeyboardInterrupt) as exc:
        # click turns Ctrl-C into an Abort; its cause says what was interrupted.
        message = str(exc) or str(exc.__cause__ or "") or "Interrupted."
        return _report(as_json, "interrupted", INTERRUPTED, message)
    except _Came as exc:
        return _report(as_json, exc.code, exc.exit_code, exc.message)
    except click.ClickException as exc:
        return _report(as_json, "usage", USAGE, _usage(exc))
    except e.CloreAPIError as exc:
        return report(as_json, exc)
    except BrokenPipeError:
        return _unread()
    except SystemExit as exc:
        # When not standalone, click exits with 1 for a broken pipe only.
        if exc.code == 1:
            return _unread()
        raise
    except OSError as exc:
        _drop_output()  # writing it may have failed, as on a full disk
        where = f"{exc.filename}: " if exc.filename else ""
        return _report(as_json, "system", 1, f"{where}{exc.strerror or exc}.")
    except Exception as exc:  # noqa: BLE001 - unexpected errors
        return _report_bug(as_json, exc)
    return result if isinstance(result, int) else 0


def _report_bug(as_json: bool, exc: Exception) -> int:
    what = f"{type(exc).__name__}: {exc}."
    if debug.wanted("debug"):
        import traceback

        text = plain(debug.clean(traceback.format_exc()), _LONGEST_TRACEBACK, lines=True)
        click.echo(text, err=True, nl=False)
    else:
        what += " Run it with --debug to see where."
    return _report(as_json, "internal", 1, f"This is a bug in clore; please report it. {what}")


def _unread() -> int:
    """The reader of our output has closed the pipe, as `| head` does: not an error."""
    _drop_output()
    return 0


def _drop_output() -> None:
    """Discard buffered output, or Python would report an error about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(exc: click.ClickException) -> str:
    message = exc.format_message()
    if not isinstance(exc, click.UsageError) or exc.ctx is None or "See: " in message:
        return message
    return (
        message
        + (" See: " if message.endswith((".", "?", "?)")) else "; see: ")
        + (f"{exc.ctx.command_path} --help")
    )


def report(as_json: bool, exc: e.CloreAPIError) -> int:
    """Report an error on stderr; its exit code."""
    reason: str | None = exc.error or getattr(exc, "reason", None)
    code, status, step = next(
        (code, status, step)
        for kind, code, status, step in _TABLE
        if (kind == reason if isinstance(kind, str) else isinstance(exc, kind))
    )
    message = str(exc)
    if isinstance(exc, e.AuthError):
        message, step = (_NO_KEY, "") if exc.status is None else (message, _whose_key())
    elif exc.maybe_acted and "acted on" in message:
        step = _LOOK_FIRST
    return _report(as_json, code, status, f"{message} {step}".strip(), **_facts(exc))


def _facts(exc: e.CloreAPIError) -> dict[str, Any]:
    """The fields of an error with ``--json``."""
    from dataclasses import asdict  # slow to import, and help needs none

    facts: dict[str, Any] = {"error": exc.error, "api_code": exc.code}
    if isinstance(exc, (e.OrderEnded, e.WaitTimeout)):
        facts |= {"order_id": exc.order.id, "server_id": exc.order.server_id}
    elif isinstance(exc, e.LimitReached):
        facts["order_id"] = exc.order_id
    elif isinstance(exc, e.OrderUncertain):
        facts["server_id"] = exc.intent.server_id
    elif isinstance(exc, e.NoOffer):
        facts["lack"] = asdict(exc.no_match)
    elif isinstance(exc, e.BudgetError) and exc.standing is not None:
        facts |= {name: getattr(exc.standing, name) for name in ("spent", "committed")}
        facts |= {"budget": asdict(exc.standing.budget), "wanted": exc.wanted}
    elif isinstance(exc, e.RentFailed):
        names = ("server_id", "order_id", "what", "reason")
        failed = [each for each in exc.attempts if each.what in ("failed", "lost")]
        facts["attempts"] = [{name: getattr(each, name) for name in names} for each in failed]
    return facts


_NO_KEY = (
    "This command needs an API key, and none is set. Get one on clore.ai, then run: "
    "clore config set api_key (or set CLORE_API_KEY). To try clore without a key: clore demo"
)


def _whose_key() -> str:
    """The source of the refused key and its last characters; never the key."""
    from clore_ai.config import resolve

    try:
        settings = resolve()
    except e.ConfigError:
        return ""
    last = ending(settings.api_key or "")
    ends = f" and ends in {last}" if last != HIDDEN else ""
    # The variable counts before the config file: a key that is set there would not be used.
    is_variable = settings.api_key_source == "CLORE_API_KEY"
    first = "Correct it there, or unset it and run" if is_variable else "Set the right one with"
    return f"It came from {settings.api_key_source}{ends}. {first}: clore config set api_key"


def _report(as_json: bool, code: str, status: int, message: str, **facts: object) -> int:
    message = one_line(debug.clean(message), _LONGEST)
    if as_json:
        known = {name: value for name, value in facts.items() if value is not None}
        click.echo(written({"code": code, "message": message, "exit": status, **known}), err=True)
    else:
        # The user's own choice is not an error.
        prefix = "" if code in ("interrupted", "declined") else "Error: "
        text = click.style(prefix, fg="red", bold=True) + message if prefix else message
        click.echo(text, err=True, color=colour())
    return status


def colour() -> bool | None:
    """Click's `color`: off with NO_COLOR, otherwise decided by the stream."""
    return False if os.environ.get("NO_COLOR") else None
