"""Decides what a `clore.toml` that was not named with ``--file`` may set without a question.

The author of a cloned repository must not spend the user's money, send the user's data, act on
other orders or leave something behind without a question that shows the line. Every option belongs
to one of the four groups below; an option in none of them needs agreement. An option on the command
line wins, and needs no agreement.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from clore_ai._values.text import plain
from clore_ai.cli import output

Lines = dict[str, tuple[str, Any]]
"""Option name -> its key in the file, and its value there."""
LINES = f"{__name__}.lines"
WORDS = "words"
"""The argument that the key `command` sets."""

NEVER = {"file", "as_json", "folder", "send_secrets", "yes_really"}
"""Not allowed in any job file, named or not."""
FREE = {
    WORDS, "fetch_every", "max_cost", "max_hours", "max_price_usd", "no_upload", "outputs",
    "purpose", "setup", "verify_command",
}  # fmt: skip
"""Allowed: they concern only the machine and the job, or only lower the cost."""
PRICED = {
    "attempts", "boot_deadline_s", "countries", "currency", "force", "gpu", "gpu_count",
    "image", "lease", "lost_after", "max_bid_usd", "min_cuda", "min_disk_gb", "min_down_mbps",
    "min_ram_gb", "min_reliability", "min_vram_gb", "no_keeper", "ports", "sort", "spot_price",
    "type", "verify",
}  # fmt: skip
"""They choose the machine, its price and its end. The plan's own question covers them; if ``--yes``
answers that question, they need agreement here: the author may be the host of that machine."""
ASKED = {
    "cancels": "cancels that order of yours afterwards",
    "detach": "leaves a process in the background here",
    "env": "sends values of your environment to the machine",
    "env_file": "sends the variables in this file to the machine",
    "forwards": "opens ports on this computer that lead to the machine",
    "max_output": "lets the machine send this much to your disk",
    "max_upload": "sends this much of this folder without asking again",
    "keep": "leaves the machine up, and billed, afterwards",
    "order_id": "runs it on this order of yours",
    "ref": "takes the order of yours that has this name",
    "retries": "may rent two more machines without asking again",
    "ssh_key_file": "reads and sends this public key",
    "yes": "rents without asking",
}
"""Option name -> what it could do."""
_LONGEST = 2_000
"""Longest line, in characters, that can be agreed to: a longer one would not be read."""


def ask(options: dict[str, Any], *, typed: bool) -> None:
    """Show the file's options and ask about those that need agreement; skip a file that was named.

    `typed`: the command to run is on the command line, not in the file.
    """
    context = click.get_current_context()
    lines: Lines = {
        name: line
        for name, line in context.meta.get(LINES, {}).items()
        if (name != WORDS or not typed)
        and (name == WORDS or context.get_parameter_source(name) == ParameterSource.DEFAULT_MAP)
        and line[1] is not False
        and line[1] != []
    }
    if not lines:
        return
    output.note("From clore.toml:")
    for key, value in lines.values():
        output.note(f"  {plain(_line(key, value))}")
    asked = _asked(lines, options)
    if asked:
        _agree(asked)


def _asked(lines: Lines, options: dict[str, Any]) -> dict[str, str]:
    """The lines that need agreement, in full, each with the reason."""
    everything = _elsewhere(options["folder"])
    priced = options["yes"] and not options["order_id"]
    asked: dict[str, str] = {}
    for name, (key, value) in lines.items():
        why = ASKED.get(name, "is used on the folder of --folder" if everything else "")
        if not why and name in PRICED and priced:
            why = "chooses what is rented, with no other question after --yes"
        elif not why and name not in FREE | PRICED:
            why = "may do more than it seems"
        shown = value
        if name == "env" and not everything:  # NAME=VALUE sends nothing of the user's
            shown = [each for each in value if "=" not in each]
        if not why or not shown:
            continue
        line = _line(key, shown)
        if len(line) > _LONGEST:
            raise click.UsageError(
                f"clore.toml: the line {plain(key)} is too long to confirm here. If you "
                "trust the file, name it: --file clore.toml."
            )
        asked[plain(line, _LONGEST)] = why
    return asked


def _agree(asked: dict[str, str]) -> None:
    output.note("You did not name this file with --file, so confirm these lines first:")
    for line, why in asked.items():
        output.note(f"  {line}   ({why})", bold=True)
    if not output.somebody():
        raise click.UsageError(
            "clore.toml has lines that need your confirmation, and there is no terminal; --yes "
            "does not confirm them. If you trust the file, name it: --file clore.toml. To run "
            f"without it: --file {os.devnull}."
        )
    output.ask("Apply these lines?", "nothing was rented or run")


def _elsewhere(folder: Path) -> bool:
    """Is the job's folder another one than the file's? The file may not decide about that one."""
    here = Path.cwd().resolve()
    return here not in (worked_on := folder.expanduser().resolve(), *worked_on.parents)


def _line(key: str, value: object) -> str:
    """The key and value as TOML, on one line."""
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"
