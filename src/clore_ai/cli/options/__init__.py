"""Options that several commands share, and the meaning of their values."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Callable, TypeVar

import click

from clore_ai._values import sizes
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def bundle(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """A decorator that adds these options to a command, in the order of its help."""

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def reading(read: Callable[[str], T]) -> Callable[[str], T]:
    """An option's type: the value that `read` makes of the text; its errors name the option."""

    @wraps(read)
    def convert(text: str) -> T:
        try:
            return read(text)
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from None

    return convert


@reading
def read_size(text: str) -> int:
    """``500MB`` or ``2GB`` in bytes, above 0."""
    size = sizes.read(text)
    if size <= 0:
        raise ValueError(f"{text!r} is not a size above 0; write 500MB or 2GB.")
    return size


read_price, read_share = reading(prices.read), reading(sizes.read_share)


def from_table(
    where: object,
    table: Mapping[str, Any],
    command: click.Command,
    never: Collection[str],
    *others: str,
) -> dict[str, tuple[str, object]]:
    """As `toml.read`, for the options of a command, without `never`.

    Raises:
        ValueError: a key is neither an option nor in `others`, or a value does not fit.
    """
    from clore_ai._values import toml

    options = {
        word[2:]: toml.Option(
            str(option.name), option.multiple, option.flag_value if option.is_flag else None
        )
        for option in command.params
        if isinstance(option, click.Option) and option.name not in never
        for word in option.opts
        if word.startswith("--") and option.expose_value
    }
    return toml.read(where, table, options, *others)
