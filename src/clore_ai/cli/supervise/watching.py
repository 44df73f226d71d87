"""Watches jobs for the command line: messages, exit codes, and Ctrl-C from a console."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from clore_ai._signals import INTERRUPTED
from clore_ai.cli import errors, output
from clore_ai.cli.errors import LIMIT
from clore_ai.cli.supervise import cancelling
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clore_ai import CloreAI
    from clore_ai.cli.supervise.console import Console
    from clore_ai.jobs import Callbacks, Job, Life, Outcome
    from clore_ai.jobs.engine import Engine
    from clore_ai.models import Order
    from clore_ai.models.records import Intent

HUNG_UP, LOST = 129, 1


def callbacks_of(console: Console) -> Callbacks:
    """The callbacks that report a job on this console."""
    from clore_ai.jobs import Callbacks

    show = console.show if console.background is None else None
    return Callbacks(show, output.note, on_cancelled=cancelling.show, on_stays=_stays)


def live(
    api: CloreAI,
    console: Console,
    work: Callable[[Life], Awaitable[Outcome]],
    callbacks: Callbacks | None = None,
) -> Outcome:
    """Run or watch a job with `work`, while the console handles Ctrl-C; its outcome."""
    from clore_ai.jobs import Jobs, Life
    from clore_ai.jobs.supervise.request import JobRequest

    async def main(engine: Engine) -> Outcome:
        life = Life(
            engine, Jobs.of(api.session), callbacks or callbacks_of(console), JobRequest(),
            in_background=console.background is not None, leaves=True,
        )  # fmt: skip
        with console.on(life.request):
            return await work(life)

    sys.stdout.flush()
    with console.handling_signals():
        return api.in_loop(main)


def _stays(job: Job, known: Intent | Order | None, lost: bool) -> None:
    stays = "may still be billed" if lost else "keeps running and is billed"
    output.note(
        f"Order {job.order_id} {stays}{_price(known)}. Stop paying: clore cancel {job.order_id}"
    )


def _price(order: Intent | Order | None) -> str:
    """``: $0.3000/h = $7.20/day = 7.2 USD/day, before fees``; as far as it is known."""
    if order is None or order.price is None or not order.currency:
        return ""
    from clore_ai.models.price import Price, Rates

    coin = order.currency
    rate = Rates().usd(coin, getattr(order, "usd_per_coin", None))
    text = f"{prices.coin(order.price)} {prices.SHORT.get(coin, coin)}/day"
    if rate is not None:
        text = f"{Price(order.price, coin, rate).text()} = {text}"
    return f": {text}, before fees"


def exit_code(outcome: Outcome, console: Console) -> int:
    """The command's exit code: the job's own, unless money is at stake."""
    job = outcome.job
    failed = 0
    if outcome.failure is not None:
        failed = errors.report(False, outcome.failure)
    if outcome.ending == "detached":
        return HUNG_UP if console.hung_up else INTERRUPTED if console.interrupted else 0
    if outcome.ending == "limit":
        return failed or LIMIT
    if outcome.ending == "stopped":
        return INTERRUPTED if console.interrupted else failed
    if outcome.ending == "unstarted":
        return failed or LOST
    if outcome.ending == "lost":
        from clore_ai.rental.orders.ending import WALLET

        return failed or job.code or (LIMIT if job.why == WALLET else LOST)
    return failed or job.code or 0


def report(outcome: Outcome, console: Console, *, as_json: bool) -> int:
    """Print the job's record with --json; the exit code."""
    code = exit_code(outcome, console)
    if as_json:
        output.data(outcome.job)
    outcome.result()
    return code


def need_ssh(otherwise: str = "") -> str:
    """The path of ssh; refuse if it is missing. `otherwise`: another way out, for the message."""
    import shutil

    program = shutil.which("ssh")
    if program is None:
        install = f"Install it: apt-get install openssh-client{otherwise}"
        raise click.UsageError(f"ssh is not installed. {install}")
    return program
