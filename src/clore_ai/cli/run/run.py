"""`clore run`: one command from a folder here to its results."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from clore_ai.cli import output, plans
from clore_ai.cli.account import connect
from clore_ai.cli.options import job_file, job_file_trust, job_options, wishes
from clore_ai.cli.options import limits as _limits
from clore_ai.cli.rent import renting
from clore_ai.cli.run import consent
from clore_ai.cli.supervise import watching
from clore_ai.cli.supervise.console import Console


def _of_a_machine() -> set[str]:
    """The names of the options that describe what to rent."""
    bare = wishes.options(lambda: None)
    found: list[click.Parameter] = getattr(bare, "__click_params__", [])
    return {str(each.name) for each in found} - {"env"}


@click.command(context_settings={"ignore_unknown_options": False})
@job_file.option
@wishes.options
@click.option("--order", "order_id", type=click.IntRange(1), metavar="ID",
              help="Rent nothing: run on this order. It keeps running afterwards, and is billed, "
                  "unless you add --cancel.")  # fmt: skip
@job_options.options
@click.option("--keep", is_flag=True,
              help="Keep the machine, and pay for it, until its lease ends.")  # fmt: skip
@click.option("--cancel", "cancels", is_flag=True, help="Cancel the order of --order afterwards.")
@click.option("--retry-on-host-loss", "retries", is_flag=True,
              help="If the machine is lost, start again on a new one with the outputs so far; "
                  "--max-cost covers all machines.")  # fmt: skip
@output.yes_option
@output.json_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(words: tuple[str, ...], **options: Any) -> int:  # noqa: ANN401 - click's options
    """Run a command on a rented machine and fetch the results.

    Rents the best matching server, uploads the working folder without the files that git ignores,
    runs COMMAND, shows its output, fetches --output, cancels the machine, reports the cost, and
    exits with the command's own code. A dropped connection does not end the job. One argument is a
    shell line; several arguments are each quoted. All options can be set in clore.toml.
    """
    from clore_ai._ssh.copy import MOST_BYTES
    from clore_ai.jobs import Jobs, Plan

    job_file_trust.ask(options, typed=bool(words))
    words = words or job_file.words()
    watching.need_ssh()
    _fit(options)
    spec = job_options.read(words, options)
    # --env belongs to the job: it is sent over SSH, not through the service.
    wish = None if options["order_id"] else wishes.read({**options, "env": ()})
    console = Console(to_stderr=options["as_json"])
    callbacks, offers, reporter = watching.callbacks_of(console), None, None
    with connect(ask=False) as api:
        kept = Jobs.of(api.session)
        upload = None
        if not options["no_upload"]:
            upload = consent.agreed(spec, kept.home, yes=options["yes"], resends=options["retries"])
        if wish is not None:
            offers = renting.planned(api, wish, options, _limits.BY_RUN)
            reporter = renting.Reporter(api)
            callbacks.on_rent = reporter
            callbacks.on_offers = partial(renting.show, by=_limits.BY_RUN)
        plan = Plan(
            options["order_id"],
            wish,
            offers,
            cancels=options["cancels"] if wish is None else not options["keep"],
            retries=options["retries"],
            detach=options["detach"],
            fetch_every_s=options["fetch_every"],
            lost_after_s=options["lost_after"],
            max_output=options["max_output"] or MOST_BYTES,
        )
        outcome = watching.live(api, console, lambda life: life.run(spec, plan, upload), callbacks)
        job = outcome.job
        if outcome.ending == "unrented" and reporter is not None:
            raise KeyboardInterrupt(
                plans.was_cancelled(job.order_id)
                if job.cancelled and job.order_id
                else reporter.interrupted()
            )
    return watching.report(outcome, console, as_json=options["as_json"])


def _fit(options: dict[str, Any]) -> None:
    """Refuse options that contradict each other."""
    context = click.get_current_context()
    if options["order_id"] is None:
        if options["cancels"]:
            raise click.UsageError(
                "--cancel needs --order; what is rented here is cancelled by default."
            )
        return
    if options["retries"]:
        raise click.UsageError(
            "--retry-on-host-loss rents a new machine; it can't be combined with --order."
        )
    if options["keep"] and options["cancels"]:
        raise click.UsageError("--keep and --cancel contradict each other.")
    for name in sorted(_of_a_machine()):
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            word = next(p.opts[0] for p in context.command.params if p.name == name)
            raise click.UsageError(
                f"{word} applies to a new rental; it can't be combined with --order."
            )
