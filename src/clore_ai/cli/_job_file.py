"""`clore.toml`: the options of `clore run` in a file of the working folder; flags win."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from clore_ai._json import as_dict, as_list

NAME = "clore.toml"
_COMMAND = "command"
_NOT_IN_FILE = ("file", "as_json", "words", "folder", "yes_really", "send_secrets")


def _read(ctx: click.Context, _option: click.Parameter, given: Path | None) -> Path | None:
    """Make the file's values the defaults of the command's options."""
    path = given or Path(NAME)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if given is None:
            return None
        raise click.UsageError(f"--file {path}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no UTF-8"
        raise click.UsageError(f"{path} can't be read: {why}.") from exc
    parser: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        content: dict[str, Any] = parser.loads(text)
    except ValueError as exc:
        raise click.UsageError(f"{path} is not valid TOML: {exc}.") from exc
    ctx.default_map = {**(ctx.default_map or {}), **_values(ctx, path, content)}
    return path


def _values(ctx: click.Context, path: Path, content: dict[str, Any]) -> dict[str, Any]:
    known = _known(ctx.command)
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key == _COMMAND:
            ctx.meta[NAME] = _words(path, value)
            continue
        option = known.get(key.replace("_", "-"))
        if option is None:
            raise click.UsageError(_unknown(path, key, [*known, _COMMAND]))
        if value is False and isinstance(option.flag_value, str):
            continue
        found[str(option.name)] = _value(path, key, option, value)
    return found


def _known(command: click.Command) -> dict[str, click.Option]:
    """The options by the names that they have in the file."""
    return {
        word[2:]: option
        for option in command.params
        if isinstance(option, click.Option) and option.name not in _NOT_IN_FILE
        for word in option.opts
        if word.startswith("--") and option.expose_value
    }


def _unknown(path: Path, key: str, known: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for a typo

    near = get_close_matches(key.replace("_", "-"), known, 1, 0.5)
    hint = f" Did you mean {near[0]!r}?" if near else f" It may hold: {', '.join(sorted(known))}."
    return f"{path}: there is no option {key!r}.{hint}"


def _words(path: Path, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    words = [word for word in as_list(value) or [] if isinstance(word, str)]
    if words and words == value:
        return tuple(words)
    raise click.UsageError(f'{path}: command is a text or a list of texts: ["python", "train.py"].')


def _value(path: Path, key: str, option: click.Option, value: object) -> object:
    """As click takes it: a text or a number as it would be typed, a list where it is repeatable."""
    if option.multiple:
        entries, several = as_dict(value), as_list(value)
        if entries is not None:
            return [f"{name}={_typed(path, key, each)}" for name, each in entries.items()]
        return [_typed(path, key, each) for each in ([value] if several is None else several)]
    if option.is_flag:
        if not isinstance(value, bool):
            raise click.UsageError(f"{path}: {key} is true or false.")
        # One of several flags of one name, e.g. --spot, has a word of its own.
        return option.flag_value if value and isinstance(option.flag_value, str) else value
    return _typed(path, key, value)


def _typed(path: Path, key: str, value: object) -> str:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    raise click.UsageError(f"{path}: {key} can't be {value!r}; write it as with --{key}.")


def words() -> tuple[str, ...]:
    """The file's `command`, where there is one."""
    found: tuple[str, ...] = click.get_current_context().meta.get(NAME, ())
    return found


option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_read,
    help=f"A job file with these options; default: {NAME}, where it is there.",
)
