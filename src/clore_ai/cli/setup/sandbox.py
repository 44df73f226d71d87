"""`clore sandbox`: runs the local marketplace, in the foreground or in the background.

No other file of the client refers to `clore_sandbox`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clore_ai._state.folder import folder_for, state_folder
from clore_ai._values.variables import exports
from clore_ai.cli import output
from clore_ai.cli.errors import Nothing
from clore_ai.cli.options.length import Length
from clore_ai.exceptions import CloreAPIError

if TYPE_CHECKING:
    from types import ModuleType

_CAPTURED = click.Path(path_type=Path, dir_okay=False, exists=True)


def _range(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is None or re.fullmatch(r"[0-9]{1,5}-[0-9]{1,5}", value):
        return value
    raise click.BadParameter(f"a range looks like 20000-20100, not {value!r}.")


@click.group()
def command() -> None:
    """Run a local marketplace with real SSH, at no cost.

    It has the same API as the service, on 127.0.0.1. A rented "server" is a shell on this machine
    that runs as you.
    """


@command.command("up")
@click.option("--host", help="Address to listen on; default: 127.0.0.1, this machine only.")
@click.option("--port", type=click.IntRange(0, 65535), default=0,
              help="Port to listen on; default: any free port.")  # fmt: skip
@click.option("--public-host", metavar="NAME", help="Host name that orders show; default: --host.")
@click.option("--ports", metavar="A-B", callback=_range,
              help="Port range for orders; default: any free ports.")  # fmt: skip
@click.option("--inventory", type=_CAPTURED,
              help="Captured marketplace body to serve; default: a sample fleet.")  # fmt: skip
@click.option("--as-is", is_flag=True, help="Serve the captured body unchanged.")
@click.option("--dialect", type=click.Choice(["live", "reference"]), default="live",
              show_default=True,
              help="Answer as the service does, or as its documents say.")  # fmt: skip
@click.option("--db", metavar="FILE|URL",
              help="Keep the state in this SQLite file, or at postgresql://…")  # fmt: skip
@click.option("--workers", type=click.IntRange(1),
              help="Processes that answer (1); more need postgresql://.")  # fmt: skip
@click.option("--api-key", help="Your account's key; default: CLORE_SANDBOX_API_KEY, or random.")
@click.option("--control-key",
              help="Key of /control; default: CLORE_SANDBOX_CONTROL_KEY, or random.")  # fmt: skip
@click.option("--seed", type=int, help="Seed of the sample fleet (0).")
@click.option("--lag", type=Length(0), metavar="LENGTH",
              help="Delay until a new order is listed (1s).")  # fmt: skip
@click.option("--boot", type=Length(0), metavar="LENGTH",
              help="Further delay until SSH answers (1.5s).")  # fmt: skip
@click.option("--time-scale", type=click.FloatRange(0, min_open=True),
              help="Market seconds per second (1).")  # fmt: skip
@click.option("--alive", is_flag=True, help="Simulate other renters and hosts, by --seed.")
@click.option("--host-servers", type=click.IntRange(0), help="Servers that your account hosts (0).")
@click.option("--no-limits", is_flag=True, help="Turn the rate limits off.")
@click.option("--provisioner", type=click.Choice(["process", "bwrap", "docker"]),
              help="How to isolate orders: not at all (default), by namespaces, or by "
                  "containers.")  # fmt: skip
@click.option("--detach", is_flag=True, help="Run in the background; see status and down.")
@output.json_option
@click.pass_context
def up(ctx: click.Context, /, detach: bool, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's options
    """Start a marketplace.

    With --json, it prints {"base_url", "api_key", "control_url", "control_key"} in
    one line once it answers.
    """
    daemon, serve = _part("daemon"), _part("serve")
    words: list[str] = []
    for name, value in options.items():
        if value is not None and value is not False:
            words.append("--" + name.replace("_", "-"))
            words += [] if value is True else [str(value)]
    if (running := daemon.find(_folder())) is not None:
        raise click.UsageError(
            f"A marketplace already runs at {running.base_url} (process {running.pid}). "
            "Stop it with: clore sandbox down. See: clore sandbox status"
        )
    folder = folder_for("sandbox")
    if not detach:
        words += ["--state-dir", str(folder)] + (["--json"] if as_json else [])
        ctx.exit(serve.main(words))
    # The server warns too, but in the background nobody would see it.
    warned = _part("exposure").warning(options["host"], options["provisioner"])
    if warned is not None:
        output.note(warned)
    try:
        running = daemon.start_detached(folder, words)
    except daemon.RunsAlready as exc:
        raise click.UsageError(f"{str(exc).rstrip('.')}.") from exc
    except RuntimeError as exc:
        raise CloreAPIError(str(exc)) from exc
    _show(running, {} if as_json else None)
    if not as_json:
        output.note(
            f"The marketplace runs in the background (process {running.pid}). "
            'Point a shell at it with: eval "$(clore sandbox status)"'
        )


@command.command("status")
@output.json_option
def status(as_json: bool) -> None:
    """Show whether a marketplace runs, and where.

    Prints the exports that point a shell at it: eval "$(clore sandbox status)"
    """
    running = _part("daemon").find(_folder())
    if running is None:
        raise Nothing("No marketplace runs. Start one with: clore sandbox up --detach")
    _show(running, {"pid": running.pid} if as_json else None)
    if not as_json:
        output.note(f"The marketplace runs at {running.base_url} (process {running.pid}).")


@command.command("down")
@output.json_option
def down(as_json: bool) -> None:
    """Stop the marketplace, and every process of its orders."""
    try:
        stopped: bool = _part("daemon").stop(_folder())
    except RuntimeError as exc:
        raise CloreAPIError(str(exc)) from exc
    if as_json:
        output.data({"stopped": stopped})
    output.note("Stopped." if stopped else "No marketplace runs.")


def _show(running: Any, more: dict[str, int] | None) -> None:  # noqa: ANN401 - daemon.Running
    """Print the shell lines that select the marketplace; with `more`, JSON."""
    if more is None:
        click.echo(exports(running.environment))
        return
    names = ("base_url", "api_key", "control_url", "control_key")
    output.data({**{name: getattr(running, name) for name in names}, **more}, secrets=True)


def _folder() -> Path:
    return state_folder() / "sandbox"


def _part(name: str) -> ModuleType:
    """A module of the marketplace, if the extra is installed."""
    from importlib import import_module

    try:
        import_module("clore_sandbox.sandbox" if name == "serve" else "clore_sandbox")
        return import_module(f"clore_sandbox.{name}")
    except ImportError as exc:
        raise click.UsageError(
            f"The local marketplace is not installed ({exc.name or exc}). "
            "In a checkout of clore-ai, run: pip install '.[sandbox]' (Python 3.10 or newer)."
        ) from exc
