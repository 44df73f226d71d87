"""What may cost money unseen, by what is known on this machine; nothing is asked of the service."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from clore_ai._values.lengths import duration
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from clore_ai._api.steps import Instant
    from clore_ai.rental.session import Session

_CLOCK_OFF_S = 300.0


def unlisted(session: Session) -> list[int]:
    """The orders that run by the ledger, and that the last look at the orders has not listed."""
    with suppress(ConfigError):  # said by whatever needed the ledger
        running = session.ledger.running() if session.ledger.begun() else []
        # A look from before it was made says nothing of an order.
        known = {i.order_id or 0 for i in running} - session.made
        return session.listings.unlisted(known)
    return []


def sentences(session: Session, now: Instant) -> list[str]:
    """One each: a clock that is off, orders that are not listed or near their end, dry wallets."""
    found: list[str | None] = []
    if abs(now.ahead_s) > _CLOCK_OFF_S:
        off = f"{duration(abs(now.ahead_s))} {'behind' if now.ahead_s > 0 else 'ahead of'}"
        found.append(
            f"This machine's clock is {off} the service's clock, which decides when leases end; "
            "correct it."
        )
    missing = unlisted(session)
    if missing:
        found.append(
            f"The service does not list order {', '.join(map(str, missing))} now, but the ledger "
            "has it as running, so it may be billed. Check again in half a minute: clore orders"
        )
    ledger = session.ledger
    with suppress(ConfigError):
        if session.rules.has_key and ledger.begun():
            from clore_ai.rental.spend import warnings  # most commands have no orders

            running = ledger.running()
            latest = {b.coin: (b.at, b.balance) for b in ledger.balances()}
            found += [
                warnings.of_leases(running, now.wall),
                warnings.of_endless(i for i in running if i.order_id not in session.made),
                warnings.of_wallets(running, latest, now.wall),
            ]
    return [sentence for sentence in found if sentence is not None]
