"""`clore cancel` (004, CLI Reference): done when the orders are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import _exit, _output, _units
from clore_ai.cli._account import connect, none, status
from clore_ai.cli._length import Length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai.client import CloreAI
    from clore_ai.exceptions import CloreAPIError
    from clore_ai.rental.cancel import Cancelling

_SAID = {
    "you_dont_own_this_order": "You have no order {0}. See: clore orders",
    "order_not_active": (
        "Order {0} has already ended. What it cost: clore orders --completed"
    ),
}  # fmt: skip


@click.command()
@click.argument("order_ids", type=int, nargs=-1, metavar="[ORDER_ID]...")
@click.option("--all", "everything", is_flag=True,
              help="All orders of this ledger that run.")  # fmt: skip
@click.option("--others", is_flag=True,
              help="With --all: those that this ledger does not know, too.")  # fmt: skip
@click.option("--issue", metavar="TEXT",
              help="What was wrong with the server, for its host (2,048 characters).")  # fmt: skip
@click.option("--wait-timeout", type=Length(1), default="60s", show_default=True,
              metavar="LENGTH", help="Until they must be gone; then exit 8.")  # fmt: skip
@click.option("-y", "--yes", is_flag=True,
              help="Don't ask, with --all; needed without a terminal.")  # fmt: skip
@_output.json_option
def command(order_ids: tuple[int, ...], **options: Any) -> int:  # noqa: ANN401 - click's options
    """Cancel an order and say what it cost.

    Done when ORDER_ID is gone from the orders that run. Of several, one that fails does not stop
    the others; the exit code is the worst. What was rented on the web site or on another machine is
    not of this ledger: --all names it, and leaves it alone.
    """
    everything: bool = options["everything"]
    if everything == bool(order_ids):
        raise click.UsageError("Give the ids of the orders to cancel, or --all, not both.")
    if options["others"] and not everything:
        raise click.UsageError("--others goes with --all; without it the ids say which orders.")
    from clore_ai.rental import check  # noqa: PLC0415 - not for --help

    check.issue(options["issue"])
    if everything:
        _output.can_agree(yes=options["yes"])
    with connect(ask=False) as api:  # they know which order they mean
        ids = list(dict.fromkeys(order_ids))
        if everything:
            ids = _running(api, others=options["others"], yes=options["yes"])
        done = end(api, ids, options["issue"], options["wait_timeout"])
    if len(ids) == 1 and not everything:
        (one,) = done
        if one.error is not None:
            raise one.error
        if options["as_json"]:
            _output.data({"code": 0, **row(one)})
        return 0
    if options["as_json"]:
        _output.data([row(each) for each in done])
    errors = [each.error for each in done if each.error is not None]
    codes = [_exit.tell(options["as_json"], error) for error in errors]
    return max([*codes, status(api) if everything else 0])


def _running(api: CloreAI, *, others: bool, yes: bool) -> list[int]:
    """The orders of this ledger that run, with `others` all that run, once that is agreed to."""
    from clore_ai.rental import orphans  # noqa: PLC0415 - not for --help

    rows = [order for order in api.my_orders() if order.active]
    unknown = [order.id for order in orphans.unknown(api.ledger, rows)]
    mine = [order.id for order in rows if order.id not in unknown]
    if unknown and not others:
        ids = " ".join(map(str, unknown))
        what = "Order {0} is" if len(unknown) == 1 else "Orders {0} are"
        _output.note(
            f"{what.format(_listed(unknown))} not of this ledger, so not cancelled: rented on the "
            f"web site, on another machine or by another program. Stop paying: clore cancel {ids}"
        )
    todo = mine + unknown if others else mine
    if not todo:
        none(api, "No active orders of this ledger." if unknown else "No active orders.")
    elif not yes:
        asked = [f"{_count(mine)} of this ledger ({_listed(mine)})"] if mine else []
        if others and unknown:
            asked.append(f"{_count(unknown)} that it does not know ({_listed(unknown)})")
        _output.ask(f"Cancel {' and '.join(asked)}?", "nothing was cancelled")
    return todo


def _count(ids: Sequence[int]) -> str:
    return "1 order" if len(ids) == 1 else f"{len(ids)} orders"


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))


def end(
    api: CloreAI,
    ids: Sequence[int],
    issue: str | None,
    timeout_s: float,
    why: str = "cancelled here",
) -> list[Cancelling]:
    """Cancel these orders and say what each cost; what became of each. `why`: for the ledger.

    Raises:
        KeyboardInterrupt: saying which of them may still run.
    """
    from clore_ai.rental import cancel  # noqa: PLC0415 - not for --help

    todo = [cancel.Cancelling(order_id, why=why) for order_id in ids]
    try:
        api.drive(cancel.until_gone(api.session, todo, issue, timeout_s))
    except KeyboardInterrupt:
        left = " ".join(str(each.order_id) for each in todo if not each.done)
        if not left:
            raise
        raise KeyboardInterrupt(
            f"Interrupted. Not seen to end, and maybe billed: {left}. "
            f"Look with: clore orders. Try again with: clore cancel {left}"
        ) from None
    for each in todo:
        each.error = _plain(each.order_id, each.error)
        if each.gone or getattr(each.error, "error", None) == "order_not_active":
            api.session.access.forget(each.order_id)
        if each.gone:
            _output.note(f"Cancelled: order {each.order_id}.{_bill(each)}", bold=True)
        elif each.error is not None and each.error.error not in _SAID:
            _output.note(
                f"Order {each.order_id} may still run, and be billed. Stop paying: "
                f"clore cancel {each.order_id}",
                bold=True,
            )
    return todo


def _plain(order_id: int, error: CloreAPIError | None) -> CloreAPIError | None:
    """A refusal in words that name the order and the next step."""
    from clore_ai.exceptions import FieldError  # noqa: PLC0415 - not for --help

    said = _SAID.get(error.error or "") if error is not None else None
    if error is None or said is None:
        return error
    plain = FieldError(said.format(order_id), error.code, error.response, status=error.status)
    plain.__cause__ = error
    return plain


def _bill(each: Cancelling) -> str:
    spent = row(each)
    if spent.get("total") is None:
        return " What it cost is not known."
    return (
        f" It ran {_units.duration(spent['seconds'])} and cost {_units.coin(spent['total'])} "
        f"{spent['currency']}: {_units.coin(spent['spend'])} for the time, the rest fees."
    )


def row(each: Cancelling) -> dict[str, Any]:
    """What became of an order, for ``--json``; `total` is in `currency`, fees in."""
    from clore_ai.rental.cost import spent  # noqa: PLC0415 - not for --help

    order = each.order
    total = spent(order) if order is not None else None
    found: dict[str, Any] = {"order_id": each.order_id, "cancelled": each.gone}
    if each.error is not None:
        found["error"] = each.error.error or str(each.error)
    if order is not None and total is not None:
        ended = order.order_end is not None and order.ct is not None
        found |= {
            "spend": order.spend,
            "total": total,
            "currency": order.currency,
            "seconds": (order.order_end or 0) - (order.ct or 0) if ended else None,
        }
    return found
