"""Environment variables as lines, in options, in files, and for a shell. Pure."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read(
    text: str, where: str, here: Mapping[str, str], *, any_name: bool = False
) -> tuple[str, str]:
    """``KEY=VALUE``, or ``KEY`` alone for a variable that is set `here`.

    `any_name`: the name need not be valid in a shell.

    Raises:
        ValueError: it is neither; names `where` it stands.
    """
    name, equals, value = text.partition("=")
    is_name = name if any_name else _NAME.fullmatch(name)
    if not (is_name and (equals or name in here)):
        # The line is not quoted: it may be the secret itself.
        raise ValueError(
            f"{where}: write KEY=VALUE, e.g. EPOCHS=1, or KEY alone for one that your environment "
            "holds."
        )
    return name, value if equals else here[name]


def read_lines(text: str, where: str, here: Mapping[str, str]) -> dict[str, str]:
    """The variables of a file, one per line, in the syntax of a shell's assignments.

    Raises:
        ValueError: as `read`.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        pair = line.strip().removeprefix("export ").strip() if line.strip() else ""
        if pair and not pair.startswith("#"):
            name, value = read(pair, f"{where}, line {number}", here)
            if "=" in pair and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            found[name] = value
    return found


def exports(variables: Mapping[str, str]) -> str:
    """Shell lines that set these variables."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
