"""`clore ssh` (004, CLI Reference): the user's own OpenSSH, with the order's key."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

import click

from clore_ai.cli import output, units
from clore_ai.cli.account import connect

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.models import Order


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
    from clore_ai.rental.orders import wait

    program = shutil.which("ssh")
    if program is None:
        raise click.UsageError("ssh is not installed. Install it: apt-get install openssh-client")
    with connect() as api:
        order = api.drive(wait.find(api.session, order_id))
        host = _host(api, order)
        target = api.session.access.target(order, host, user, output.note)
    line = None if not remote else remote[0] if len(remote) == 1 else shlex.join(remote)
    words = target.ssh(line)
    if as_json:
        output.data({
            "order_id": order.id, "host": host, "port": order.ssh_port, "user": user,
            "command": words,
        }, secrets=True)  # fmt: skip
        return
    # Replaced by ssh, so its terminal, signals and exit code are the user's own.
    os.execv(program, words)  # noqa: S606 - no shell, on purpose


def _host(api: CloreAI, order: Order) -> str:
    """The first of the order's hosts where SSH answers."""
    from clore_ai.exceptions import InvalidInputError, WaitTimeout
    from clore_ai.rental.orders import wait

    if order.ssh_port is None and order.status == "running":
        raise InvalidInputError(
            f"Order {order.id} has no port 22, so no SSH; rent with --port 22:tcp.", 2
        )
    if order.ssh_port is None or not order.ssh_hosts:
        raise WaitTimeout(
            f"Order {order.id} has no SSH address yet (status: {order.status}); try again in a "
            "minute, or rent with --wait.",
            order,
        )
    host = api.drive(wait.greets(api.session, order))
    if host is None:
        raise WaitTimeout(
            f"SSH of order {order.id} does not answer yet at {units.address(order)}; "
            f"machines take 1-6 minutes. It is billed meanwhile: clore cancel {order.id}",
            order,
        )
    return host
