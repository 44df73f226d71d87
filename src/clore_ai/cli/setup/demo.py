"""`clore demo`: a whole rental on the local marketplace, as a session of typed commands.

Every command runs exactly as shown. All state is in a temporary folder. Everything is stopped at
the end, also after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from clore_ai import _signals
from clore_ai.cli import output
from clore_ai.exceptions import CloreAPIError

_JOB = 'python3 -c "print(4 * sum((-1) ** k / (2 * k + 1) for k in range(2_000_000)))" | tee pi.txt'


@click.command()
@click.option("--inventory", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              envvar="CLORE_INVENTORY",
              help="Captured marketplace body; default: CLORE_INVENTORY, or a sample "
                  "fleet.")  # fmt: skip
@click.option("--gpu", default="RTX 4090", show_default=True, help="GPU to rent.")
def command(inventory: Path | None, gpu: str) -> None:
    """Rent a GPU on a local marketplace, from search to cancel.

    It takes less than 30 seconds and costs nothing.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clore-demo-") as home:
        session = _Session({**os.environ, "CLORE_HOME": home})
        for name in ("CLORE_CONTEXT", "CLORE_API_KEY", "CLORE_BASE_URL"):
            session.env.pop(name, None)
        _signals.interrupt_by_any()
        try:
            _rent(session, inventory, gpu)
        finally:
            session.stop()
    output.note(f"Done in {time.monotonic() - start:.0f} s; nothing is left running.", bold=True)


def _rent(session: _Session, inventory: Path | None, gpu: str) -> None:
    fleet = [] if inventory is None else ["--inventory", str(inventory)]
    shown = [] if inventory is None else ["--inventory", inventory.name]
    session.show("sandbox", "up", "--detach", *shown)
    # An interrupted start would leave a marketplace that can't be stopped.
    with _signals.deferred():
        marketplace = json.loads(session.read("sandbox", "up", "--detach", "--json", *fleet))
    session.env |= {
        "CLORE_BASE_URL": marketplace["base_url"],
        "CLORE_API_KEY": marketplace["api_key"],
    }
    output.note(f"# a marketplace on this machine: {marketplace['base_url']}")

    session.run("search", "--gpu", gpu, "--limit", "5")
    cheapest = json.loads(session.read("search", "--gpu", gpu, "--limit", "1", "--json"))[0]
    listed = cheapest["price_per_day"]["on_demand"]
    wallets = json.loads(session.read("wallets", "--json"))
    coin = next(
        w["name"]
        for w in reversed(wallets)  # USD first: its creation fee is known
        if w["name"] in cheapest["allowed_coins"] and w["name"] in listed
    )
    order = session.run(
        "deploy", str(cheapest["id"]), "--image", "cloreai/ubuntu22.04-cuda12",
        "--type", "on-demand", "--currency", coin, "--yes", "--wait", capture=True,
    ).strip()  # fmt: skip
    session.run("ssh", order, "--", "nvidia-smi")
    session.run("ssh", order, "--", _JOB)
    session.run("orders")
    session.run("cancel", order)


class _Session:
    """Runs `clore` commands as a shell would, and shows them as they would be typed."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env

    def run(self, *words: str, capture: bool = False) -> str:
        """Show and run a command; with `capture`, return its stdout as well as showing it."""
        self.show(*words)
        text = self._clore(words, out=subprocess.PIPE if capture else None, err=None)
        click.echo(text, nl=False)
        return text

    def read(self, *words: str) -> str:
        """Run a command without showing it, and return its stdout."""
        return self._clore(words, out=subprocess.PIPE, err=subprocess.PIPE)

    def show(self, *words: str) -> None:
        """Show a command."""
        output.note("")
        output.note(f"$ clore {shlex.join(words)}", bold=True)

    def stop(self) -> None:
        """Stop the marketplace, even if Ctrl-C is pressed again."""
        with _signals.deferred(), contextlib.suppress(CloreAPIError):
            self.read("sandbox", "down")

    def _clore(self, words: tuple[str, ...], *, out: int | None, err: int | None) -> str:
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "clore_ai", *words],
            env=self.env,
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            start_new_session=True,  # only this process handles Ctrl-C
        )
        if done.returncode in (-signal.SIGINT, _signals.INTERRUPTED):
            raise KeyboardInterrupt  # Ctrl-C before the child had its own session
        if done.returncode:
            reason = f": {done.stderr.strip()}" if done.stderr else "."
            raise CloreAPIError(f"`clore {words[0]}` ended with code {done.returncode}{reason}")
        return done.stdout or ""
