"""`clore reap`: end orders at their limits, and see to jobs that nobody watches."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import other_keys, output
from clore_ai.cli.account import connect, none, status
from clore_ai.cli.options.length import Length
from clore_ai.cli.supervise import at_limits
from clore_ai.cli.supervise import keeper as _keeper

if TYPE_CHECKING:
    from clore_ai.client import CloreAI


@click.command()
@click.option("--every", type=Length(1), metavar="LENGTH",
              help="Check repeatedly until Ctrl-C or SIGTERM, then exit with 0.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the orders past a limit; cancel nothing.")
@click.option("--install", "unit", flag_value="install",
              help="Let systemd or cron run this command from now on, also after a "
                  "restart.")  # fmt: skip
@click.option("--status", "unit", flag_value="status", help="Show what runs this command.")
@click.option("--uninstall", "unit", flag_value="uninstall", help="Undo --install.")
@click.option("--json", "as_json", is_flag=True,
              help="Print JSON on stdout; with --every, one line per event.")  # fmt: skip
def command(every: float | None, dry_run: bool, unit: str | None, as_json: bool) -> int:
    """Cancel orders past their lease or cost limit.

    Time and cost are as the service reports them. Jobs that are not watched are taken over as well:
    if a job has ended, its outputs are fetched and its machine is cancelled as `clore run` would
    have done; if it still runs, it is watched from now on. Without --every, the exit code is the
    worst one.
    """
    if unit is not None:
        if every is not None or dry_run:
            raise click.UsageError(f"--{unit} can only be combined with --json.")
        return _unit(unit, as_json=as_json)
    with connect(ask=False, keeps=not dry_run) as api:
        if every is not None:
            _loop(api, every, dry_run=dry_run, as_json=as_json)
            return 0
        events: list[dict[str, Any]] = []
        worst = _once(api, events, dry_run=dry_run, as_json=as_json)
        if as_json:
            output.data(events)
        elif not events:
            none(api, "No order is past a limit.")
            other_keys.note(api)
        return max(worst, status(api))


def _unit(what: str, *, as_json: bool) -> int:
    from clore_ai.cli.track import reap_unit as _unit

    if what == "install":
        found = _unit.install()
    elif what == "uninstall":
        found = _unit.uninstall()
    else:
        with connect(ask=False, keeps=False) as api:
            found = _unit.status(keeper=_keeper.runs(api))
            log = _keeper.log_of(api)
            if log.exists():
                found.notes.append(f"The log of the background process: {log}")
    if as_json:
        output.data(found.facts)
    for sentence in found.notes:
        output.note(sentence)
    return 0


def _once(api: CloreAI, events: list[dict[str, Any]], *, dry_run: bool, as_json: bool) -> int:
    from clore_ai._api.steps import clock
    from clore_ai.rental.limits import expiry

    worst = 0
    for found in api.drive(expiry.due(api.session)):
        now = api.drive(clock()).wall
        # Another command may have given it more time while the one before was cancelled.
        over = expiry.over(api.ledger.reread(found.intent), now, api.session.rates)
        if over is None:
            continue
        if dry_run:
            output.note(f"{over}.")
            events.append({**at_limits.facts(over), "at": now})
        elif at_limits.ended_by_its_job(api, over):
            output.note(f"{over}; it was ended with its job.")
            events.append(
                {**at_limits.facts(over), "event": "cancelled", "cancelled": True, "at": now}
            )
        else:
            worst = max(worst, at_limits.at_limit(api, over, events.append, as_json=as_json))
    return max(worst, at_limits.see_to_jobs(api, events.append, dry_run=dry_run, wait=True))


def _loop(api: CloreAI, every_s: float, *, dry_run: bool, as_json: bool) -> None:
    """Go on until it is stopped; meanwhile no process in the background is needed."""
    from clore_ai.rental.limits.enforce import Keeper

    def tell(event: dict[str, Any]) -> None:
        if as_json:
            output.event(event)

    keeper = Keeper(every_s=every_s, mine=lambda _intent: True)
    output.note(f"Checking every {duration(every_s)}; stop with Ctrl-C.")
    try:
        with nullcontext() if dry_run else _keeper.instead(api):
            at_limits.loop(api, keeper, tell, dry_run=dry_run, as_json=as_json)
    except KeyboardInterrupt as exc:
        output.note(str(exc) or "Stopped.")
