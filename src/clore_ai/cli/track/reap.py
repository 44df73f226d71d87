"""`clore reap`: ends orders at their limits, and takes over unwatched jobs."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import other_keys, output
from clore_ai.cli.account import connect, none, status
from clore_ai.cli.options.length import Length
from clore_ai.cli.supervise import at_limits
from clore_ai.jobs.watch import turns as limit_turns
from clore_ai.rental.limits import unattended

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
        _unit(unit, as_json=as_json)
        return 0
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


def _unit(what: str, *, as_json: bool) -> None:
    from clore_ai.client import CloreAI

    if what == "status":
        with connect(ask=False, keeps=False) as api:
            facts, notes = _status(api)
    else:
        with CloreAI() as api:
            facts, notes = _install(api) if what == "install" else _uninstall(api)
    if as_json:
        output.data(facts)
    for sentence in notes:
        output.note(sentence)


def _install(api: CloreAI) -> tuple[dict[str, Any], list[str]]:
    found = api.drive(unattended.install())
    if found.cron:
        notes = ["cron runs clore reap every minute from now on. See: crontab -l"]
        return {"systemd": None, "cron": True}, notes
    return {"systemd": found.unit, "cron": False}, [
        f"{found.unit} of systemd runs clore reap from now on, and after a restart.",
        "To run it also while you are logged out: loginctl enable-linger",
        f"Its log: journalctl --user -u {found.unit}",
    ]


def _uninstall(api: CloreAI) -> tuple[dict[str, Any], list[str]]:
    found = api.drive(unattended.uninstall())
    notes = [f"{found.unit} of systemd is removed."] if found.systemd else []
    if found.cron:
        notes.append("The line of clore reap is removed from your crontab.")
    return {"systemd": None, "cron": False}, notes or ["Nothing was installed."]


def _status(api: CloreAI) -> tuple[dict[str, Any], list[str]]:
    found, log = api.drive(unattended.status()), limit_turns.keeper_log(api.session)
    keeper = api.ledger.held(limit_turns.KEEPER_LOCK)
    notes = [f"systemd: {found.unit} is {found.systemd}."] if found.systemd else []
    if found.cron:
        notes.append("cron: clore reap runs every minute.")
    if not notes:
        notes.append("Neither systemd nor cron runs clore reap. Set it up: clore reap --install")
    running = "is running" if keeper else "is not running; the next command that needs it starts it"
    notes.append(f"The background process of this key {running}.")
    if log.exists():
        notes.append(f"The log of the background process: {log}")
    return {"systemd": found.systemd, "cron": found.cron, "keeper": keeper}, notes


def _once(api: CloreAI, events: list[dict[str, Any]], *, dry_run: bool, as_json: bool) -> int:
    from clore_ai._api.steps import clock
    from clore_ai.rental.limits import expiry

    worst = 0
    for found in api.drive(expiry.due(api.session)):
        now = api.drive(clock()).wall
        # Another command may have extended this order while the previous one was cancelled.
        over = expiry.over(api.ledger.reread(found.intent), now, api.session.rates)
        if over is None:
            continue
        if dry_run:
            output.note(f"{over}.")
            events.append({**at_limits.facts(over), "at": now})
        elif at_limits.ended_by_its_job(api, over):
            output.note(f"{over}; it was ended with its job.")
            facts = at_limits.facts(over)
            events.append({**facts, "event": "cancelled", "cancelled": True, "at": now})
        else:
            worst = max(worst, at_limits.at_limit(api, over, events.append, as_json=as_json))
    return max(worst, at_limits.settle_jobs(api, events.append, dry_run=dry_run, wait=True))


def _loop(api: CloreAI, every_s: float, *, dry_run: bool, as_json: bool) -> None:
    """Check until stopped; meanwhile no background keeper is needed."""
    from clore_ai.rental.limits.enforce import Keeper

    def on_event(event: dict[str, Any]) -> None:
        if as_json:
            output.event(event)

    keeper = Keeper(every_s=every_s, mine=lambda _intent: True)
    output.note(f"Checking every {duration(every_s)}; stop with Ctrl-C.")
    try:
        with nullcontext() if dry_run else limit_turns.instead_of_keeper(api.session):
            at_limits.loop(api, keeper, on_event, dry_run=dry_run, as_json=as_json)
    except KeyboardInterrupt as exc:
        output.note(str(exc) or "Stopped.")
