"""What `clore run`, `attach` and `stop` share: a job watched from a terminal, and its end.

Then its machine is cancelled where that is this job's to do, which no Ctrl-C breaks off.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import output as _output
from clore_ai.cli import units
from clore_ai.cli.errors import INTERRUPTED, LIMIT
from clore_ai.cli.supervise import background

if TYPE_CHECKING:
    from collections.abc import Generator

    from clore_ai.cli.supervise.console import Console
    from clore_ai.client import CloreAI
    from clore_ai.jobs import Ending, Job, Jobs
    from clore_ai.jobs.engine import Engine
    from clore_ai.rental.limits.expiry import Limit

NOT_FOUND, HUNG_UP, LOST, NO_MONEY = 127, 129, 1, 7
_GONE = "order_not_active", "order_dont_exist", "you_dont_own_this_order"
_LOOKS_S, _LOOK_AGAIN_S, _LEAVES_S = 0.2, 0.02, 60.0
"""Who only looks whether a job is watched has its lock for an instant; who leaves it may first have
to cancel its machine."""


def watched(
    api: CloreAI,
    jobs: Jobs,
    job: Job,
    console: Console,
    *,
    stop: bool = False,
    **more: Any,  # noqa: ANN401 - Supervision's
) -> tuple[Ending, Limit | None]:
    """Watch it, with its output on stdout; the caller holds its lock.

    `stop`: end it at once. `more`: of `Supervision`. How it ended, and the limit that it reached.
    """
    from clore_ai.jobs import Output, Supervision

    async def work(engine: Engine) -> tuple[Ending, Limit | None]:
        def tell(said: str) -> None:
            with contextlib.suppress(OSError):
                _output.note(said)

        show = console.show if console.background is None else None
        with Output(jobs.log(job.id), show, tell) as output:
            watch = Supervision(engine, jobs, job, output, tell=tell, **more)
            if stop:
                watch.wishes.want("stop")
            with console.on(watch):
                return await watch.run(), watch.limit

    sys.stdout.flush()
    return api.in_loop(work)


def see_through(
    api: CloreAI,
    jobs: Jobs,
    job: Job,
    console: Console,
    *,
    stop: bool = False,
    **more: Any,  # noqa: ANN401 - Supervision's
) -> int:
    """Watch it to its end, or with `stop` end it, and see to its machine; the exit code.

    The caller holds its lock. What can't be done leaves no machine behind that is not told of.
    """
    if job.over and not job.unsettled:
        _output.note(f"Job {job.id} is over already ({job.state}).")
        return job.code or 0
    with console.hold():
        return _through(api, jobs, job, console, stop=stop, **more)


def _through(
    api: CloreAI,
    jobs: Jobs,
    job: Job,
    console: Console,
    *,
    stop: bool,
    **more: Any,  # noqa: ANN401 - Supervision's
) -> int:
    from clore_ai.exceptions import NotFoundError, OrderEnded

    if job.state == "new" and "line" not in more:
        _output.note(f"Job {job.id} was not started: the clore that began it was stopped.")
        return close(api, jobs, job) or LOST
    if job.over and (job.fetched or job.state != "ended"):  # its machine is all that is left
        is_lost = job.state == "lost"
        return close(api, jobs, job, lost=is_lost) or job.code or (lost_code(job) if is_lost else 0)
    watching = job.state == "running"
    try:
        jobs.save(job)
        ending, limit = watched(api, jobs, job, console, stop=stop, **more)
    except BaseException as exc:
        if not watching and isinstance(exc, (NotFoundError, OrderEnded)):
            jobs.drop(job)  # there is no such machine: the job never was
        elif job.over and not job.fetched:
            _output.note(
                f"Job {job.id} ended with {job.code}, and its outputs are not all here: order "
                f"{job.order_id} stays, and is billed. Try again: clore attach {job.id}   "
                f"Do without: clore cancel {job.order_id}",
                bold=True,
            )
        elif job.state == "running":
            _left(job)
        else:
            close(api, jobs, job)
        raise
    if ending == "limit" and limit is not None:
        return _at_limit(api, jobs, job, limit, console)
    return finish(api, jobs, job, ending, console)


def _at_limit(api: CloreAI, jobs: Jobs, job: Job, limit: Limit, console: Console) -> int:
    """Cancel an order that has reached its limit, even one of `--order`; returns the exit code."""
    from clore_ai.rental.limits.enforce import reached

    span = units.duration((job.ended_at or job.begun_at) - job.begun_at)
    back = f" What came back is in {job.folder}." if job.outputs else ""
    _output.note(f"Job {job.id} was stopped after {span}.{back}")
    job.cancels = True
    jobs.save(job)
    note_reason(api, limit)
    code = close(api, jobs, job)
    if code == 0:
        console.failure = reached(limit)
    return code or LIMIT


def note_reason(api: CloreAI, limit: Limit) -> None:
    """Keep in the ledger why an order was ended."""
    from clore_ai.exceptions import ConfigError
    from clore_ai.rental.orders import ending

    try:
        api.ledger.update(limit.intent, reason=ending.of_limit(limit.reason))
    except ConfigError as exc:
        api.session.note_trouble(str(exc))


def finish(api: CloreAI, jobs: Jobs, job: Job, ending: Ending, console: Console) -> int:
    """Say how it ended, cancel its machine where that is to be; the exit code."""
    if ending == "detached":
        if console.background is None:
            _left(job, followed=background.start(jobs, job) is not None)
        if console.hung_up:
            return HUNG_UP
        return INTERRUPTED if console.interrupted else 0
    span = units.duration((job.ended_at or job.begun_at) - job.begun_at)
    if ending == "stopped":
        _output.note(f"Job {job.id} was stopped after {span}.")
    elif ending == "lost":
        back = f" What came back before is in {job.folder}." if job.outputs else ""
        _output.note(f"Job {job.id} is lost with its machine, after {span}.{back}")
    else:
        _output.note(f"Job {job.id} ended with {job.code} after {span}.")
        if job.code == NOT_FOUND:
            _output.note(
                f"127 is a shell's word for a command that is not there: is {job.command[0]!r} in "
                "the image, or to be installed with --setup?"
            )
    code = close(api, jobs, job, lost=ending == "lost")
    if ending == "stopped":
        return INTERRUPTED if console.interrupted else code
    if ending == "lost":
        return code or job.code or lost_code(job)
    return code or job.code or 0


def lost_code(job: Job) -> int:
    """The exit code of a job that is lost and left none."""
    from clore_ai.rental.orders.ending import WALLET

    return NO_MONEY if job.why == WALLET else LOST


def was_meant(job: Job) -> bool:
    """Did its order end for a reason that is no host's loss?"""
    from clore_ai.rental.orders.ending import MEANT

    return job.why in MEANT


def close(api: CloreAI, jobs: Jobs, job: Job, *, lost: bool = False) -> int:
    """Cancel the machine, or say that it stays; 0, or the exit code where it is not gone."""
    from clore_ai.cli import errors
    from clore_ai.cli.supervise.cancelling import end

    if not job.order_id:  # what was being rented is the ledger's to find
        job.cancelled = True
        jobs.save(job)
        return 0
    if not job.cancels:
        stays = "may still be billed" if lost else "goes on, and is billed"
        _output.note(
            f"Order {job.order_id} {stays}{_price(api, job.order_id)}. "
            f"Stop paying: clore cancel {job.order_id}"
        )
        return 0
    (done,) = end(api, [job.order_id], None, 60)
    if done.error is None or done.error.error in (_GONE if lost else _GONE[:1]):
        job.cancelled = True
        jobs.save(job)
        return 0
    return errors.tell(False, done.error)


def _price(api: CloreAI, order_id: int) -> str:
    """``: $0.3000/h = $7.20/day = 7.2 USD/day, before fees``; as much as is known of it."""
    from clore_ai.exceptions import CloreAPIError
    from clore_ai.rental.orders import wait

    try:
        intent = api.ledger.by_order(order_id)
        order = intent or api.drive(wait.find(api.session, order_id))
    except CloreAPIError:
        return ""
    if order.price is None or not order.currency:
        return ""
    coin = order.currency
    rate = 1.0 if coin == "USD-Blockchain" else None if intent is None else intent.usd_per_coin
    said = [f"{units.coin(order.price)} {units.SHORT.get(coin, coin)}/day"]
    if rate is not None:
        per_hour = order.price * rate / 24
        said = [units.usd_h(per_hour), units.usd_day(per_hour), *said]
    return f": {' = '.join(said)}, before fees"


def _left(job: Job, *, followed: bool = False) -> None:
    end = f"its machine, order {job.order_id}, is cancelled" if job.cancels else "it is noted"
    after = (
        f"It is watched in the background: at its end its outputs are fetched, and {end}."
        if followed
        else f"Nobody watches it; order {job.order_id} is billed, also when the job has ended, "
        "until clore jobs, reap or attach sees to it."
        if job.cancels
        else f"It runs on order {job.order_id}."
    )
    with contextlib.suppress(OSError):
        _output.note(
            f"Job {job.id} goes on. {after} Watch: clore logs {job.id} -f   "
            f"See it through: clore attach {job.id}   Stop it: clore stop {job.id}"
        )


def jobs_of(api: CloreAI) -> Jobs:
    """The jobs of the account."""
    from clore_ai import jobs
    from clore_ai._state.ledger import account_of

    account, names = account_of(api.base_url, api.api_key), api.ledger.names
    return jobs.Jobs(api.session.access.home, account, names)


def report(job: Job, code: int, console: Console, *, as_json: bool) -> int:
    """The record of a job that was watched, with --json, and the exit code.

    Raises:
        LimitReached: its machine was ended at its limit.
    """
    if as_json:
        _output.data(row(job))
    if console.failure is not None:
        raise console.failure
    return code


def row(job: Job, state: str | None = None) -> dict[str, Any]:
    """A job for ``--json``."""
    ended = job.ended_at
    return {
        "id": job.id,
        "order_id": job.order_id,
        "state": state or job.state,
        "exit": job.code,
        "argv": job.command,
        "folder": job.folder,
        "outputs": job.outputs,
        "fetched": job.fetched,
        "begun_at": job.begun_at,
        "ended_at": ended,
        "seconds": None if ended is None else ended - job.begun_at,
        "cancels": job.cancels,
        "cancelled": job.cancelled,
        "why": job.why,
    }


@contextlib.contextmanager
def held(jobs: Jobs, job: Job) -> Generator[None]:
    """Nobody else watches it in this block; who does so in the background leaves it to us.

    Raises:
        UsageError: somebody looks on.
    """
    until = time.monotonic() + _LOOKS_S
    while time.monotonic() < until:
        with jobs.hold(job.id) as mine:
            if mine:
                jobs.call_off(job.id)  # one that was killed
                yield
                return
        if jobs.call_off(job.id):
            until = time.monotonic() + _LEAVES_S
        time.sleep(_LOOK_AGAIN_S)
    raise click.UsageError(
        f"Job {job.id} is being watched by another clore already. Look on with: "
        f"clore logs {job.id} -f. See: clore jobs"
    )


def programs() -> None:
    """Refuse where ssh is missing.

    Raises:
        UsageError: there is no ssh.
    """
    import shutil

    if shutil.which("ssh") is None:
        raise click.UsageError("There is no ssh here. Install it: apt-get install openssh-client")
