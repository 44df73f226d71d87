"""Draws the layers in docs/architecture.md: `python -m tests.docs.draw_layers`.

Each drawing is in the fenced block after a line ``<!-- layers: clore_ai -->``. It is made from the
contract in pyproject.toml, which import-linter checks, and from the first lines of docstrings.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
_BLOCK = re.compile(r"<!-- layers: (?P<package>[\w.]+) -->\n```text\n.*?\n```", re.DOTALL)


def layers(package: str) -> list[list[str]]:
    """The rooms of `package` by layer, the highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract.get("containers") == [package]:
            return [layer.split(" | ") for layer in contract["layers"]]
    raise LookupError(f"{package} has no contract of layers")


def summary(package: str, room: str) -> str:
    """The first line of a room's docstring."""
    place = ROOT / "src" / Path(*package.split(".")) / room
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").partition("\n")[0]


def drawing(package: str) -> str:
    """One line for each room, a rule between layers. A lower layer never imports a higher one."""
    rooms = layers(package)
    wide = max(len(room) for layer in rooms for room in layer)
    lines: list[str] = []
    for layer in rooms:
        for number, room in enumerate(layer):
            edge = "┌" if len(layer) > 1 and number == 0 else "└" if number else " "
            edge = "│" if 0 < number < len(layer) - 1 else edge
            lines.append(f"{edge} {room:{wide}}  {summary(package, room)}".rstrip())
    return "\n".join(lines)


def drawn(page: str) -> str:
    """The page with every drawing up to date."""

    def block(found: re.Match[str]) -> str:
        package = found["package"]
        return f"<!-- layers: {package} -->\n```text\n{drawing(package)}\n```"

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text("utf-8")), "utf-8")
