"""Reports orders whose commands were stopped; on a terminal, asks what to do with them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from clore_ai._values import days
from clore_ai.cli import output, units
from clore_ai.cli.supervise import cancelling

if TYPE_CHECKING:
    from clore_ai import CloreAI
    from clore_ai.models.records import Intent

_ANSWERS = {"k": "keep", "c": "cancel", "l": "later"}


def recover(api: CloreAI, *, ask: bool) -> None:
    """Report the orders that stopped commands left behind. This never fails."""
    from clore_ai.rental.orders.recover import recover as look

    if not api.session.rules.has_key:
        return
    left = api.drive(look(api.session))
    for intent in left.unknown:
        output.note(
            f"It is not known yet whether server {intent.server_id} was rented by the command "
            f"that was stopped at {_when(intent)}. To check and settle this: "
            "clore orders (if "
            f"this marketplace is gone: clore orphans --close {intent.id})"
        )
    for intent in left.found:
        _report(api, intent, ask=ask and output.somebody())


def _report(api: CloreAI, intent: Intent, *, ask: bool) -> None:
    what = ", ".join(
        text
        for text in (
            f"server {intent.server_id}",
            units.gpu(intent.gpu) if intent.gpu else "",
            f"ref {intent.client_ref}" if intent.client_ref else "",
            intent.purpose or "",
        )
        if text
    )
    text = (
        f"Found order {intent.order_id} ({what}): it runs and is billed; the command that rented "
        f"it at {_when(intent)} was stopped."
    )
    if ask:
        output.note(text, bold=True)
        _do(api, intent, _answer())
    else:
        output.note(
            f"{text} Keep it: clore orphans --adopt {intent.order_id}   "
            f"Stop paying: clore cancel {intent.order_id}"
        )


def _when(intent: Intent) -> str:
    now = time.time()
    return days.clock(intent.posted_at or now, now)


def _answer() -> str:
    try:
        answer: str = click.prompt(
            "[k]eep it, [c]ancel it, or decide [l]ater?",
            type=click.Choice([*_ANSWERS, *_ANSWERS.values()]),
            default="later",
            show_choices=False,
            err=True,
        )
    except click.Abort:
        click.echo(err=True)
        return "later"
    return _ANSWERS.get(answer, answer)


def _do(api: CloreAI, intent: Intent, answer: str) -> None:
    from clore_ai.rental.orders import recover

    order_id, cancels = intent.order_id or 0, answer == "cancel"
    if answer == "later":
        return
    ended = api.drive(recover.answer(api.session, order_id, cancels=cancels))
    if ended is not None:
        cancelling.show(ended)
        if ended.error is not None:
            output.note(str(ended.error))
