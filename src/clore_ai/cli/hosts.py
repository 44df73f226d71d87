"""`clore hosts`: what was seen of the hosts that were rented, and whom you don't want."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import _output, _period, _units
from clore_ai.config import resolve, state_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai.hosts import Block, Hosts, Kind, Record

HOST = "HOST..."
_HOST_HELP = "A HOST is a server's id, or owner:ID for all of an owner's."


def _hosts() -> Hosts:
    from clore_ai._access import Access  # noqa: PLC0415 - not for --help
    from clore_ai.hosts import Hosts  # noqa: PLC0415 - likewise

    home = state_folder()
    return Hosts(home, Access(home, resolve().base_url).place)


@click.group(invoke_without_command=True)
@_output.json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001 - an option
    """Show what was seen of the hosts that you rented.

    A failure counts for 7 days, or until the same server is seen to work: each makes it rank as if
    it cost a quarter more, and three bar it. Where three servers of an owner fail and none works,
    the owner's others rank likewise. A machine that was lost in the midst of a job counts for
    7 days in any case, against the owner's others, too. Whom you block is never rented until you
    allow it again.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


@command.command("list")
@_output.json_option
def list_(as_json: bool) -> None:  # noqa: FBT001 - an option
    """Show what was seen of the hosts that you rented."""
    _list(as_json=as_json)


@command.command(help=f"Don't rent these any more.\n\n{_HOST_HELP}")
@click.argument("hosts", nargs=-1, required=True, metavar=HOST)
@click.option("--note", metavar="TEXT", help="Why.")
@_output.json_option
def block(hosts: tuple[str, ...], note: str | None, as_json: bool) -> None:  # noqa: FBT001 - an option
    """Don't rent these any more."""
    from dataclasses import replace  # noqa: PLC0415 - not for --help

    found = [replace(each, note=note) for each in _read(hosts)]
    _hosts().block(found)
    _done("Blocked", found, as_json=as_json)


@command.command(help=f"Rent these again; their failures are forgotten.\n\n{_HOST_HELP}")
@click.argument("hosts", nargs=-1, required=True, metavar=HOST)
@_output.json_option
def allow(hosts: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - an option
    """Rent these again; their failures are forgotten."""
    memory = _hosts()
    found = _read(hosts)
    for each in found:
        if not memory.allow(each.kind, each.id):
            _output.note(f"Nothing was held against {each}.")
    _done("Allowed", found, as_json=as_json)


@command.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@_output.json_option
def import_(file: Any, as_json: bool) -> None:  # noqa: ANN401, FBT001 - click's file; an option
    """Block the hosts of a list.

    FILE (- for stdin) has a server's id or owner:ID a line; what follows a # is a note.
    """
    from clore_ai.exceptions import InvalidInputError  # noqa: PLC0415 - not for --help
    from clore_ai.hosts import read_list  # noqa: PLC0415 - likewise

    try:
        found = read_list(file.read(), time.time())
    except UnicodeDecodeError as exc:
        raise InvalidInputError(f"{file.name} is no text.", 2) from exc
    _hosts().block(found)
    _done("Blocked", found, as_json=as_json)


@command.command()
@_output.json_option
def export(as_json: bool) -> None:  # noqa: FBT001 - an option
    """Print whom you blocked, as `clore hosts import` reads it.

    Servers with failures that count stand below, as comments: they are no more than what was seen.
    """
    memory = _hosts()
    blocks = memory.blocks()
    if as_json:
        _output.data([asdict(each) for each in blocks])
        return
    for each in blocks:
        _output.line(each)
    for record in _records(memory):
        if record.counting and ("server", record.server_id) not in [(b.kind, b.id) for b in blocks]:
            _output.line(f"# {record.server_id}  # {record.reason}")


def _read(words: Sequence[str]) -> list[Block]:
    from clore_ai.exceptions import InvalidInputError  # noqa: PLC0415 - not for --help
    from clore_ai.hosts import read_list  # noqa: PLC0415 - likewise

    found: list[Block] = []
    for word in words:
        try:
            (each,) = read_list(word, time.time())
        except (InvalidInputError, ValueError):
            raise click.UsageError(
                f"{word!r} is no host; write a server's id, or owner:ID."
            ) from None
        found.append(each)
    return found


def _done(what: str, found: list[Block], *, as_json: bool) -> None:
    if as_json:
        _output.data([asdict(each) for each in found])
    names = ", ".join(_name(each.kind, each.id) for each in found) or "none"
    _output.note(f"{what}: {names}.")


def _name(kind: Kind, host_id: int) -> str:
    return f"{kind} {host_id}"


def _records(memory: Hosts) -> list[Record]:
    from clore_ai.hosts import records  # noqa: PLC0415 - not for --help

    return records(memory.sights(), memory.opinion(time.time()))


def _list(*, as_json: bool) -> None:
    memory = _hosts()
    seen, blocks = _records(memory), memory.blocks()
    if as_json:
        _output.data({"seen": list(map(asdict, seen)), "blocked": list(map(asdict, blocks))})
        return
    if not seen and not blocks:
        _output.note("Nothing is known of any host yet; `clore rent` notes what it sees.")
        return
    if seen:
        _output.table(
            [">Server", ">Owner", ">Good", ">Failed", ">Lost", ">Counts", ">Boot", ">Mbit/s",
             ">Disk MB/s", "Last seen", "Last failure", "Not rented"],
            [
                [
                    str(r.server_id),
                    "-" if r.owner is None else str(r.owner),
                    str(r.boots),
                    str(r.failures),
                    str(r.lost),
                    str(r.counting),
                    _units.duration(r.boot_s),
                    "-" if r.mbit_s is None else f"{r.mbit_s:.0f}",
                    "-" if r.disk_mb_s is None else f"{r.disk_mb_s:.0f}",
                    _period.shown(r.last_at),
                    r.reason or "-",
                    r.blocked or "-",
                ]
                for r in seen
            ],
            spare=["Owner", "Disk MB/s", "Mbit/s", "Counts", "Last seen"],
        )  # fmt: skip
    for each in blocks:
        note = f": {each.note}" if each.note else ""
        _output.note(f"Blocked: {_name(each.kind, each.id)}{note}.")
