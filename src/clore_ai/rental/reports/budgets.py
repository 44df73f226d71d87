"""Sets and removes budgets, and reports how they stand: `clore budget`."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from clore_ai._api.steps import Flow, clock, local
from clore_ai.exceptions import AuthError, CloreAPIError, InvalidInputError, NotFoundError
from clore_ai.models.price import COINS
from clore_ai.models.records import USD_VALUE
from clore_ai.rental.orders import reconcile
from clore_ai.rental.spend import afford
from clore_ai.rental.spend.budget import shown

if TYPE_CHECKING:
    from clore_ai.models.records import Budget, BudgetStanding, Per
    from clore_ai.rental.session import Session

PERIODS = ("day", "month")


def standings(session: Session) -> Flow[list[BudgetStanding]]:
    """How the budgets stand; without a budget the service is not asked.

    Raises:
        CloreAPIError, ConfigError: the orders, or the ledger, can't be read.
    """
    if not (yield from local(session.ledger.budgets)):
        return []
    yield from reconcile.orders(session, include_completed=True)
    now = (yield from clock()).wall
    return (yield from local(afford.standings, session, now))


def set_budget(session: Session, budget: Budget) -> Flow[list[BudgetStanding]]:
    """Set a budget, which refuses orders that exceed it from now on; returns how it stands.

    Raises:
        AuthError: there is no key.
        InvalidInputError: there is no such period or coin, or the amount is below 0.
        CloreAPIError, ConfigError: as `standings`.
    """
    _need_key(session)
    if not 0 <= budget.amount < inf:
        raise InvalidInputError(f"A budget is 0 or more, not {budget.amount!r}.", 2)
    for value, known in ((budget.per, PERIODS), (budget.unit, (USD_VALUE, *COINS))):
        if value not in known:
            raise InvalidInputError(f"{value!r} is none of {', '.join(known)}.", 2)
    yield from local(session.ledger.set_budget, budget)
    found = [each for each in (yield from standings(session)) if each.budget == budget]
    if not (yield from local(session.ledger.keys.has_deposits)):
        with suppress(CloreAPIError):  # the budget is set; it belongs to this key
            yield from reconcile.wallets(session)
    return found


def unset_budgets(
    session: Session, per: Per | None = None, unit: str | None = None
) -> Flow[list[Budget]]:
    """Remove the budgets of a period and a unit; None matches any.

    Raises:
        AuthError: there is no key.
        NotFoundError: there is no such budget.
        ConfigError: the ledger can't be read.
    """
    _need_key(session)
    kept = yield from local(session.ledger.budgets)
    gone = [b for b in kept if per in (None, b.per) and unit in (None, b.unit)]
    if not gone:
        there = ", ".join(shown(b) for b in kept) or "none"
        raise NotFoundError(f"There is no such budget (budgets: {there}). See: clore budget")
    for budget in gone:
        yield from local(session.ledger.unset_budget, budget)
    return gone


def _need_key(session: Session) -> None:
    if not session.rules.has_key:
        raise AuthError("A budget belongs to an API key, and none is set.", 3)
