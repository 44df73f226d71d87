"""`clore hosts`: what was seen of the hosts that were rented, and whom you don't want."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from clore_ai._state.folder import state_folder
from clore_ai._values.lengths import duration
from clore_ai.cli import output
from clore_ai.cli.options import period
from clore_ai.config import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai._state.hosts import Block, HostHistory, Hosts, Kind

HOST = "HOST..."
_HOST_HELP = "HOST is a server's id, or owner:ID for all servers of an owner."


def _hosts() -> Hosts:
    from clore_ai._ssh.order_keys import Access
    from clore_ai._state.hosts import Hosts
    from clore_ai._state.store import Store

    home = state_folder()
    return Hosts(Store(home, output.note), Access(home, resolve().base_url).place)


@click.group(invoke_without_command=True)
@output.json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show what is known about the hosts that you rented from.

    A failure counts for 7 days, or until the same server is found to work. Each failure ranks the
    server as if it cost a quarter more; three failures exclude it. If three servers of an owner
    fail and none works, the owner's other servers rank likewise. A machine that was lost during a
    job counts for 7 days in any case, also against the owner's other servers. A blocked host is
    never rented from until you allow it again.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


@command.command("list")
@output.json_option
def list_(as_json: bool) -> None:
    """Show what is known about the hosts that you rented from."""
    _list(as_json=as_json)


@command.command(help=f"Stop renting from these hosts.\n\n{_HOST_HELP}")
@click.argument("hosts", nargs=-1, required=True, metavar=HOST)
@click.option("--note", metavar="TEXT", help="Why.")
@output.json_option
def block(hosts: tuple[str, ...], note: str | None, as_json: bool) -> None:
    """Stop renting from these hosts."""
    from dataclasses import replace

    found = [replace(each, note=note) for each in _read(hosts)]
    _hosts().block(found)
    _done("Blocked", found, as_json=as_json)


@command.command(help=f"Rent from these hosts again and forget their failures.\n\n{_HOST_HELP}")
@click.argument("hosts", nargs=-1, required=True, metavar=HOST)
@output.json_option
def allow(hosts: tuple[str, ...], as_json: bool) -> None:
    """Rent from these hosts again and forget their failures."""
    memory = _hosts()
    found = _read(hosts)
    for each in found:
        if not memory.allow(each.kind, each.id):
            output.note(f"Nothing was recorded against {each}.")
    _done("Allowed", found, as_json=as_json)


@command.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@output.json_option
def import_(file: Any, as_json: bool) -> None:  # noqa: ANN401 - click's file; an option
    """Block the hosts of a list.

    Each line of FILE (- for stdin) holds a server's id or owner:ID; text after a # is a note.
    """
    from clore_ai._state.hosts import read_list
    from clore_ai.exceptions import InvalidInputError

    try:
        found = read_list(file.read(), time.time())
    except UnicodeDecodeError as exc:
        raise InvalidInputError(f"{file.name} is not text.", 2) from exc
    _hosts().block(found)
    _done("Blocked", found, as_json=as_json)


@command.command()
@output.json_option
def export(as_json: bool) -> None:
    """Print the blocked hosts in the form that `clore hosts import` reads.

    Servers with failures that count follow as comments: these are observations only.
    """
    memory = _hosts()
    blocks = memory.blocks()
    if as_json:
        output.data([asdict(each) for each in blocks])
        return
    for each in blocks:
        output.line(each)
    for record in _records(memory):
        if record.counting and ("server", record.server_id) not in [(b.kind, b.id) for b in blocks]:
            output.line(f"# {record.server_id}  # {record.reason}")


def _read(words: Sequence[str]) -> list[Block]:
    from clore_ai._state.hosts import read_list
    from clore_ai.exceptions import InvalidInputError

    found: list[Block] = []
    for word in words:
        try:
            (each,) = read_list(word, time.time())
        except (InvalidInputError, ValueError):
            raise click.UsageError(
                f"{word!r} is not a host; write a server's id, or owner:ID."
            ) from None
        found.append(each)
    return found


def _done(what: str, found: list[Block], *, as_json: bool) -> None:
    if as_json:
        output.data([asdict(each) for each in found])
    names = ", ".join(_name(each.kind, each.id) for each in found) or "none"
    output.note(f"{what}: {names}.")


def _name(kind: Kind, host_id: int) -> str:
    return f"{kind} {host_id}"


def _records(memory: Hosts) -> list[HostHistory]:
    from clore_ai._state.hosts import records

    return records(memory.sights(), memory.opinion(time.time()))


def _list(*, as_json: bool) -> None:
    memory = _hosts()
    seen, blocks = _records(memory), memory.blocks()
    if as_json:
        output.data({"seen": list(map(asdict, seen)), "blocked": list(map(asdict, blocks))})
        return
    if not seen and not blocks:
        output.note("No host is known yet; `clore rent` records what it finds.")
        return
    if seen:
        output.rows(
            seen,
            {
                ">Server": lambda r: r.server_id,
                ">Owner": lambda r: r.owner,
                ">Good": lambda r: r.boots,
                ">Failed": lambda r: r.failures,
                ">Lost": lambda r: r.lost,
                ">Counts": lambda r: r.counting,
                ">Boot": lambda r: duration(r.boot_s),
                ">Mbit/s": lambda r: None if r.mbit_s is None else f"{r.mbit_s:.0f}",
                ">Disk MB/s": lambda r: None if r.disk_mb_s is None else f"{r.disk_mb_s:.0f}",
                "Last seen": lambda r: period.shown(r.last_at),
                "Last failure": lambda r: r.reason,
                "Not rented": lambda r: r.blocked,
            },
            spare=["Owner", "Disk MB/s", "Mbit/s", "Counts", "Last seen"],
        )
    for each in blocks:
        note = f": {each.note}" if each.note else ""
        output.note(f"Blocked: {_name(each.kind, each.id)}{note}.")
