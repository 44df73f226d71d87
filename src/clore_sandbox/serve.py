"""Runs a marketplace in the foreground, for `python -m clore_sandbox` and `clore sandbox up`.

Promises: with `--json` stdout is one line, written once it answers; before it listens on an address
that other machines can reach, stderr warns what that means; Ctrl-C, SIGTERM and SIGHUP stop it and
everything that runs for its orders. With `--state-dir` it can be found again (daemon.py), and a
second marketplace with the same folder is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from clore_sandbox import daemon, exposure
from clore_sandbox.provision import KINDS

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from clore_sandbox.sandbox import Sandbox

__all__ = ["main", "parser"]

_USAGE_ERROR = 2
_FILES = 20_000


def _seconds(text: str) -> float:
    """``90s``, ``30m``, ``2h``, or plain seconds."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
    return float(text.rstrip("smhd") if text[-1:] in units else text) * units.get(text[-1:], 1.0)


_seconds.__name__ = "length of time"  # as argparse names it in the error


def parser() -> argparse.ArgumentParser:
    """The options of the server."""
    options = argparse.ArgumentParser(
        prog="python -m clore_sandbox",
        description="A local Clore.ai marketplace: the same API, real SSH, no costs.",
    )
    add = options.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    add(
        "--port", type=int, default=0, help="port to listen on; 0, the default, takes any free port"
    )
    add("--public-host", metavar="NAME", help="host name that orders show; default: --host")
    add(
        "--ports",
        type=_ports,
        metavar="A-B",
        help="port range for orders (default: any free ports)",
    )
    add("--inventory", type=Path, metavar="FILE", help="a captured marketplace body")
    add("--as-is", action="store_true", help="serve the captured body unchanged")
    add(
        "--dialect",
        choices=("live", "reference"),
        default="live",
        help="answer as the service does (default), or as its documents say",
    )
    add("--db", metavar="PATH|URL", help=f"keep the state here; default: {daemon.DB_VARIABLE}")
    add(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that answer (default 1); more need a postgresql:// --db",
    )
    add(
        "--api-key",
        metavar="KEY",
        help=f"first account's key; default: {daemon.KEY_VARIABLE}, or a random key",
    )
    add(
        "--control-key",
        metavar="KEY",
        help=f"key of /control; default: {daemon.CONTROL_KEY_VARIABLE}, or a random key",
    )
    add("--seed", type=int, default=0, help="seed of the sample fleet (default 0)")
    add(
        "--lag",
        type=_seconds,
        default=1.0,
        metavar="S",
        help="delay until a new order is listed (default 1s)",
    )
    add(
        "--boot",
        type=_seconds,
        default=1.5,
        metavar="S",
        help="further delay until its SSH answers (default 1.5s)",
    )
    add(
        "--time-scale",
        type=float,
        default=1.0,
        metavar="X",
        help="market seconds per second (default 1)",
    )
    add("--alive", action="store_true", help="simulated renters and hosts, drawn by --seed")
    add(
        "--host-servers",
        type=int,
        default=0,
        metavar="N",
        help="servers that the first account hosts (default 0)",
    )
    add("--no-limits", action="store_true", help="turn the rate limits off")
    add(
        "--provisioner",
        choices=KINDS,
        default="process",
        help="how orders are isolated from this machine (default: process, not at all)",
    )
    add("--state-dir", type=Path, metavar="DIR", help="folder in which status and down find it")
    add(
        "--json",
        action="store_true",
        help="print one line of JSON once it answers: base_url, api_key, …",
    )
    return options


def _ports(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal()):
        raise argparse.ArgumentTypeError(f"a range is like 20000-20100, not {text!r}")
    return int(first), int(last)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal stops it; the exit status."""
    options = parser().parse_args(argv)
    try:
        # First of all: processes inherit ignored signals, but not handlers.
        with _stop_signals() as wait, contextlib.ExitStack() as stack:
            if signal.getsignal(signal.SIGQUIT) == signal.SIG_IGN:
                signal.signal(signal.SIGQUIT, signal.SIG_DFL)
            _open_more_files()
            warned = exposure.warning(options.host, options.provisioner)
            if warned is not None:
                print(warned, file=sys.stderr, flush=True)  # noqa: T201 - this is a command
            if options.state_dir is not None:
                stack.enter_context(daemon.claim(options.state_dir))
            sandbox = stack.enter_context(_sandbox(options))
            if options.state_dir is not None:
                daemon.write(options.state_dir, sandbox)
                stack.callback(daemon.forget, options.state_dir)
            _announce(sandbox, options)
            wait()
    except (ValueError, daemon.RunsAlready) as exc:
        return _failed(str(exc), _USAGE_ERROR)
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        return _failed(where + (exc.strerror or str(exc)), 1)
    except RuntimeError as exc:
        return _failed(str(exc), 1)
    return 0


@contextlib.contextmanager
def _stop_signals() -> Generator[Callable[[], object]]:
    """In this block the signals that stop it end a call of the function, also if they came before.

    By a pipe that Python's C code writes to. A handler that sets a `threading.Event` would wait for
    itself if the signal came while the main thread is inside of `Event.wait`; and one that comes
    just before a wait begins is seen only after it.
    """
    came, wake = os.pipe()
    os.set_blocking(wake, False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield lambda: os.read(came, 1)
    finally:
        signal.set_wakeup_fd(before)
        os.close(came)
        os.close(wake)


def _failed(why: str, status: int) -> int:
    print(f"{daemon.FAILURE_PREFIX}{' '.join(why.split())}", file=sys.stderr)  # noqa: T201 - this is a command
    return status


def _open_more_files() -> None:
    """Raise the limit on open files, each of them a connection; shells start with 256 or 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a further limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _sandbox(options: argparse.Namespace) -> Sandbox:
    from clore_sandbox.sandbox import Sandbox

    return Sandbox(
        host=options.host,
        port=options.port,
        public_host=options.public_host,
        ports=options.ports,
        inventory=options.inventory,
        as_is=options.as_is,
        dialect=options.dialect,
        db=os.environ.get(daemon.DB_VARIABLE) if options.db is None else options.db,
        api_key=options.api_key or os.environ.get(daemon.KEY_VARIABLE) or None,
        control_key=options.control_key or os.environ.get(daemon.CONTROL_KEY_VARIABLE) or None,
        seed=options.seed,
        visibility_lag_s=options.lag,
        boot_s=options.boot,
        time_scale=options.time_scale,
        alive=options.alive,
        host_servers=options.host_servers,
        limits=not options.no_limits,
        workers=options.workers,
        provisioner=options.provisioner,
    )


def _announce(sandbox: Sandbox, options: argparse.Namespace) -> None:
    if options.json:
        names = ("base_url", "api_key", "control_url", "control_key")
        text = json.dumps({name: getattr(sandbox, name) for name in names})
    else:
        exports = (f"  export {n}={shlex.quote(v)}\n" for n, v in sandbox.environment.items())
        text = (
            f"The marketplace answers at {sandbox.base_url} ({options.dialect} dialect).\n\n"
            f"{''.join(exports)}\n"
            "Ctrl-C stops it and everything rented on it."
        )
    print(text, flush=True)  # noqa: T201 - this is a command
