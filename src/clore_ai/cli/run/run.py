"""`clore run`: one command from a folder here to its results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clore_ai.cli import output
from clore_ai.cli.account import connect
from clore_ai.cli.options import job_file, job_file_trust, job_options, wishes
from clore_ai.cli.options import limits as _limits
from clore_ai.cli.rent import renting
from clore_ai.cli.run import consent
from clore_ai.cli.supervise import watching
from clore_ai.cli.supervise.console import Console, interrupt_by_any

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.jobs import Job, Jobs
    from clore_ai.models.records import RentEvent
    from clore_ai.rental.rent.attempt import Rented
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.spend.lease import Limits

_MACHINES = 3
"""So many are rented at most, one after the other, for a job whose host is lost."""


def _of_a_machine() -> set[str]:
    """The names of the options that say what to rent."""
    bare = wishes.options(lambda: None)
    found: list[click.Parameter] = getattr(bare, "__click_params__", [])
    return {str(each.name) for each in found} - {"env"}


@click.command(context_settings={"ignore_unknown_options": False})
@job_file.option
@wishes.options
@click.option(
    "--order",
    "order_id",
    type=click.IntRange(1),
    metavar="ID",
    help="Rent nothing: run it on this order, which goes on afterwards, and is billed, unless "
    "you add --cancel.",
)
@job_options.options
@click.option(
    "--keep", is_flag=True, help="Keep the machine afterwards, and pay, until its lease ends."
)
@click.option("--cancel", "cancels", is_flag=True, help="Cancel the order of --order afterwards.")
@click.option(
    "--retry-on-host-loss",
    "retries",
    is_flag=True,
    help="Where the machine is lost, begin again on a new one, with the outputs so far; "
    "--max-cost is for all of them.",
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask; needed where there is no terminal.")
@output.json_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(words: tuple[str, ...], **options: Any) -> int:  # noqa: ANN401 - click's options
    """Run a command on a rented machine, and bring the results back.

    Rents the best server that fits, uploads the working folder without what git ignores, runs
    COMMAND there, shows what it writes, fetches --output, cancels the machine, says what it cost,
    and exits with the command's own code. A dropped connection does not end it. One argument is a
    shell line; several are quoted each. All options may stand in clore.toml.
    """
    from clore_ai._ssh.copy.fetch import MOST_BYTES

    interrupt_by_any()
    job_file_trust.ask(options, typed=bool(words))
    words = words or job_file.words()
    watching.programs()
    _fit(options)
    spec = job_options.read(words, options)
    # --env is the job's: it goes through SSH, not through the service.
    wish = None if options["order_id"] else wishes.read({**options, "env": ()})
    more = {
        "lost_after_s": job_options.lost_after_s(options),
        "fetch_every_s": options["fetch_every"],
        "max_output": options["max_output"] or MOST_BYTES,
        "max_bid_usd": wish.most_usd_per_hour if wish and wish.max_bid_usd is not None else None,
    }
    console = Console(to_stderr=options["as_json"])
    job: Job | None = None
    code = 0
    with connect(ask=False) as api:
        kept = watching.jobs_of(api)
        upload = None
        if not options["no_upload"]:
            upload = consent.agreed(spec, kept.home, yes=options["yes"], resends=options["retries"])
        for left in range(_MACHINES - 1, -1, -1):
            # Before money is spent: a state folder that is no use is found out now.
            cancels = options["cancels"] if wish is None else not options["keep"]
            job = kept.add(spec.record(options["order_id"] or 0, cancels=cancels, **more))
            with watching.held(kept, job):
                rented = None
                if wish is not None:
                    rented = _rented(api, kept, job, console, wish, options)
                code = watching.see_through(
                    api, kept, job, console,
                    line=spec.line, env=spec.env, upload=upload,
                    resend=left < _MACHINES - 1, forwards=spec.forwards,
                    detach=options["detach"], order=rented and rented.order,
                )  # fmt: skip
            if options["retries"] and console.failure is not None:
                output.note("The job does not begin again: its machine has reached its limit.")
            if not (options["retries"] and left and job.state == "lost" and job.cancelled):
                break
            if watching.was_meant(job):
                break
            if console.interrupted or wish is None or rented is None:
                break
            bad = rented.bad | {rented.order.server_id or 0}
            limits = _what_is_left(api, wish.limits, rented)
            wish = replace(wish, client_ref=None, limits=limits, avoid=wish.avoid | bad)
            output.note("The job begins again, on another machine.")
            options["yes"] = True  # it is the same wish
    return code if job is None else watching.report(job, code, console, as_json=options["as_json"])


def _fit(options: dict[str, Any]) -> None:
    """Refuse what contradicts itself."""
    context = click.get_current_context()
    if options["order_id"] is None:
        if options["cancels"]:
            raise click.UsageError("--cancel goes with --order; what is rented here is cancelled.")
        return
    if options["retries"]:
        raise click.UsageError("--retry-on-host-loss rents anew; it does not go with --order.")
    if options["keep"] and options["cancels"]:
        raise click.UsageError("--keep and --cancel contradict each other.")
    for name in sorted(_of_a_machine()):
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            word = next(p.opts[0] for p in context.command.params if p.name == name)
            raise click.UsageError(f"{word} is for a machine to rent; it does not go with --order.")


def _what_is_left(api: CloreAI, limits: Limits, rented: Rented) -> Limits:
    """For the next machine, once this one is lost: `--max-cost` is for all of a job's machines.

    Raises:
        BudgetError: nothing is left, or what was spent is not known.
    """
    from clore_ai.exceptions import BudgetError
    from clore_ai.rental.limits import expiry

    if limits.max_cost_usd is None:
        return limits
    intent = api.ledger.by_order(rented.order.id)
    cost = None if intent is None else expiry.cost_usd(intent, api.session.worth)
    if cost is None:
        raise BudgetError(
            f"The job is lost, and does not begin again: what order {rented.order.id} cost is not "
            "known, so --max-cost can't be kept. See: clore orders --completed"
        )
    spent = cost + rented.spent_usd
    left = limits.max_cost_usd - spent
    if left <= 0:
        raise BudgetError(
            f"The job is lost, and does not begin again: it has cost ${spent:.2f}, of --max-cost "
            f"{limits.max_cost_usd:g}."
        )
    output.note(f"It has cost ${spent:.4f} so far; ${left:.4f} of --max-cost is left.")
    # A lease that was asked for may be too long for what is left: now it is only the longest.
    hours = [limits.max_hours, limits.lease_s and limits.lease_s / 3600]
    longest = min((h for h in hours if h), default=None)
    return replace(limits, given=False, lease_s=None, max_hours=longest, max_cost_usd=left)


def _rented(
    api: CloreAI, kept: Jobs, job: Job, console: Console, wish: Wish, options: dict[str, Any]
) -> Rented:
    """A machine for it, and Ctrl-C is the console's; where there is none, the job never was.

    What a Ctrl-C finds rented just now goes the way of a job's machine.
    """
    interrupt_by_any()

    def hear(event: RentEvent) -> None:
        # Only what was made here: another clore of the same account may be renting, too.
        if event.what in ("created", "up", "rented"):
            job.order_id = event.order_id or 0
        elif event.what in ("failed", "cancelling", "cancelled"):
            job.order_id = 0

    try:
        rented = renting.rent(
            api,
            wish,
            yes=options["yes"],
            force=options["force"],
            holds=True,
            by=_limits.BY_RUN,
            hear=hear,
        )
        job.order_id = rented.order.id
        kept.save(job)
        console.take()
    except BaseException as exc:
        console.take()
        if job.order_id and job.cancels:
            watching.close(api, kept, job)
        if job.cancelled or not (job.order_id and job.cancels):
            kept.drop(job)
        if isinstance(exc, KeyboardInterrupt) and job.cancelled:
            said = f"Interrupted. Order {job.order_id} was cancelled; nothing runs."
            raise KeyboardInterrupt(said) from None
        raise
    return rented
