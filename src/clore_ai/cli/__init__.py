"""The `clore` command. A command parses, calls one function and prints; it holds no logic.

Commands are imported when they are used, so that `clore --help` takes little longer than Python's
own start. Their one-line help is repeated here; a test checks that it equals the commands' own.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Callable, NoReturn

import click

from clore_ai._version import __version__

# Name, module, one-line help; grouped by the sections of the root help.
SECTIONS: dict[str, list[tuple[str, str, str]]] = {
    "Rent": [
        ("search", "rent.search", "Search the GPU marketplace."),
        ("rent", "rent.rent", "Rent the best matching server and check that it works."),
        ("watch", "rent.watch", "Wait for an offer, then report it or rent it."),
        ("deploy", "rent.deploy", "Rent a server: create a new order."),
        ("orders", "rent.orders", "List your orders."),
        ("monitor", "rent.monitor", "Watch your orders: their state, host, cost, and GPUs."),
        ("ssh", "rent.ssh", "Open a shell on an order, or run one command there."),
        ("cancel", "rent.cancel", "Cancel an order and show what it cost."),
        ("wallets", "rent.wallets", "Show wallet balances."),
    ],
    "Run": [
        ("run", "run.run", "Run a command on a rented machine and fetch the results."),
        ("jobs", "run.jobs", "List your running and finished jobs."),
        ("logs", "run.logs", "Show what a job has written so far."),
        ("attach", "run.attach", "Reattach to a job and follow it to the end."),
        ("stop", "run.stop", "Stop a job and fetch its outputs."),
    ],
    "Keep track": [
        ("ledger", "track.ledger", "Show what was rented, for how long, and what it cost."),
        ("orphans", "track.orphans", "Compare the ledger with the orders of your account."),
        ("budget", "track.budget", "Show your budgets and what is left of them."),
        ("lease", "track.lease", "Show or change when your orders end."),
        ("reap", "track.reap", "Cancel orders past their lease or cost limit."),
        ("hosts", "track.hosts", "Show what is known about the hosts that you rented from."),
    ],
    "Spot": [
        ("spot", "spot.spot", "Show a server's spot market, or hold the lowest winning bid."),
        ("spot-price", "spot.spot_price", "Change the bid of a spot order."),
    ],
    "Host": [
        ("servers", "host.servers", "List the servers that you host."),
        ("server-config", "host.server_config", "Show the settings of a server that you host."),
    ],
    "Set up": [
        ("config", "setup.config", "Read and write the settings."),
        ("sandbox", "setup.sandbox", "Run a local marketplace with real SSH, at no cost."),
        ("demo", "setup.demo", "Rent a GPU on a local marketplace, from search to cancel."),
    ],
}
COMMANDS = {name: (module, line) for rows in SECTIONS.values() for name, module, line in rows}

EPILOG = """\b
A first session:
  clore config set api_key
  clore search --gpu "RTX 4090" --max-price 0.5/h
  clore rent --gpu "RTX 4090" --max-price 0.5/h --max-cost 5
  clore ssh 678 -- nvidia-smi
  clore cancel 678
\b
Prices are shown per hour and per day. Data goes to stdout, the rest to stderr.
"""


class LazyGroup(click.Group):
    """A group that imports a command when it is called."""

    # The methods are click's; its documentation says what each must return.
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        if sys.platform == "win32":
            from clore_ai import _windows

            if cmd_name not in _windows.COMMANDS:
                _windows.refuse(f"clore {cmd_name}")
        module = COMMANDS[cmd_name][0]
        command: click.Command = import_module(f"{__name__}.{module}").command
        _everywhere(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches  # 4 ms that only a typo needs

            near = get_close_matches(name, COMMANDS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else " See: clore --help"
            ctx.fail(f"There is no command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        for section, rows in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(f"{name:13}", line) for name, _, line in rows])


def _turn_on(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001 - click's signature
    if value:
        # Set in the environment, so that commands started by this one (the demo's) show it too.
        os.environ[f"CLORE_{str(parameter.name).upper()}"] = "1"
        _show()


def _show() -> None:
    from clore_ai.cli import debug

    debug.start()


def _flags(*, hidden: bool) -> list[click.Parameter]:
    reported = {
        "--debug": "Print each request and response to stderr, secrets masked (CLORE_DEBUG=1).",
        "--curl": "Print each request to stderr as a curl line with $CLORE_API_KEY (CLORE_CURL=1).",
    }
    return [
        click.Option(
            [name], is_flag=True, expose_value=False, hidden=hidden, help=line, callback=_turn_on
        )
        for name, line in reported.items()
    ]


def _everywhere(command: click.Command) -> None:
    """Accept ``--debug`` and ``--curl`` after the command's name, where users often type them."""
    if not any("--debug" in parameter.opts for parameter in command.params):
        command.params += _flags(hidden=True)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _everywhere(below)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clore")
@click.option(
    "--context", metavar="NAME", help="Use the settings that the config file has under this name."
)
@click.option("--no-color", is_flag=True, help="Disable colours, as NO_COLOR=1 does.")
def cli(context: str | None, no_color: bool) -> None:
    """Rent GPUs on Clore.ai, work on them over SSH, and stop paying."""
    _show()
    if context:
        _use_context(context)
    if no_color:
        os.environ["NO_COLOR"] = "1"


cli.params += _flags(hidden=False)


def _use_context(name: str) -> None:
    """Use a context's settings before those in the environment: the command line comes first."""
    from clore_ai.config import in_force, load

    os.environ["CLORE_CONTEXT"] = name
    content = load()
    in_force(content)  # fails if there is no such context
    for setting in content["contexts"][name]:
        os.environ.pop(f"CLORE_{setting.upper()}", None)


def _open_streams() -> None:
    """Open a closed stdin, stdout or stderr (``>&-``) on the null device.

    Otherwise a file or connection could get its number, and output would go there. A character
    that stdout's encoding lacks, as in a GPU's name, is printed as a question mark, not an error.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))
    reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def main() -> NoReturn:
    """Run the command line; exit with a documented code, never with a traceback."""
    from clore_ai.cli import errors

    _open_streams()
    sys.exit(errors.run(cli, sys.argv[1:]))
