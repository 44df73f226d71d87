"""`clore reap`: ends orders at their limits, and takes over unwatched jobs."""

from __future__ import annotations

from typing import Any

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import other_keys, output
from clore_ai.cli.account import connect, none, status
from clore_ai.cli.options.length import Length
from clore_ai.cli.supervise import reaping
from clore_ai.jobs.reap import keeper
from clore_ai.rental.limits import unattended


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
        _unit(unit, as_json=as_json)
        return 0
    lines: list[dict[str, Any]] = []
    on_line = output.event if as_json and every is not None else lines.append
    report = reaping.Reporter(on_line, as_json=as_json)
    with connect(ask=False, keeps=not dry_run) as api:
        if every is not None:
            output.note(f"Checking every {duration(every)}; stop with Ctrl-C.")
        try:
            api.reap(every=every, dry_run=dry_run, on_event=report)
        except KeyboardInterrupt as exc:
            message = report.interrupted() or str(exc)
            if every is None:
                raise KeyboardInterrupt(message) from None
            output.note(message or "Stopped.")
            return 0
        if as_json:
            output.data(lines)
        elif not lines:
            none(api, "No order is past a limit.")
            other_keys.note(api)
        return max(report.code, status(api))


def _unit(what: str, *, as_json: bool) -> None:
    from clore_ai import CloreAI

    if what == "status":
        with connect(ask=False, keeps=False) as api:
            found = api.drive(keeper.standing(api.session))
    else:
        with CloreAI() as api:
            change = unattended.install if what == "install" else unattended.uninstall
            found = api.drive(change())
    if as_json:
        output.data(found)
    for sentence in found.notes:
        output.note(sentence)
