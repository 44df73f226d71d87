"""Compares the ledger with the account's orders, an entry per difference: `clore orphans`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai._api.steps import Flow, clock
from clore_ai.rental.orders import orphans

if TYPE_CHECKING:
    from clore_ai._state.ledger import Elsewhere
    from clore_ai.models import Order
    from clore_ai.models.records import Intent
    from clore_ai.rental.session import Session

UNKNOWN = "not in the ledger"


@dataclass(frozen=True)
class Orphan:
    """An order, or a record of the ledger, that has no counterpart."""

    order_id: int | None
    record: int | None
    """The record's number in the ledger."""
    server_id: int | None
    gpu: str | None
    seconds: float | None
    """How long it has run, as far as is known."""
    spend: float | None
    """In `currency`, without fees."""
    currency: str | None
    problem: str


@dataclass(frozen=True)
class Comparison:
    """The differences."""

    mine: list[Orphan]
    """Differences of the key in use."""
    others: list[Orphan]
    """Orders of other keys and marketplaces: they may still run."""
    elsewhere: list[Elsewhere]
    """Other entries of other keys."""


def compare(session: Session) -> Flow[Comparison]:
    """Compare the ledger with the orders of the account.

    Raises:
        CloreAPIError, ConfigError: the orders, or the ledger, can't be read.
    """
    found = yield from orphans.orphans(session)
    now = (yield from clock()).wall
    mine = [_order(order, now) for order in found.unknown]
    mine += [_record(i, now, "not listed by the service") for i in found.missing]
    others: list[Orphan] = []
    for each in found.elsewhere:
        under = f"under {key(each)}{place(each)}"
        others += [_record(i, now, under) for i in each.running]
        others += [_record(i, now, f"may exist, {under}") for i in each.unsettled]
    return Comparison(mine, others, found.elsewhere)


def key(each: Elsewhere) -> str:
    """``another key (…ab34)``, as far as is known of it."""
    return f"another key ({each.account.ending})" if each.account.ending else "another key"


def place(each: Elsewhere) -> str:
    """`` of https://…``: its marketplace, if known."""
    return f" of {each.account.place}" if each.account.place else ""


def _order(order: Order, now: float) -> Orphan:
    seconds = None if order.ct is None else now - order.ct
    return Orphan(
        order.id,
        None,
        order.server_id,
        order.gpu_model,
        seconds,
        order.spend,
        order.currency,
        UNKNOWN,
    )


def _record(intent: Intent, now: float, problem: str) -> Orphan:
    begun = intent.started_at
    return Orphan(
        intent.order_id,
        intent.id,
        intent.server_id,
        intent.gpu,
        None if begun is None else (intent.seen_at or now) - begun,
        intent.spend,
        intent.currency,
        problem,
    )
