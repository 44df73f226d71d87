"""`clore reap`: cancel what is over and see to jobs that nobody watches, once or in a loop."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import _exit, _follow, _job, _others, _output, cancel
from clore_ai.cli._account import connect, none, status
from clore_ai.cli._length import Length

if TYPE_CHECKING:
    from collections.abc import Callable

    from clore_ai.client import CloreAI
    from clore_ai.rental.reap import Over

_GONE_WITHIN_S = 60.0
_FAILED = 1
_ENDING: dict[str, str] = {"lease": "lease over", "max_cost": "--max-cost reached"}
"""As `rental.ending` has them, which is slow to import."""


@click.command()
@click.option("--every", type=Length(1), metavar="LENGTH",
              help="Look again and again; ends on Ctrl-C or SIGTERM, with 0.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what is over; cancel nothing.")
@click.option("--json", "as_json", is_flag=True,
              help="JSON on stdout; with --every a line an event.")  # fmt: skip
def command(every: float | None, dry_run: bool, as_json: bool) -> int:  # noqa: FBT001 - options
    """Cancel the orders that are over.

    Over is what is past its lease, or has cost what --max-cost allowed; time and cost are the
    service's. Jobs that nobody watches are seen to as well: of those that have ended the outputs
    are fetched and the machines cancelled, as run would have; those that run are watched from now
    on. Without --every the exit code is the worst.
    """
    with connect(ask=False) as api:
        if every is not None:
            _loop(api, every, dry_run=dry_run, as_json=as_json)
            return 0
        events: list[dict[str, Any]] = []
        worst = _once(api, events.append, dry_run=dry_run, as_json=as_json, wait=True)
        if as_json:
            _output.data(events)
        elif not events:
            none(api, "No order is over.")
            _others.note(api)
        return max(worst, status(api))


def _once(
    api: CloreAI,
    tell: Callable[[dict[str, Any]], None],
    *,
    dry_run: bool,
    as_json: bool,
    wait: bool = False,
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
            (done,) = cancel.end(api, [order_id], None, _GONE_WITHIN_S, _ENDING[over.reason])
            event |= {"event": "cancelled" if done.gone else "failed", **cancel.row(done)}
            if done.error is not None:
                worst = max(worst, _exit.tell(as_json, done.error))
        tell(event)
    return max(worst, _see_to_jobs(api, tell, dry_run=dry_run, wait=wait))


def _see_to_jobs(
    api: CloreAI, tell: Callable[[dict[str, Any]], None], *, dry_run: bool, wait: bool
) -> int:
    """Have the jobs that nobody watches seen through; with `wait`, those that have ended now."""
    kept = _job.jobs_of(api)
    left = [job for job in kept.all() if job.unsettled and not kept.watched(job.id)]
    states = _follow.states(api, kept, left)
    worst = 0
    for job in left:
        ended = _follow.ended(job, states.get(job.id))
        follower = None if dry_run else _follow.again(kept, job)
        if follower is None and not dry_run:
            continue  # another was quicker
        had = "has ended" if ended else "is not watched"
        _output.note(f"Job {job.id} {had}{'' if dry_run else '; it is seen to'}.")
        if follower is not None and ended and wait:
            follower.wait()
            job = kept.get(job.id)  # noqa: PLW2901 - as it is now
            if job.unsettled:
                worst = _FAILED
                _output.note(f"Job {job.id} is not settled: see {kept.folder(job.id) / 'said'}")
        tell({"event": "job", **_job.row(job, None if job.over else states.get(job.id))})
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
            _output.event(event)

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
