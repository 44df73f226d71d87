"""Options of a new order that several commands share: login, ports, environment, start-up."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import click

from clore_ai._ssh import order_keys
from clore_ai._state.folder import state_folder
from clore_ai._values import variables
from clore_ai.cli import output
from clore_ai.cli.errors import as_usage
from clore_ai.cli.options import F, bundle
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Generator

_FIELDS = re.compile(
    r"\b((ssh_key|ssh_password|jupyter_token|currency|spot_price|boot_deadline|max_bid_usd)\b"
    r'|type="spot")'
)

_FILE = click.Path(path_type=Path, dir_okay=False)
_TABLE: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "--ssh-password": ((), {
        "callback": output.typed, "help": "SSH password, up to 32 characters; - asks for it."}),
    "--ssh-key": ((), {"help": "Text of the public SSH key."}),
    "--ssh-key-file": ((), {
        "type": _FILE, "help": "File of the public SSH key. Without a key, clore creates and uses "
        "its own."}),
    "--port": (("ports",), {
        "multiple": True, "metavar": "PORT:KIND",
        "help": "Port to open: 22:tcp or 8888:http; repeatable. Default: 22:tcp."}),
    "--env": ((), {
        "multiple": True, "metavar": "KEY=VALUE",
        "help": "Environment variable; KEY alone takes the value from your environment; "
        "repeatable."}),
    "--jupyter-token": ((), {
        "callback": output.typed, "help": "Jupyter token, up to 32 characters; - asks for it."}),
    "--command": (("startup",), {"help": "Command to run at start-up."}),
}  # fmt: skip


def options(*only: str, whose: str = "") -> Callable[[F], F]:
    """The options of an order, or `only` these; their help begins with `whose`."""

    def one(word: str) -> Callable[[Any], Any]:
        name, given = _TABLE[word]
        as_shown: dict[str, Any] = {**given, "help": f"{whose}{given['help']}"}
        return click.option(word, *name, **as_shown)

    return bundle(*map(one, only or _TABLE))


name_options = bundle(
    click.option("--ref", metavar="NAME",
                 help="A name for this rental; the same name returns the same order."),
    click.option("--purpose", metavar="TEXT",
                 help="Purpose of the order; `clore ledger` can total by purpose."),
)  # fmt: skip


def key(options: dict[str, Any]) -> tuple[str | None, Path | None]:
    """The public key to send, and the private key's file, if known."""
    if None not in (options.get("ssh_key"), options.get("ssh_key_file")):
        raise click.UsageError("Give only one of --ssh-key and --ssh-key-file.")
    if options.get("ssh_key_file") is not None:
        return order_keys.key_file(options["ssh_key_file"])
    if options.get("ssh_key") is not None:
        if len(options["ssh_key"].split()) == 1:  # probably a path; a key has two or three words
            raise click.UsageError(
                "--ssh-key takes the text of a public key (ssh-ed25519 AAAA…); for a file give "
                "--ssh-key-file FILE instead."
            )
        return options["ssh_key"], None
    if options.get("ssh_password") is not None:
        return None, None
    return order_keys.own_key(state_folder())


def fields(options: dict[str, Any]) -> tuple[dict[str, Any], Path | None]:
    """The fields of an `OrderRequest` by name; and the private key's file, if known."""
    text, identity = key(options)
    return {
        "ssh_password": options["ssh_password"],
        "ssh_key": text,
        "ports": ports(options["ports"]),
        "env": env(options["env"], any_name=True) or None,
        "jupyter_token": options["jupyter_token"],
        "command": options["startup"],
    }, identity


def ports(pairs: tuple[str, ...]) -> dict[str, str]:
    """Ports in the service's form; port 22 if none is named."""
    read: dict[str, str] = {}
    for pair in pairs or ("22:tcp",):
        port, colon, kind = pair.partition(":")
        if not colon or kind not in ("tcp", "http") or not port.isdigit():
            raise click.UsageError(f"--port {pair!r}: write PORT:tcp or PORT:http, e.g. 22:tcp.")
        if port in read:
            raise click.UsageError(f"--port {port} is given twice.")
        read[port] = kind
    return read


def env(pairs: tuple[str, ...], *, any_name: bool = False) -> dict[str, str]:
    """The variables of ``--env``; with `any_name` a name need not be valid in a shell."""
    with as_usage():
        return dict(
            variables.read(text, f"--env number {number}", os.environ, any_name=any_name)
            for number, text in enumerate(pairs, 1)
        )


def env_file(path: Path) -> dict[str, str]:
    """The variables of ``--env-file``."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise click.UsageError(f"--env-file {path} can't be read: {why}.") from exc
    with as_usage():
        return variables.read_lines(text, str(path), os.environ)


@contextmanager
def in_options(spot: str = "--type spot") -> Generator[None]:
    """Errors about the input name the options, not the fields; `spot`: the command's own option."""
    names = {"boot_deadline": "--boot-timeout", "max_bid_usd": "--max-bid", 'type="spot"': spot}
    try:
        yield
    except InvalidInputError as exc:
        named = _FIELDS.sub(lambda it: names.get(it[0]) or f"--{it[0].replace('_', '-')}", str(exc))
        raise InvalidInputError(named, exc.code) from exc
