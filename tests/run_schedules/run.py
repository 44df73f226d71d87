"""Plays schedules of `clore run` with real processes, and judges each by the marketplace.

A run rents, uploads, runs a job that writes numbered lines, and cancels; meanwhile ssh is killed,
the host dies, answers are late or lost, and signals come. The verdicts:

- unknown machines: an order still runs that is in neither the jobs nor the ledger of the user, or
  that should have been cancelled and whose id was not printed;
- wrong codes: the exit code is neither the job's own nor the code of the event that ended it;
- wrong output: a line is missing, doubled or out of order.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clore_ai import CloreAI
from clore_ai.exceptions import CloreAPIError
from tests.schedules.report import ROOT, Judged
from tests.support.running.forks import of_clore

from .plan import Plan, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.schedules.stage import Market
    from tests.support.running.forks import Forks

VERDICTS = ("unknown machines", "wrong codes", "wrong output", "broken")
WITHIN_S = 150.0
_SIGNALS = {
    "interrupt": signal.SIGINT, "interrupt twice": signal.SIGINT, "terminate": signal.SIGTERM,
    "kill": signal.SIGKILL, "hang up": signal.SIGHUP,
}  # fmt: skip
_NOT_LOST = "wrong codes: its host was not lost"
_NO_MACHINE = (1, 5, 6, 8, 9)
"""The exit codes of a run without a machine."""
_OF_STOPS = {"interrupt": (130,), "interrupt twice": (130,), "terminate": (130,),
             "kill": (-9,), "hang up": (129, 130)}  # fmt: skip


@dataclass
class Verdict(Judged):
    """The verdict on one run, with its output and its place."""

    code: int = 0
    lines: int = 0
    err: str = ""
    servers: list[int] = field(default_factory=list)


class _Actor:
    """Applies the plan to one process."""

    def __init__(self, plan: Plan, home: Path) -> None:
        self._plan, self._home = plan, home
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.stopped = False

    def begin(self, pid: int) -> None:
        """Start with the running process."""
        self._threads = [threading.Thread(target=self._cut)]
        if self._plan.stop is not None:
            self._threads.append(threading.Thread(target=self._stop, args=(pid,)))
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """The process has ended."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _cut(self) -> None:
        begun = time.monotonic()
        for at in self._plan.cuts_s:
            if self._over.wait(max(0.0, at - (time.monotonic() - begun))):
                return
            for pid in masters(self._home):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _stop(self, pid: int) -> None:
        stop = self._plan.stop or ""
        if self._over.wait(self._plan.stop_s):
            return
        with contextlib.suppress(ProcessLookupError):
            self.stopped = True
            os.kill(pid, _SIGNALS[stop])
            if stop == "interrupt twice" and not self._over.wait(0.3):
                os.kill(pid, _SIGNALS[stop])


def masters(home: Path) -> list[int]:
    """The ssh master processes of this user's commands."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (each / "cmdline").read_bytes()
            if b"ControlMaster=yes" in words and os.fsencode(home) + b"/" in words:
                found.append(int(each.name))
    return found


def play(plan: Plan, market: Market, folder: Path, forks: Forks) -> Verdict:
    """Play one schedule from start to end."""
    key = f"run-{plan.seed:09}-{os.getpid()}"
    market.account(key)
    faults = [market.fault(key, fault) for fault in plan.faults]
    home, work = folder / f"{plan.seed}" / ".clore", folder / f"{plan.seed}" / "w"
    work.mkdir(parents=True)
    (work / "x").write_text("1")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home.parent),
        "CLORE_HOME": str(home),
        "CLORE_API_KEY": key,
        "CLORE_BASE_URL": market.base_url,
        "CLORE_REQUESTS_PER_SECOND": "100000",
    }
    words = ["clore", "run", "--yes", "--verify", "ssh", "--currency", "bitcoin", "--lost-after",
             "0.03m", "--boot-timeout", "20", "--folder", str(work), "--", plan.script]  # fmt: skip
    verdict, actor = Verdict(plan.seed), _Actor(plan, home)
    try:
        done = forks.run(words, env, "", WITHIN_S, actor.begin)
    finally:
        actor.end()
    for number in faults:
        market.clear_fault(number)
    verdict.code, verdict.lines, verdict.err = done.returncode, done.stdout.count("\n"), done.stderr
    if "Traceback" in done.stderr or "bug in clore" in done.stderr:
        verdict.wrong.append(f"broken: {done.stderr[-600:]}")
    left_alone = actor.stopped and plan.stop in ("kill", "hang up")
    _judge_run(plan, verdict, done.stdout, stopped=actor.stopped)
    _judge_machines(market, key, home, verdict, alone=left_alone)
    if left_alone:
        _see_through(plan, home, env, forks, verdict)
        _judge_machines(market, key, home, verdict, alone=True)
    for row in market.orders(key):
        verdict.servers.append(row["si"])
        if not row.get("expired"):
            market.cancel(key, row["id"])
    return verdict


def _jobs(home: Path) -> list[dict[str, Any]]:
    if not (home / "state.sqlite").exists():
        return []
    with contextlib.closing(sqlite3.connect(home / "state.sqlite")) as db:
        return [json.loads(row[0]) for row in db.execute("SELECT record FROM jobs ORDER BY id")]


def _judge_run(plan: Plan, verdict: Verdict, out: str, *, stopped: bool) -> None:
    code = verdict.code
    if not plan.output.startswith(out):
        verdict.wrong.append(f"wrong output: {out[-200:]!r}")
    ended = f"ended with {plan.code} after" in verdict.err
    if ended and out != plan.output:
        verdict.wrong.append(f"wrong output: {len(out)} of {len(plan.output)} bytes at its end")
    if not (ended or stopped or plan.loses_host) and "Job" in verdict.err:
        verdict.wrong.append(_NOT_LOST)
    allowed = _allowed(plan, verdict, out, ended=ended, stopped=stopped)
    if code not in allowed:
        verdict.wrong.append(f"wrong codes: {code}, not of {sorted(allowed)}")


def _allowed(plan: Plan, verdict: Verdict, out: str, *, ended: bool, stopped: bool) -> set[int]:
    """The exit codes that would be correct."""
    allowed: set[int] = set()
    if ended:
        allowed.add(plan.code)
        if "may still be" in verdict.err or "clore cancel" in verdict.err:
            allowed |= {1, 8}  # the message said that the order may still run
    elif not stopped:
        allowed |= set(_NO_MACHINE) if not out else {1, 8}
    if stopped:
        allowed |= {*_OF_STOPS[plan.stop or ""], *(() if out else _NO_MACHINE)}
        if plan.loses_host:
            allowed.add(1)
        if verdict.err.strip() in ("", "Interrupted."):  # before it could handle signals
            allowed |= {-signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT}
    return allowed


def _judge_machines(market: Market, key: str, home: Path, verdict: Verdict, *, alone: bool) -> None:
    """Each running order must be known and reported, or there must be none."""
    time.sleep(0.1)  # until the newest order is listed: the marketplace's lag
    with CloreAI(key, market.base_url, state=home, max_retries=5) as client:
        client.rate_limiter.min_interval = 0
        try:
            client.my_orders(include_completed=True)
        except CloreAPIError as exc:
            verdict.wrong.append(f"broken: {exc}")
            return
        known = {i.order_id for i in client.ledger.running()}
        unsettled = bool(client.ledger.unsettled())
    known |= {job["order_id"] for job in _jobs(home)}
    for row in market.orders(key):
        if row.get("expired"):
            continue
        if row["id"] not in known and not unsettled:
            verdict.wrong.append(f"unknown machines: {row['id']}")
        elif not alone and f"{row['id']}" not in verdict.err:
            verdict.wrong.append(f"unknown machines: {row['id']} runs, and that was not said")


def _see_through(
    plan: Plan, home: Path, env: dict[str, str], forks: Forks, verdict: Verdict
) -> None:
    """The user's next step for a job without a follower: attach."""
    found = [job for job in _jobs(home) if job["order_id"]]
    if not found:
        return  # stopped before there was a machine, or known to the ledger
    number = found[-1]["id"]
    done = forks.run(["clore", "attach", str(number)], env, "", WITHIN_S)
    log = home / "jobs" / str(number) / "log"
    out = log.read_text() if log.exists() else ""
    if not plan.output.startswith(out):
        verdict.wrong.append(f"wrong output: {out[-200:]!r} in the log")
    started = found[-1]["state"] != "new"
    (job,) = (each for each in _jobs(home) if each["id"] == number)
    if job["state"] == "ended":
        if out != plan.output:
            verdict.wrong.append("wrong output: the log is not whole")
        if done.returncode != plan.code:
            verdict.wrong.append(f"wrong codes: attach ended with {done.returncode}")
    elif started and not plan.loses_host:
        kind = _NOT_LOST if job["state"] == "lost" else "broken"
        verdict.wrong.append(f"{kind}: attach: {done.stderr[-400:]}")


def shown(verdict: Verdict) -> str:
    """The plan, and the end of the command's output."""
    return f"{draw(verdict.seed)}\n  {verdict.err[-1500:]}"


def play_all(seeds: Sequence[int], market: Market, folder: Path, at_once: int) -> list[Verdict]:
    """Play schedules, so many at a time."""
    # One process to fork from for each, as it serves one request at a time.
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    forks = [of_clore("tests.run_schedules.act:main", env=env) for _ in range(at_once)]

    def share(number: int) -> list[Verdict]:
        found = []
        for seed in seeds[number::at_once]:
            try:
                found.append(play(draw(seed), market, folder, forks[number]))
            except Exception:  # noqa: BLE001 - the others are still played
                found.append(Verdict(seed, [f"broken: {traceback.format_exc()}"]))
        return found

    with ThreadPoolExecutor(at_once) as pool:
        verdicts = [verdict for some in pool.map(share, range(at_once)) for verdict in some]
    for each in forks:
        each.close()
    # By then, a host that dies some seconds after one's order may have another one's order.
    dying = {server for v in verdicts if draw(v.seed).loses_host for server in v.servers}
    for verdict in verdicts:
        if dying & set(verdict.servers):
            verdict.wrong = [what for what in verdict.wrong if not what.startswith(_NOT_LOST)]
    return verdicts
