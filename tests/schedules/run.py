"""Plays schedules and judges each by the marketplace's journal and the ledger.

For one schedule: an account, its faults, one or two processes that rent (stopped as the plan
says), then the next command, as a user would type it, and later another one. The verdicts:

- double rents: there are more orders than intents;
- lost orders: after the next command an order is neither in the ledger nor marked uncertain, or
  after the second one it is not in the ledger;
- false failed: a step reported a certain failure, but its action was done;
- false done: a step reported success, but its action was not done.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from clore_ai import CloreAI
from clore_ai.exceptions import CloreAPIError

from . import act
from .plan import Plan, draw
from .report import Judged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .stage import Market

LONGEST_S = 60.0
VERDICTS = ("double rents", "lost orders", "false failed", "false done", "broken")


@dataclass
class Verdict(Judged):
    """The verdict on one schedule, with the findings of its actors."""

    orders: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list)


def play(plan: Plan, market: Market, folder: Path) -> Verdict:
    """Play one schedule from start to end."""
    key = f"schedule-{plan.seed:09}-{os.getpid()}"
    server = market.servers[plan.seed % len(market.servers)]
    market.account(key)
    faults = [market.fault(key, fault) for fault in plan.faults]
    os.environ |= {
        "CLORE_API_KEY": key,
        "CLORE_BASE_URL": market.base_url,
        "CLORE_REQUESTS_PER_SECOND": "100000",
    }
    verdict, home = Verdict(plan.seed), folder / f"{plan.seed}"
    notes = [act.Report(folder / f"{plan.seed}-{n}.json") for n in range(plan.rivals)]
    if _apart(plan):
        actors = [_fork(_acting(plan, server, home, note)) for note in notes]
        if plan.stop in ("kill", "interrupt") and plan.after_s is not None:
            time.sleep(plan.after_s)
            os.kill(actors[0], signal.SIGKILL if plan.stop == "kill" else signal.SIGINT)
        for actor in actors:
            _reap(actor, verdict)
    else:
        _do(_acting(plan, server, home, notes[0]), verdict)
    verdict.reports = [note.read() for note in notes]
    _first_look(market, key, home, verdict, faults)
    if plan.again:
        again = act.Report(folder / f"{plan.seed}-again.json")
        calm = Plan(**{**asdict(plan), "faults": (), "stop": None, "cancels": False, "face": "sync",
                       "waits": False})  # fmt: skip
        _do(_acting(calm, server, home, again), verdict)
        verdict.reports.append(again.read())
    _judge(plan, market, key, home, verdict)
    for row in market.orders(key):
        if not row.get("expired"):
            market.cancel(key, row["id"])
    return verdict


def _apart(plan: Plan) -> bool:
    """Whether it needs a process of its own: for a kill, and for Ctrl-C at any instant."""
    stopped_from_outside = plan.stop == "interrupt" and plan.after_s is not None
    return plan.face == "cli" or plan.rivals > 1 or plan.stop == "kill" or stopped_from_outside


def _acting(plan: Plan, server: int, home: Path, note: act.Report) -> Callable[[], None]:
    return lambda: act.ACTORS[plan.face](plan, server, home, note)


class _Hangs(BaseException):
    """No code of the client may take this for a failure."""


def _do(work: Callable[[], None], verdict: Verdict) -> None:
    """Run it in this process, as most programs that rent go on after an error or a Ctrl-C."""

    def over(*_: object) -> None:
        raise _Hangs

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        work()
    except KeyboardInterrupt:
        pass  # outside any step: before the first, or after the last
    except _Hangs:
        verdict.wrong.append("broken: hangs")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _fork(work: Callable[[], None]) -> int:
    # Held while Python reinitialises itself after the fork, which must not be interrupted.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return child
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        work()
        code = 0
    except KeyboardInterrupt:
        code = 130  # outside any step: before the first, or after the last
    except BaseException:  # noqa: BLE001 - reported, then the child exits
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap(child: int, verdict: Verdict) -> None:
    deadline = time.monotonic() + LONGEST_S
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            verdict.wrong.append("broken: hangs")
            return
        time.sleep(0.005)
    if os.waitstatus_to_exitcode(status) not in (0, 130, -signal.SIGKILL):
        verdict.wrong.append(f"broken: exit {os.waitstatus_to_exitcode(status)}")


def _client(home: Path) -> CloreAI:
    return CloreAI(state=home, max_retries=5)


def _first_look(market: Market, key: str, home: Path, verdict: Verdict, faults: list[int]) -> None:
    """Run the next command, after which each order is known, or an intent is marked uncertain."""
    with _client(home) as client:
        try:
            client.my_orders(include_completed=True)
        except CloreAPIError:
            return  # faults that still wait: the last look settles it
        finally:
            for number in faults:
                market.clear_fault(number)
        known = client.ledger.claimed()
        uncertain = client.ledger.unsettled()
    for row in market.orders(key):
        if row["id"] not in known and not uncertain:
            verdict.wrong.append(f"lost orders: {row['id']} after the next command")


def _judge(plan: Plan, market: Market, key: str, home: Path, verdict: Verdict) -> None:
    truth = {row["id"]: row for row in market.orders(key)}
    verdict.orders = len(truth)
    if len(truth) > 1:
        verdict.wrong.append(f"double rents: {sorted(truth)}")
    with _client(home) as client:
        time.sleep(0.1)  # until the newest order is listed: the marketplace's lag
        client.my_orders(include_completed=True)
        known = client.ledger.claimed()
        running = {i.order_id for i in client.ledger.running()}
    for order, row in truth.items():
        if order not in known:
            verdict.wrong.append(f"lost orders: {order}")
        elif not row.get("expired") and order not in running:
            verdict.wrong.append(f"lost orders: {order} runs, and the ledger says that it ended")
    for report in verdict.reports:
        _judge_report(report, truth, verdict)


def _judge_report(report: dict[str, Any], truth: dict[int, Any], verdict: Verdict) -> None:
    created, order = report.get("create"), report.get("order")
    if created == "crashed" or report.get("cancel") == "crashed":
        verdict.wrong.append(f"broken: {report['error']}")
    if created == "failed" and order is None and truth and len(verdict.reports) == 1:
        verdict.wrong.append(f"false failed: {sorted(truth)}, {report['error']}")
    if created == "done" and order not in truth:
        verdict.wrong.append(f"false done: {order} does not exist")
    ended = order in truth and bool(truth[order].get("expired"))
    if report.get("cancel") == "done" and not ended:
        verdict.wrong.append(f"false done: {order} was not cancelled")
    if report.get("cancel") == "failed" and ended and len(verdict.reports) == 1:
        verdict.wrong.append(f"false failed: {order} was cancelled, {report['error']}")


def play_all(seeds: Sequence[int], market: Market, folder: Path, at_once: int) -> list[Verdict]:
    """Play schedules, shared out among so many processes."""
    shares = [seeds[i::at_once] for i in range(at_once)]
    players = [_fork(_playing(share, market, folder)) for share in shares]
    for player in players:
        os.waitpid(player, 0)
    verdicts = list[Verdict]()
    for seed in seeds:
        path = folder / f"{seed}-verdict.json"
        found = json.loads(path.read_text()) if path.exists() else None
        verdicts.append(Verdict(**found) if found else Verdict(seed, ["broken: no verdict"]))
    return verdicts


def _playing(seeds: Sequence[int], market: Market, folder: Path) -> Callable[[], None]:
    def work() -> None:
        for seed in seeds:
            try:
                verdict = play(draw(seed), market, folder)
            except Exception:  # noqa: BLE001 - the others are still played
                verdict = Verdict(seed, [f"broken: {traceback.format_exc()}"])
            (folder / f"{seed}-verdict.json").write_text(json.dumps(asdict(verdict)))

    return work


def shown(verdict: Verdict) -> str:
    """The plan, and the findings of the actors."""
    return f"{draw(verdict.seed)}\n  {verdict.reports}"
