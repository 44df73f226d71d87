"""Names records under other keys if a command would otherwise report that there are none."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from clore_ai._values.sizes import counted
from clore_ai.cli import output
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from clore_ai import CloreAI
    from clore_ai._state.ledger import Elsewhere


def note(api: CloreAI, *, ended: bool = False) -> None:
    """Print one line for each other key of this marketplace that has records.

    `ended`: count orders that have ended, too.
    """
    from clore_ai.rental.reports.orphans import key

    with suppress(ConfigError):
        for each in api.ledger.elsewhere() if api.ledger.begun() else ():
            here = each.account.place in (None, api.ledger.keys.place)
            if here and (ended or each.running or each.unsettled or each.budgets):
                output.note(f"Under {key(each)}: {_what(each)}. To see them: clore orphans")


def _what(each: Elsewhere) -> str:
    from clore_ai.rental.spend.budget import shown

    live = len(each.running) + len(each.unsettled)
    parts = [f"a budget of {shown(budget)}" for budget in each.budgets]
    if live:
        parts.insert(0, f"{counted(live, 'order')} that may still run")
    elif each.orders:
        parts.insert(0, f"{counted(each.orders, 'order')} that ended")
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
