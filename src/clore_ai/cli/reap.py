"""`clore reap`: cancel what is over, once or for as long as it runs."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import _exit, _output, cancel
from clore_ai.cli._account import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from clore_ai.client import CloreAI
    from clore_ai.rental.reap import Over

_GONE_WITHIN_S = 60.0


@click.command()
@click.option("--every", type=click.FloatRange(1), metavar="SECONDS",
              help="Look again and again; ends on Ctrl-C or SIGTERM, with 0.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what is over; cancel nothing.")
@click.option("--json", "as_json", is_flag=True,
              help="JSON on stdout; with --every a line an event.")  # fmt: skip
def command(every: float | None, dry_run: bool, as_json: bool) -> int:  # noqa: FBT001 - options
    """Cancel the orders that are over.

    Over is what is past its lease, or has cost what --max-cost allowed; time and cost are the
    service's. Without --every the exit code is the worst of the cancels.
    """
    with connect(ask=False) as api:
        if every is not None:
            _loop(api, every, dry_run=dry_run, as_json=as_json)
            return 0
        events: list[dict[str, Any]] = []
        status = _once(api, events.append, dry_run=dry_run, as_json=as_json)
        if as_json:
            _output.data(events)
        elif not events:
            _output.note("No order is over.")
        return status


def _once(
    api: CloreAI, tell: Callable[[dict[str, Any]], None], *, dry_run: bool, as_json: bool
) -> int:
    from clore_ai._flow import clock  # noqa: PLC0415 - not for --help
    from clore_ai.rental import reap  # noqa: PLC0415 - likewise

    worst = 0
    for found in api.drive(reap.due(api.session)):
        now = api.drive(clock()).wall
        # Another command may have given it more time while the one before was cancelled.
        over = reap.over(api.ledger.reread(found.intent), now, api.session.worth)
        if over is None:
            continue
        order_id = over.intent.order_id or 0
        event: dict[str, Any] = {"event": "over", "order_id": order_id, "reason": over.reason}
        event |= {"ends_at": over.intent.ends_at, "cost_usd": over.cost_usd, "at": now}
        _output.note(f"Order {order_id} {_why(over)}.")
        if not dry_run:
            (done,) = cancel.end(api, [order_id], None, _GONE_WITHIN_S)
            event |= {"event": "cancelled" if done.gone else "failed", **cancel.row(done)}
            if done.error is not None:
                worst = max(worst, _exit.tell(as_json, done.error))
        tell(event)
    return worst


def _why(over: Over) -> str:
    from clore_ai.rental.lease import moment  # noqa: PLC0415 - not for --help

    if over.reason == "lease" and over.intent.ends_at is not None:
        return f"is past its lease, which ended at {moment(over.intent.ends_at)}"
    return f"has cost ${over.cost_usd or 0:.2f}, of at most ${over.intent.max_cost_usd or 0:.2f}"


def _loop(api: CloreAI, every_s: float, *, dry_run: bool, as_json: bool) -> None:
    """Look until told to stop; trouble with the network or the service passes."""
    from clore_ai.exceptions import AuthError, CloreAPIError  # noqa: PLC0415 - not for --help

    def tell(event: dict[str, Any]) -> None:
        if as_json:
            click.echo(json.dumps(event))

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    said = ""
    _output.note(f"Looking every {every_s:g} s; stop with Ctrl-C.")
    try:
        while True:
            try:
                _once(api, tell, dry_run=dry_run, as_json=as_json)
                trouble = ""
            except AuthError:
                raise
            except CloreAPIError as exc:
                trouble = str(exc)
            if trouble and trouble != said:
                _output.note(f"{trouble} Going on.")
                tell({"event": "trouble", "message": trouble, "at": time.time()})
            said = trouble
            time.sleep(every_s)
    except KeyboardInterrupt as exc:
        _output.note(str(exc) or "Stopped.")
