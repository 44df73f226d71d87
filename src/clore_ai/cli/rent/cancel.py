"""`clore cancel` (004, CLI Reference): done when the orders are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clore_ai._values.sizes import counted
from clore_ai.cli import errors as _exit
from clore_ai.cli import output
from clore_ai.cli.account import connect, none, status
from clore_ai.cli.options.length import Length
from clore_ai.cli.supervise import cancelling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai import CloreAI
    from clore_ai.rental.orders.cancel import Cancelling


@click.command()
@click.argument("order_ids", type=int, nargs=-1, metavar="[ORDER_ID]...")
@click.option("--all", "everything", is_flag=True,
              help="Cancel all running orders of this ledger.")  # fmt: skip
@click.option("--others", is_flag=True,
              help="With --all: include orders that this ledger does not know.")  # fmt: skip
@click.option("--issue", metavar="TEXT",
              help="What was wrong with the server; sent to its host (up to 2,048 "
                  "characters).")  # fmt: skip
@click.option("--wait-timeout", type=Length(1), default="60s", show_default=True,
              metavar="LENGTH", help="How long to wait until the orders are gone, before exit "
                  "8.")  # fmt: skip
@click.option("-y", "--yes", is_flag=True,
              help="Don't ask before --all; required without a terminal.")  # fmt: skip
@output.json_option
def command(order_ids: tuple[int, ...], **options: Any) -> int:  # noqa: ANN401 - click's options
    """Cancel an order and show what it cost.

    The command is done when ORDER_ID is no longer among the running orders. If one of several
    fails, the others are still cancelled; the exit code is the worst one. Orders rented on the web
    site or on another machine are not in this ledger: --all names them and leaves them alone.
    """
    everything: bool = options["everything"]
    if everything == bool(order_ids):
        raise click.UsageError("Give the ids of the orders to cancel, or --all, not both.")
    if options["others"] and not everything:
        raise click.UsageError("--others needs --all; without --all, give the ids of the orders.")
    from clore_ai.rental.orders import cancel

    cancel.check_issue(options["issue"])
    if everything:
        output.can_agree(yes=options["yes"])
    with connect(ask=False) as api:  # the user has named the orders
        ids = list(dict.fromkeys(order_ids))
        if everything:
            ids = _running(api, others=options["others"], yes=options["yes"])
        done = [cancel.Cancelling(order_id) for order_id in ids]
        _end(api, done, options["issue"], options["wait_timeout"])
    if len(ids) == 1 and not everything:
        (one,) = done
        if one.error is not None:
            raise one.error
        if options["as_json"]:
            output.data({"code": 0, **one.row()})
        return 0
    if options["as_json"]:
        output.data(done)
    errors = [each.error for each in done if each.error is not None]
    codes = [_exit.report(options["as_json"], error) for error in errors]
    return max([*codes, status(api) if everything else 0])


def _end(api: CloreAI, todo: list[Cancelling], issue: str | None, timeout_s: float) -> None:
    from clore_ai.rental.orders import cancel

    try:
        api.drive(cancel.end(api.session, todo, issue, timeout_s))
    except KeyboardInterrupt as exc:
        raise KeyboardInterrupt(cancelling.interrupted(todo) or str(exc)) from None
    for each in todo:
        cancelling.show(each)


def _running(api: CloreAI, *, others: bool, yes: bool) -> list[int]:
    """The running orders of this ledger, with `others` all that run; asks for agreement first."""
    from clore_ai.rental.orders import orphans

    mine, unknown = api.drive(orphans.running(api.session))
    if unknown and not others:
        ids = " ".join(map(str, unknown))
        what = "Order {0} is" if len(unknown) == 1 else "Orders {0} are"
        output.note(
            f"{what.format(_listed(unknown))} not in this ledger and not cancelled: rented on the "
            f"web site, on another machine or by another program. Stop paying: clore cancel {ids}"
        )
    todo = mine + unknown if others else mine
    if not todo:
        none(api, "No active orders of this ledger." if unknown else "No active orders.")
    elif not yes:
        asked = [f"{counted(len(mine), 'order')} of this ledger ({_listed(mine)})"] if mine else []
        if others and unknown:
            asked.append(
                f"{counted(len(unknown), 'order')} that it does not know ({_listed(unknown)})"
            )
        output.ask(f"Cancel {' and '.join(asked)}?", "nothing was cancelled")
    return todo


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))
