"""Writes the `--help` texts in docs/cli.md: `python -m tests.docs.write_cli`.

Each is in the fenced block after a line ``<!-- help: clore search -->``.
"""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from clore_ai.cli import COMMANDS, cli

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
_BLOCK = re.compile(r"<!-- help: clore ?(?P<words>[\w -]*?) -->\n```text\n.*?\n```", re.DOTALL)
GROUPS = {
    "budget": ["set", "unset"],
    "hosts": ["list", "block", "allow", "import", "export"],
    "lease": ["extend", "set"],
    "spot": ["auto", "show"],
    "config": ["set", "get", "show"],
    "sandbox": ["up", "status", "down"],
}


def every_command() -> list[list[str]]:
    """The words of every command, groups and their commands included."""
    found: list[list[str]] = [[]]
    for name in COMMANDS:
        found.append([name])
        found += [[name, sub] for sub in GROUPS.get(name, [])]
    return found


def help_of(words: list[str]) -> str:
    """The output of `clore WORDS --help`, 80 columns wide."""
    result = CliRunner().invoke(
        cli, [*words, "--help"], prog_name="clore", terminal_width=80, env={"COLUMNS": "80"}
    )
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def written(page: str) -> str:
    """The page with every help text up to date."""

    def block(found: re.Match[str]) -> str:
        words = found["words"].split()
        name = " ".join(["clore", *words])
        return f"<!-- help: {name} -->\n```text\n{help_of(words)}\n```"

    return _BLOCK.sub(block, page)


def documented(page: str) -> list[list[str]]:
    """The words of every command on the page."""
    return [found["words"].split() for found in _BLOCK.finditer(page)]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
