"""Shows an order's cost, end and wallet before money is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.lengths import duration
from clore_ai.cli import output, units
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.models import Order
    from clore_ai.rental.rent.ranking import Offer


def show(
    plan: Offer, kind: str, image: str, end: list[tuple[str, str]], most: float | None = None
) -> None:
    """Print a server's plan; `end`: lines about its end; `most`: the bid's limit, USD per hour."""
    from clore_ai.rental.rent import ranking
    from clore_ai.rental.spend import lease

    s, c = plan.server, plan.cost
    fee = (
        f"a creation fee may come on top; it is not known for {c.coin}"
        if c.creation_fee is None
        else f"{prices.coin(c.creation_fee)} {c.coin} creation fee, if it runs for 10 minutes"
    )
    where = f"{s.location or '?'}, reliability {units.share(s.reliability) or '-'}"
    lasts = "" if plan.lasts_h is None else f", lasts {duration(plan.lasts_h * 3600)}"
    price = "bid" if kind == "spot" else "price"
    listed = f"{prices.coin(c.price.per_day)} {c.coin}/day"
    total = f"{prices.coin(c.total.per_day)} {c.coin}/day"
    limit = None if most is None else f"{prices.in_words(most)} without fee, where others bid more"
    output.facts(
        ("server", f"{s.id} ({where}, at most {s.mrl or '?'} h)"),
        ("GPUs", f"{s.gpu_model} ({prices.coin(s.vram_gb)} GB each), RAM {s.ram_gb or 0:.0f} GB"),
        ("image", f"{image}, {kind}"),
        (price, f"{c.price.text()} = {listed}"),
        ("with fee", f"{c.total.text()} = {total}"),
        ("at most", limit),
        ("once", fee),
        *end,
        ("balance", f"{prices.coin(plan.balance)} {c.coin}{lasts}"),
    )
    cheaper = ranking.cheaper_coin(plan)
    if cheaper is not None:
        what = "On demand it costs less" if kind == "spot" else "It costs less"
        less, paid = (prices.in_words(o.effective.usd_per_hour) for o in (cheaper, plan))
        over = duration(plan.end.lease_s or lease.DEFAULT_S)
        output.note(
            f"  {what} in {cheaper.cost.coin}: {less} over {over} with all fees; this is {paid}.",
            bold=True,
        )


def use(order: Order, *, ssh: bool) -> None:
    """Print the commands for a running order: open a shell, stop paying."""
    if order.active:
        shell = f"Shell: clore ssh {order.id}   " if ssh else ""
        output.note(f"{shell}Stop paying: clore cancel {order.id}")


def was_cancelled(order_id: int) -> str:
    """The message after Ctrl-C if the order has ended."""
    return f"Interrupted. Order {order_id} was cancelled; nothing runs."


def goes_on(order_id: int | None) -> str:
    """The message after Ctrl-C if an order runs."""
    return (
        f"Interrupted. Order {order_id} keeps running and is billed. Stop it with: "
        f"clore cancel {order_id}"
    )
