"""Rent what was wished for, telling the plan and each attempt on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from clore_ai.cli import _output, _units

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.rental.plan import Offer
    from clore_ai.rental.rent import Event, Rented
    from clore_ai.rental.wish import Wish


def rent(api: CloreAI, wish: Wish, *, yes: bool, top: int = 3) -> Rented:
    """Show the plan, ask unless `yes`, rent, and tell each step. The order's id is on stderr.

    Raises:
        UsageError: there is nobody to ask, and no `yes`.
        Declined: the answer is No.
        NotFoundError: none fits, or none was good; nothing runs.
    """
    from clore_ai.rental import rent as flows  # noqa: PLC0415 - not for --help

    offers = api.drive(flows.find(api.session, wish))
    show(offers[:top])
    agree(yes=yes)
    return api.drive(flows.rent(api.session, wish, tell, offers))


def show(offers: list[Offer]) -> None:
    """The best offers, the first of which is tried first."""
    for offer in offers:
        s, usd = offer.server, offer.effective_usd_per_hour
        _output.note(
            f"  server {s.id}: {_units.gpu(s.gpu_model)}, {_units.usd_h(usd)} = "
            f"{_units.usd_day(usd)}"
        )


def agree(*, yes: bool) -> None:
    """Ask before money is spent; without a terminal that takes `yes`."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("Nobody can be asked here; add --yes to rent without asking.")
    _output.ask("Rent it?", "nothing was rented")


def tell(event: Event) -> None:
    """One step of `rent.rent`, in a line."""
    _output.note(f"{event.what}: server {event.server_id} order {event.order_id}")
