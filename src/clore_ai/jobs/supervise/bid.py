"""Holds the bid of a spot machine at the lowest that wins while its job is watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from clore_ai.exceptions import CloreAPIError, NotFoundError, OrderEnded
from clore_ai.models.price import hourly
from clore_ai.rental.spot import autopilot, run

if TYPE_CHECKING:
    from clore_ai.jobs.engine import Engine
    from clore_ai.jobs.store import Job
    from clore_ai.rental.spot.run import SpotEvent

_WORDS = {
    "outbid": "Outbid: the machine is paused and not billed.",
    "beaten": "Others bid more than your limit: the machine is paused and not billed.",
    "offline": "The machine's host is offline.",
}


async def hold(engine: Engine, job: Job, on_message: Callable[[str], object]) -> None:
    """Hold the bid until the order ends, or this task is cancelled; then the bid stays as it is."""
    if job.max_bid_usd is None:
        return

    def on_event(event: SpotEvent) -> None:
        if event.event == "raised" and event.usd_per_hour is not None:
            on_message(f"The bid was raised to {hourly(event.usd_per_hour)}.")
        elif event.event in _WORDS:
            on_message(_WORDS[event.event])

    wishes = run.SpotSettings(max_usd_per_hour=job.max_bid_usd)
    # The job continues whatever happens to its bid.
    try:
        steered = run.SpotRun(job.order_id, wishes, on_event, keeps=False)
        await engine.drive(autopilot.fly(engine.session, steered))
    except (NotFoundError, OrderEnded):
        pass  # the job's watch finds out, too
    except CloreAPIError as exc:
        on_message(f"Its bid stays as it is: {exc}")
