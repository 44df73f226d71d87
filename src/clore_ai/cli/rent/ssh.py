"""`clore ssh` (004, CLI Reference): the user's own OpenSSH, with the order's key."""

from __future__ import annotations

import os

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect
from clore_ai.cli.supervise import watching


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("order_id", type=int)
@click.option("--user", default="root", show_default=True, help="SSH user.")
@click.argument("remote", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option("--json", "as_json", is_flag=True, help="Print how to connect; open nothing.")
def command(order_id: int, user: str, remote: tuple[str, ...], as_json: bool) -> None:
    """Open a shell on an order, or run one command there.

    The exit code of COMMAND on ORDER_ID is passed on. One argument is a shell line (clore ssh 7 --
    'cd work && ls'); several arguments are each quoted (clore ssh 7 -- python -c 'print(1)').
    """
    from clore_ai.jobs.scripts import line_of
    from clore_ai.rental import way_in

    program = watching.need_ssh()
    with connect() as api:
        target = api.drive(way_in.target(api.session, order_id, user, output.note))
    words = target.ssh(line_of(remote) if remote else None)
    if as_json:
        output.data({
            "order_id": order_id, "host": target.host, "port": target.port, "user": user,
            "command": words,
        }, secrets=True)  # fmt: skip
        return
    # ssh replaces this process, so the user gets its terminal, signals and exit code directly.
    os.execv(program, words)  # noqa: S606 - no shell, on purpose
