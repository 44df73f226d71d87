"""`clore hosts`: the record of hosts that were rented, and the block list."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from clore_ai._values import days
from clore_ai._values.lengths import duration
from clore_ai.cli import output
from clore_ai.cli.errors import as_usage
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Generator

    from clore_ai import CloreAI
    from clore_ai._state.hosts import Block

_hosts = click.argument("hosts", nargs=-1, required=True, metavar="HOST...")


@contextmanager
def _here() -> Generator[CloreAI]:
    """A client that sends no requests."""
    from clore_ai import CloreAI

    with CloreAI(state=True) as api:
        try:
            yield api
        finally:
            for sentence in api.session.trouble:
                output.note(sentence)


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
        ctx.invoke(list_, as_json=as_json)


@command.command("list")
@output.json_option
def list_(as_json: bool) -> None:
    """Show what is known about the hosts that you rented from."""
    with _here() as api:
        found = api.hosts()
    if as_json:
        output.data(found)
        return
    if not found.seen and not found.blocked:
        output.note("No host is known yet; `clore rent` records what it finds.")
        return
    if found.seen:
        output.rows(
            found.seen,
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
                "Last seen": lambda r: days.shown(r.last_at),
                "Last failure": lambda r: r.reason,
                "Not rented": lambda r: r.blocked,
            },
            spare=["Owner", "Disk MB/s", "Mbit/s", "Counts", "Last seen"],
        )
    for each in found.blocked:
        note = f": {each.note}" if each.note else ""
        output.note(f"Blocked: {each.kind} {each.id}{note}.")


@command.command()
@_hosts
@click.option("--note", metavar="TEXT", help="Why.")
@output.json_option
def block(hosts: tuple[str, ...], note: str | None, as_json: bool) -> None:
    """Stop renting from these hosts.

    HOST is a server's id, or owner:ID for all servers of an owner.
    """
    with _here() as api, as_usage():
        found = api.block_hosts(*hosts, note=note)
    _done("Blocked", found, as_json=as_json)


@command.command()
@_hosts
@output.json_option
def allow(hosts: tuple[str, ...], as_json: bool) -> None:
    """Rent from these hosts again and forget their failures.

    HOST is a server's id, or owner:ID for all servers of an owner.
    """
    from clore_ai.rental.reports.hosts import allow

    with _here() as api, as_usage():
        found, unknown = api.drive(allow(api.session, hosts))
    for each in unknown:
        output.note(f"Nothing was recorded against {each}.")
    _done("Allowed", found, as_json=as_json)


@command.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@output.json_option
def import_(file: Any, as_json: bool) -> None:  # noqa: ANN401 - click's file; an option
    """Block the hosts of a list.

    Each line of FILE (- for stdin) holds a server's id or owner:ID; text after a # is a note.
    """
    from clore_ai.rental.reports.hosts import block_list

    try:
        text = file.read()
    except UnicodeDecodeError as exc:
        raise InvalidInputError(f"{file.name} is not text.", 2) from exc
    with _here() as api:
        found = api.drive(block_list(api.session, text))
    _done("Blocked", found, as_json=as_json)


@command.command()
@output.json_option
def export(as_json: bool) -> None:
    """Print the blocked hosts in the form that `clore hosts import` reads.

    Servers with failures that count follow as comments: these are observations only.
    """
    with _here() as api:
        found = api.hosts()
    if as_json:
        output.data(found.blocked)
        return
    for each in found.blocked:
        output.line(each)
    for record in found.failing:
        output.line(f"# {record.server_id}  # {record.reason}")


def _done(what: str, found: list[Block], *, as_json: bool) -> None:
    if as_json:
        output.data(found)
    names = ", ".join(f"{each.kind} {each.id}" for each in found) or "none"
    output.note(f"{what}: {names}.")
