"""Reports what was rented in a period, its cost, and how much the wallets fell: `clore ledger`."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from math import inf
from typing import TYPE_CHECKING, Literal

from clore_ai._api.steps import Flow, clock, local
from clore_ai._values.days import days
from clore_ai._values.text import one_line
from clore_ai.exceptions import (
    AuthError,
    DBError,
    RateLimitError,
    ResponseError,
    TransportError,
)
from clore_ai.models._base import short_gpu
from clore_ai.rental.market import rates
from clore_ai.rental.orders import reconcile
from clore_ai.rental.spend import bill
from clore_ai.rental.spend.bill import Sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai.models.records import Intent
    from clore_ai.rental.session import Session
    from clore_ai.rental.spend.bill import Bill, Wallet

By = Literal["day", "gpu", "purpose", "server"]
_LONGEST = 4_000
"""Characters of a cell of CSV."""


@dataclass(frozen=True)
class Report:
    """The cost of orders in a period."""

    bills: list[Bill]
    """One bill for each order that ran then, for the part within the period."""
    sums: list[Sum]
    """Sums by group and coin."""
    total: list[Sum]
    """Sums by coin."""
    wallets: list[Wallet]
    stale: str | None
    """Why the service could not be asked; None if it was asked, or should not be."""
    by: By | None = None
    """How `sums` are grouped."""

    def csv(self) -> str:
        """The sums as CSV if there is a grouping, else the orders; the first line has the names."""
        text = io.StringIO()
        columns = [each.name for each in fields(Sum)] if self.by else bill.COLUMNS
        rows = [asdict(each) for each in self.sums] if self.by else [b.row() for b in self.bills]
        out = csv.DictWriter(text, columns, lineterminator="\n")
        out.writeheader()
        out.writerows({name: cell(name, value) for name, value in row.items()} for row in rows)
        return text.getvalue()


def cell(name: str, value: object) -> object:
    """A text on one line; with a quote before it if a spreadsheet would take it for a formula.

    The user's own text (`purpose`, `ref`) gets no quote.
    """
    if not isinstance(value, str):
        return value
    text = one_line(value, _LONGEST)
    is_formula = len(text) > 1 and text[0] in "=+-@" and name not in ("purpose", "ref")
    return f"'{text}" if is_formula else text


def report(
    session: Session,
    begin: float = -inf,
    end: float = inf,
    by: By | None = None,
    *,
    offline: bool = False,
) -> Flow[Report]:
    """The cost of this key's orders from `begin` to `end`, unix seconds.

    Args:
        session: the client's.
        begin: the start of the period.
        end: its end.
        by: the grouping of `Report.sums`; days are days of this machine's time zone.
        offline: use only the ledger; do not ask the service.

    Raises:
        AuthError: there is no key, or it is refused.
        ConfigError: the ledger can't be read.
    """
    if not session.rules.has_key:
        raise AuthError("The ledger is kept per API key, and none is set.")
    stale = None
    if not offline:
        try:
            yield from reconcile.orders(session, include_completed=True)
            yield from reconcile.wallets(session)
            kept = yield from local(_kept, session)
            foreign = [i for i in kept if bill.bill(i, 0, session.rates).usd_per_coin is None]
            if foreign:
                yield from rates.ask(session, foreign[0].server_id)
        except (DBError, RateLimitError, ResponseError, TransportError) as exc:
            stale = str(exc)
    now = (yield from clock()).wall
    whole = [bill.bill(i, now, session.rates) for i in (yield from local(_kept, session))]
    bills = [part for each in whole if (part := bill.within(each, begin, end)) is not None]
    balances = yield from local(session.ledger.balances)
    return Report(
        bills,
        bill.add_up(_keyed(bills, by, begin, end)) if by else [],
        bill.add_up(("total", each) for each in bills),
        bill.wallets([b for b in balances if begin <= b.at < end], whole),
        stale,
        by,
    )


def _kept(session: Session) -> list[Intent]:
    return [intent for intent in session.ledger.intents() if intent.state != "refused"]


def _keyed(bills: Sequence[Bill], by: By, begin: float, end: float) -> list[tuple[str, Bill]]:
    if by != "day":
        return sorted(((_key(each.intent, by), each) for each in bills), key=lambda pair: pair[0])
    if not bills:
        return []
    first = max(begin, min(b.begin for b in bills))
    last = min(end, max(max(b.end, b.begin + b.seconds) for b in bills))
    return [
        (day, part)
        for day, start, stop in days(first, last)
        for each in bills
        if (part := bill.within(each, start, stop)) is not None
    ]


def _key(intent: Intent, by: By) -> str:
    if by == "gpu":
        return short_gpu(intent.gpu or "-")
    return intent.purpose or "-" if by == "purpose" else str(intent.server_id)
