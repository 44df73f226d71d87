"""Does an order fit the budgets? Gathers what `budget` needs to decide.

If there is no budget, the service is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai._api.steps import local
from clore_ai.exceptions import BudgetError
from clore_ai.models.records import USD_VALUE, Budget, BudgetStanding, Intent
from clore_ai.rental.market import listing
from clore_ai.rental.market.cost import cost
from clore_ai.rental.spend import budget as budgets

if TYPE_CHECKING:
    from clore_ai._api.order_request import OrderRequest
    from clore_ai._api.steps import Flow
    from clore_ai.rental.session import Session


@dataclass(frozen=True)
class RunningCost:
    """The cost of an order, as far as it is known before the request."""

    per_day: float | None
    """Coin per **day**, without the renter's fee."""
    usd_per_coin: float | None


def price(
    session: Session,
    wanted: OrderRequest,
    usd_per_coin: float | None,
    max_cost_usd: float | None = None,
) -> Flow[RunningCost]:
    """The price of an order: from `wanted`, or, if a limit needs it, the listed one.

    Raises:
        BudgetError: there is a limit in USD, and the coin's value is not known.
    """
    coin, said = wanted.currency, wanted.price_per_day
    usd = session.rates.usd(coin, usd_per_coin)
    kept = yield from local(session.ledger.budgets)
    in_usd = max_cost_usd is not None or any(b.unit == USD_VALUE for b in kept)
    if (said is None and kept) or (usd is None and in_usd):
        server = yield from listing.one(session, wanted.server_id)
        listed = None if server is None else cost(server, coin, wanted.type, said)
        if listed is not None:
            said, usd = listed.price.per_day, usd or listed.price.usd_per_coin
    if max_cost_usd is not None and usd is None:
        raise BudgetError(
            f"The USD price of {coin} is not known, so a cost of at most {max_cost_usd:g} USD "
            "can't be kept; pay in another coin, or limit the time."
        )
    return RunningCost(said, usd)


def check(session: Session, new: Intent, now: float, *, was: Intent | None = None) -> None:
    """May `new` be rented, or `was` become `new`? See `budget.check`.

    Of two concurrent rentals the later one counts the earlier one, which need not count it: so they
    can't exceed the budget together, and never both give way.

    Raises:
        BudgetError: no; nothing was done.
        ConfigError: the ledger can't be read.
    """
    kept = session.ledger.budgets()
    if kept:
        others = [
            i
            for i in session.ledger.since(_earliest(kept, now))
            if i.id != new.id
            and (i.state != "open" or was is not None or new.id is None or (i.id or 0) < new.id)
        ]
        budgets.check(kept, others, new, now, session.rates, was=was)


def standings(session: Session, now: float) -> list[BudgetStanding]:
    """How each budget stands."""
    kept = session.ledger.budgets()
    intents = session.ledger.since(_earliest(kept, now)) if kept else []
    return [budgets.stand(b, intents, now, session.rates) for b in kept]


def _earliest(kept: list[Budget], now: float) -> float:
    return min(budgets.period(b.per, now)[0] for b in kept)
