"""Ends orders at their limits, for `clore reap`, `clore monitor` and the background keeper.

If an order's job is not settled, the order is left to the process that watches the job: it stops
the job, fetches the outputs and cancels the order. An unwatched job gets such a process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable

from clore_ai.cli import errors, output
from clore_ai.cli.supervise import cancelling, watching
from clore_ai.jobs import Jobs, background
from clore_ai.jobs.watch import turns as limit_turns

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.rental.limits.enforce import Keeper
    from clore_ai.rental.limits.expiry import Limit
    from clore_ai.rental.orders.cancel import Cancelling

OnEvent = Callable[[dict[str, Any]], object]

_GONE_WITHIN_S = 60.0
_LOOK_S = 0.2
_FAILED = 1


def at_limit(api: CloreAI, limit: Limit, on_event: OnEvent, *, as_json: bool = False) -> int:
    """End an order that has reached a limit; the exit code."""
    from clore_ai.rental.orders import ending

    order_id = limit.intent.order_id or 0
    output.note(f"{limit}: ending it.")
    (done,) = cancelling.end(api, [order_id], None, _GONE_WITHIN_S, ending.of_limit(limit.reason))
    return ended(api, limit, done, on_event, as_json=as_json)


def ended(api: CloreAI, limit: Limit, done: Cancelling, on_event: OnEvent, *, as_json: bool) -> int:
    """Report what became of an order at its limit; the exit code."""
    status = 0
    if done.error is not None and not done.ended:
        status = errors.report(as_json, done.error)
    event = {
        **facts(limit),
        "event": "cancelled" if done.gone else "failed",
        **cancelling.row(done),
    }
    on_event({**event, "at": _now(api), "ends_at": limit.intent.ends_at})
    return status


def facts(limit: Limit) -> dict[str, Any]:
    """A limit as ``--json`` reports it."""
    intent = limit.intent
    return {
        "event": "over",
        "order_id": intent.order_id,
        "reason": limit.reason,
        "ends_at": intent.ends_at,
        "cost_usd": limit.cost_usd,
    }


def ended_by_its_job(api: CloreAI, limit: Limit) -> bool:
    """Wait for the job's watcher, as in `turns.Turns`; has the order ended?"""
    turns = limit_turns.Turns(api.session)
    while turns.left_to_its_job(limit):
        time.sleep(_LOOK_S)
    return not api.ledger.reread(limit.intent).runs


def settle_jobs(api: CloreAI, on_event: OnEvent, *, dry_run: bool, wait: bool) -> int:
    """Start a watcher for each unwatched job; with `wait`, wait if the job has ended."""
    kept, worst = Jobs.of(api.session), 0
    unwatched = kept.unwatched()
    states = watching.states(api, kept, unwatched)
    for job in unwatched:
        ended = background.ended(job, states.get(job.id))
        follower = None if dry_run else background.again(kept, job)
        if follower is None and not dry_run:
            continue  # another process took it first
        had = "has ended" if ended else "is not watched"
        output.note(f"Job {job.id} {had}{'' if dry_run else '; it is taken over'}.")
        if follower is not None and ended and wait:
            follower.wait()
            job = kept.get(job.id)  # noqa: PLW2901 - as it is now
            if job.unsettled:
                worst = _FAILED
                output.note(
                    f"Job {job.id} could not be settled: see {kept.folder(job.id) / 'watcher.log'}"
                )
        on_event({"event": "job", **watching.row(job, None if job.over else states.get(job.id))})
    return worst


def loop(
    api: CloreAI,
    keeper: Keeper,
    on_event: OnEvent = lambda _event: None,
    *,
    goes_on: Callable[[], bool] = lambda: True,
    dry_run: bool = False,
    as_json: bool = False,
) -> None:
    """Enforce limits while `goes_on()`; network and service errors are retried.

    Raises:
        AuthError: the key is refused.
    """
    from clore_ai.exceptions import AuthError
    from clore_ai.rental.limits import enforce

    turns, trouble, jobs_due = limit_turns.Turns(api.session, ends=not dry_run), "", 0.0
    while goes_on():
        near, over = api.drive(keeper.check(api.session))
        for each in near:
            output.note(enforce.near(each))
            on_event({**facts(each), "event": "near", "at": _now(api)})
        for each in filter(turns.take, over):
            if dry_run:
                output.note(f"{each}.")
                on_event({**facts(each), "at": _now(api)})
            else:
                at_limit(api, each, on_event, as_json=as_json)
        if isinstance(keeper.failure, AuthError):
            raise keeper.failure
        before, trouble = trouble, "" if keeper.failure is None else str(keeper.failure)
        if trouble and trouble != before:
            output.note(f"{trouble} Going on.")
            on_event({"event": "trouble", "message": trouble, "at": _now(api)})
        if time.monotonic() >= jobs_due:
            settle_jobs(api, on_event, dry_run=dry_run, wait=False)
            jobs_due = time.monotonic() + keeper.every_s
        time.sleep(min(enforce.SLICE_S, keeper.every_s))


def _now(api: CloreAI) -> float:
    from clore_ai._api.steps import clock

    return api.drive(clock()).wall
