"""Options that several commands share, and the meaning of their values."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def bundle(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """A decorator that adds these options to a command, in the order of its help."""

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add
