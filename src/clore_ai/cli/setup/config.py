"""`clore config` (004, CLI Reference)."""

from __future__ import annotations

import click

from clore_ai import config
from clore_ai._values.kinds import as_dict
from clore_ai._values.secrets import ending
from clore_ai.cli import output
from clore_ai.exceptions import NotFoundError

_STRANGERS = (
    "These options apply to every connection to a rented machine, which belongs to a stranger: "
    "its owner can use an agent, a display or a tunnel that is forwarded, and can read variables "
    "that are sent. Nothing else of your SSH configuration is used."
)
_context = click.option("--context", metavar="NAME", help="Use the settings under this name.")


def _setting(_ctx: click.Context, _argument: click.Parameter, key: str) -> str:
    if key not in config.SETTINGS:
        known = ", ".join(config.SETTINGS)
        raise click.UsageError(f"There is no setting {key!r}. Settings: {known}.")
    return key


_key = click.argument("key", callback=_setting)


@click.group()
def command() -> None:
    """Read and write the settings.

    The settings are: api_key, base_url, context, requests_per_second, ssh_options.
    """


class _Set(click.Command):
    """Accepts a value that begins with a dash and holds a space, as ssh_options may."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert ``--`` before that value."""
        dashed = (i for i, word in enumerate(args) if word.startswith("-") and " " in word)
        at = next(dashed, len(args))
        return super().parse_args(ctx, args if "--" in args else [*args[:at], "--", *args[at:]])


@command.command("set", cls=_Set)
@_key
@click.argument("value", required=False)
@_context
@output.json_option
def set_(key: str, value: str | None, context: str | None, as_json: bool) -> None:
    """Set one setting, from the command line or a prompt.

    Without VALUE, the value is read from a prompt or from stdin, so that a key does not end up in
    the shell's history: clore config set api_key
    """
    if value is None:
        value = output.read(key, hidden=key in config.SECRETS)
    value = value.strip()
    if not value:
        raise click.UsageError(f"No value for {key}.")
    path = config.store(key, value, context)
    if as_json:
        output.data({"key": key, "file": str(path), "context": context})
    output.note(f"Set {key}{f' of context {context}' if context else ''} in {path}.")
    if key == "ssh_options":
        output.note(_STRANGERS)


@command.command("get")
@_key
@click.option("--reveal", is_flag=True, help="Print a secret in full.")
@_context
@output.json_option
def get(key: str, reveal: bool, context: str | None, as_json: bool) -> None:
    """Print one setting of the config file.

    Without --reveal, only the last four characters of a secret are printed.
    """
    content = config.load()
    values = config.in_force(content if context is None else {**content, "context": context})
    if key not in values:
        raise NotFoundError(f"{key} is not set. Set it with: clore config set {key}")
    value = values[key] if reveal else _masked(key, values[key])
    if as_json:
        output.data({key: value}, secrets=True)
    else:
        output.line(value)


@command.command("show")
@output.json_option
def show(as_json: bool) -> None:
    """Show all settings, with secrets masked, and the path of their file."""
    content = config.load()
    shown = {key: _masked(key, value) for key, value in content.items() if key != "contexts"}
    contexts = {
        name: {key: _masked(key, value) for key, value in (as_dict(values) or {}).items()}
        for name, values in (as_dict(content.get("contexts")) or {}).items()
    }
    if as_json:
        output.data({**shown, **({"contexts": contexts} if contexts else {})}, secrets=True)
    else:
        rows = [[key, str(value)] for key, value in shown.items()]
        for name, values in contexts.items():
            rows += [[f"{name}: {key}", str(value)] for key, value in values.items()]
        if rows:
            output.table(["Setting", "Value"], rows)
    output.note(f"File: {config.config_file()}" + ("" if content else " (does not exist yet)"))


def _masked(key: str, value: object) -> object:
    return ending(value) if key in config.SECRETS else value
