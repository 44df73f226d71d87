"""Environment variables as the user writes them: ``KEY=VALUE``, or ``KEY`` for one that is set."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def typed(pairs: tuple[str, ...], *, any_name: bool = False) -> dict[str, str]:
    """Those of ``--env``, which is repeatable; with `any_name` no shell has to know them."""
    return dict(
        _pair(text, f"--env number {number}", any_name=any_name)
        for number, text in enumerate(pairs, 1)
    )


def in_file(path: Path) -> dict[str, str]:
    """Those of ``--env-file``: one a line, with comments, ``export`` and quotes as in a shell."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise click.UsageError(f"--env-file {path} can't be read: {why}.") from exc
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ").strip() if line.strip() else ""
        if text and not text.startswith("#"):
            name, value = _pair(text, f"{path}, line {number}")
            if "=" in text and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            found[name] = value
    return found


def _pair(text: str, where: str, *, any_name: bool = False) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    is_name = name if any_name else _NAME.fullmatch(name)
    if not (is_name and (equals or name in os.environ)):
        # Not quoted: what stands there may be the secret itself.
        raise click.UsageError(
            f"{where}: write KEY=VALUE, e.g. EPOCHS=1, or KEY alone for one that your environment "
            "holds."
        )
    return name, value if equals else os.environ[name]
