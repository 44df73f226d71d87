"""Does the key in use belong to an account that the ledger knows by another key? Needs evidence.

The service's answers to this key are compared with the ledger's entries of the same marketplace:
an order with the same id, start and server, or a deposit address. So a rotated key finds its
budgets, leases, refs and jobs again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from clore_ai._state.accounts import Listed
from clore_ai._values.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clore_ai._state.accounts import Joined
    from clore_ai.models import Order, Wallet
    from clore_ai.rental.session import Session

_ADDRESS = re.compile(r"[0-9A-Za-z]{20,100}")
"""Anything else in the place of a deposit address, such as a note, may not be unique."""


def by_orders(session: Session, rows: Iterable[Order]) -> None:
    """Join the accounts that own these orders of the user.

    Raises:
        ConfigError: the ledger can't be read or written.
    """
    listed = [Listed(o.id, o.ct, o.server_id) for o in rows if o.ct is not None]
    if listed:
        _report(session, session.ledger.keys.join(listed))


def by_wallets(session: Session, wallets: Iterable[Wallet]) -> set[str]:
    """Join the accounts that own these wallets; returns their deposit addresses.

    Raises:
        ConfigError: the ledger can't be read or written.
    """
    found = {w.deposit for w in wallets if w.deposit and _ADDRESS.fullmatch(w.deposit)}
    _report(session, session.ledger.keys.join(addresses=found))
    return found


def _report(session: Session, joined: Iterable[Joined]) -> None:
    for each in joined:
        shown = (
            "its deposit address is the same"
            if each.order_id is None
            else f"order {each.order_id} is listed under both"
        )
        other = "another key" if each.ending is None else f"the key {each.ending}"
        orders, budgets = counted(each.orders, "order"), counted(each.budgets, "budget")
        session.note_trouble(
            f"This key opens the account that {other} opened before ({shown}). Its ledger "
            f"({orders}, {budgets}), leases and jobs continue under this key."
        )
