"""50 orders at once: rented, a command on each over SSH, cancelled; and the memory used."""

from __future__ import annotations

import contextlib
import os
import subprocess
import urllib.request
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from tests.support.machines import engine
from tools import own_postgres

from bench.memory import of_tree
from bench.pairs import Pairs
from bench.report import Row, not_run, timed
from bench.served import COIN, HERE, Served, free_servers, served
from bench.worker import worker
from clore_sandbox.provision import KINDS

if TYPE_CHECKING:
    from collections.abc import Generator

    from bench.memory import Memory
    from bench.setting import Setting

ORDERS = 50
AT_MOST_S = 3.0
AT_MOST_MB = 200


@dataclass
class Rounds:
    """The measurements."""

    seconds: list[float] = field(default_factory=list[float])
    memory: list[Memory] = field(default_factory=list["Memory"])
    left: int = 0
    """Ports that still answered and processes that still ran after the orders' end."""
    ran: int = 0
    """Processes that ran before the orders' end."""


def measure(setting: Setting) -> list[Row]:
    """Measure every kind of room that this machine can build, and the memory of two workers."""
    key = setting.folder / "id_rooms"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    rows: list[Row] = []
    for kind in KINDS:
        what = f"{ORDERS} orders, 1 command each, {kind}"
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_ready_for(kind))
                market = stack.enter_context(_market(setting, provisioner=kind))
            except (engine.Unavailable, RuntimeError) as exc:
                rows.append(not_run(what, exc, f"<= {AT_MOST_S} s"))
                continue
            found = _rounds(setting, market, setting.long_runs)
        rows += [_timed(what, found), _weighed(f"  memory meanwhile, {kind}", found)]
    rows.append(_two_workers(setting))
    rows[0].notes.append(
        f"from the first create_order until the last cancel_order has answered, {ORDERS} OpenSSH "
        "clients on the same cores included; the marketplace's lag and boot time are 0. Each "
        "command leaves a process behind that has left its session; ports and processes are "
        "looked for at once, without waiting."
    )
    rows[1].notes.append(
        "all processes of the marketplace and of its orders, after the fleet was read plain and "
        "compressed; a container's own processes are its engine's, and are not counted."
    )
    return rows


def _timed(what: str, found: Rounds) -> Row:
    note = f"{found.ran:,} processes left behind, {found.left} of them or of the ports after that."
    row = timed(what, Pairs(found.seconds, []), ours_at_most_s=AT_MOST_S, notes=[note])
    return replace(row, met=row.met and not found.left)


def _weighed(what: str, found: Rounds) -> Row:
    pss = [memory.pss_mb for memory in found.memory]
    rss = median(memory.rss_mb for memory in found.memory)
    count = median(memory.processes for memory in found.memory)
    return Row(
        what,
        f"{median(pss):.0f} MB ({min(pss):.0f}-{max(pss):.0f})",
        target=f"<= {AT_MOST_MB} MB",
        met=median(pss) <= AT_MOST_MB,
        notes=[
            f"PSS of {count:.0f} processes; their RSS, shared pages counted anew, {rss:.0f} MB."
        ],
        runs=len(pss),
    )


def _two_workers(setting: Setting) -> Row:
    what = "  memory, process, PostgreSQL and 2 workers"
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(own_postgres.server())
        except own_postgres.NotInstalled as exc:
            return not_run(what, exc, f"<= {AT_MOST_MB} MB")
        market = stack.enter_context(_market(setting, db=url, workers=2))
        row = _weighed(what, _rounds(setting, market, 1))
    row.notes.append("the database's own processes are not counted.")
    return row


@contextlib.contextmanager
def _ready_for(kind: str) -> Generator[None]:
    """Prepare what this kind of room needs."""
    if kind != "docker":
        yield
        return
    with engine.engine() as host:
        os.environ["DOCKER_HOST"] = host
        try:
            yield
        finally:
            del os.environ["DOCKER_HOST"]


def _market(setting: Setting, **options: object) -> contextlib.AbstractContextManager[Served]:
    return served(setting, accounts=1, provision=True, visibility_lag_s=0, boot_s=0, **options)


def _rounds(setting: Setting, market: Served, count: int) -> Rounds:
    """Rent, read the memory, end; the first round is a warm-up, counted only for leftovers."""
    auth = setting.folder / f"auth-{market.pid}"
    auth.write_text(market.keys[0], "utf-8")
    for encoding in ("identity", "gzip"):
        headers = {"accept-encoding": encoding}
        request = urllib.request.Request(f"{market.base_url}/marketplace", headers=headers)
        with urllib.request.urlopen(request) as answer:
            answer.read()
    servers = ",".join(map(str, free_servers(setting, ORDERS)))
    words = (f"{market.base_url}/", auth, setting.folder / "id_rooms", servers, COIN)
    found = Rounds()
    with worker(HERE, "rooms", setting.environ(), *words) as renter:
        for number in range(1 + count):
            seconds = renter.ask("rent")
            memory = of_tree(market.pid)
            end = renter.ask("end")
            found.left += end["left"] + end["open"]
            found.ran += end["ran"]
            if number:
                found.seconds.append(seconds + end["seconds"])
                found.memory.append(memory)
    return found
