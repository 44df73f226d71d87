"""Every command of document 004 exists, its help is true, and help starts fast."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import places
import pytest

from clore_ai.cli import COMMANDS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .driver import Clore

# Document 004, CLI Reference.
DOCUMENTED: dict[str, set[str]] = {
    "search": {"--gpu", "--min-gpu", "--min-ram", "--max-price", "--sort", "--limit"},
    "orders": set(),
    "deploy": {
        "--image", "--type", "--currency", "--ssh-password", "--ssh-key", "--port", "--env",
        "--spot-price",
    },
    "cancel": set(),
    "wallets": set(),
    "servers": set(),
    "server-config": set(),
    "spot": set(),
    "spot-price": set(),
    "ssh": {"--user"},
    "config set": set(),
    "config get": set(),
    "config show": set(),
}  # fmt: skip


def every_command(
    group: click.Command = cli, name: str = ""
) -> Iterator[tuple[str, click.Command]]:
    for word in group.list_commands(click.Context(group)) if isinstance(group, click.Group) else ():
        assert isinstance(group, click.Group)
        command = group.get_command(click.Context(group), word)
        assert command is not None
        path = f"{name} {word}".strip()
        yield path, command
        yield from every_command(command, path)


ALL = dict(every_command())


def options(command: click.Command) -> set[str]:
    return {o for p in command.params if isinstance(p, click.Option) for o in p.opts}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_commands_have_their_documented_options(name: str) -> None:
    """A command line shown in document 004 is still understood."""
    assert options(ALL[name]) >= DOCUMENTED[name]


def test_the_table_above_matches_document_004() -> None:
    """The table in this file has exactly the commands of document 004."""
    path = places.document("004")
    if path is None:
        pytest.skip("the documents are not available")
    text = path.read_text("utf-8")
    rows = re.findall(r"^\| `clore ([^`<]+?)(?: <[^`]*)?` +\|", text, re.MULTILINE)
    assert set(rows) == set(DOCUMENTED)
    blocks = re.findall(r"```bash\nclore (\w+) [^`]*?\n\nOptions:\n([^`]*)```", text)
    assert {name for name, _ in blocks} == {"search", "deploy", "ssh"}
    for name, block in blocks:
        assert set(re.findall(r"--[\w-]+", block)) - {"--help"} == DOCUMENTED[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_root_help_repeats_each_commands_first_line(name: str) -> None:
    """The root help has a copy of each command's first line, to avoid imports; both are equal."""
    help_text = ALL[name].help
    assert help_text is not None
    assert help_text.splitlines()[0] == COMMANDS[name][1]


@pytest.mark.parametrize("name", [n for n, c in ALL.items() if not isinstance(c, click.Group)])
def test_every_command_but_the_demo_has_json(name: str) -> None:
    """Every command that prints data has --json; the demo is a show."""
    assert ("--json" in options(ALL[name])) == (name != "demo")


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_explained(name: str) -> None:
    """Each option has a help text, and each command's help a first line that ends in a period."""
    command = ALL[name]
    assert [p.opts for p in command.params if isinstance(p, click.Option) and not p.help] == []
    assert command.help is not None
    assert command.help.splitlines()[0].endswith(".")


def test_help_imports_almost_nothing() -> None:
    """`clore --help` is nearly as fast as bare Python: no HTTP client, models, tables, loop."""
    code = (
        "import sys; sys.argv = ['clore', '--help']\n"
        "from clore_ai.cli import main\n"
        "try: main()\n"
        "finally: print('|', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    text, _, modules = done.stdout.partition("|")
    assert text.startswith("Usage: clore")
    heavy = {"httpx", "pydantic", "rich", "asyncio", "difflib", "clore_sandbox", "subprocess"}
    assert heavy & set(modules.split()) == set()


def test_no_arguments_and_typos_lead_to_the_help(new_user: Clore) -> None:
    """Bare `clore` shows the help; a mistyped command gets the closest one as a suggestion."""
    assert "A first session:" in new_user(fails=2).err
    assert "Did you mean 'search'?" in new_user("serch", fails=2).err
    assert "See: clore --help" in new_user("fly", fails=2).err
    assert "clore search --help" in new_user("search", "--gpus", "3", fails=2).err
    assert new_user("--version").out.startswith("clore, version ")
