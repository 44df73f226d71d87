"""50 renters race for 10 servers: `create_order` + `cancel_order` pairs per second, over HTTP.

Double rents are counted in the marketplace's books, not by the renters: an order that began on a
server before the previous one had ended. Machines differ in speed, so the pairs per second are
compared with the answers per second of a bare Starlette app, race by race.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tools import own_postgres

from bench import cpu
from bench.bare import NO_WRK, bare, has_wrk, load
from bench.report import Row, not_run, rates
from bench.served import COIN, HERE, free_servers, served
from bench.worker import worker
from clore_sandbox.store import Store

if TYPE_CHECKING:
    from bench.setting import Setting

RENTERS, SERVERS, ATTEMPTS = 50, 10, 6_000
LEAST_SQLITE, LEAST_POSTGRES = 0.38, 0.15
"""Pairs per second for each answer per second of the bare app."""


@dataclass(frozen=True)
class Raced:
    """Pairs per second of each race, and the books' figures for all races."""

    pairs_per_s: list[float]
    bare_per_s: list[float]
    """Answers per second of the bare app after each race; empty without `wrk`."""
    cpu_ms_a_pair: list[float]
    """CPU time of the marketplace's processes; other load on the machine affects it less."""
    refused_a_pair: float
    attempts: int
    orders: int
    doubles: int
    unaccounted: int
    """Orders that are not in all of books, journal and renters' answers."""


def measure(setting: Setting) -> list[Row]:
    """Measure SQLite in a file with one process, and PostgreSQL with two workers."""
    rows = [
        _row("SQLite, 1 process", _race(setting, str(setting.folder / "race.db")), LEAST_SQLITE)
    ]
    with contextlib.ExitStack() as stack:
        name = "PostgreSQL, 2 workers"
        try:
            url = stack.enter_context(own_postgres.server())
        except own_postgres.NotInstalled as exc:
            return [*rows, not_run(_what(name), exc, _target(LEAST_POSTGRES))]
        rows.append(_row(name, _race(setting, url, workers=2), LEAST_POSTGRES))
    rows[0].notes.append(
        f"{RENTERS} connections, {SERVERS} servers drawn at random; a pair is an order made and "
        "cancelled, refused attempts come on top; reference dialect, whose create_order returns "
        "the id. No rooms, no limits. The renters are one process beside the marketplace's, on "
        "the same cores. The column of 0.1.1 is a bare Starlette app that answers with the plain "
        "listing of the fleet, asked by wrk after each race"
        f"{'' if has_wrk() else f': not run, {NO_WRK}'}."
    )
    return rows


def _what(name: str) -> str:
    return f"create + cancel, {name}"


def _target(least: float) -> str:
    return f"ratio >= {least}, 0 double"


def _row(name: str, raced: Raced, least: float) -> Row:
    cpu_ms = raced.cpu_ms_a_pair
    note = (
        f"the marketplace's processes used {median(cpu_ms):.1f} ms of CPU a pair "
        f"({min(cpu_ms):.1f}-{max(cpu_ms):.1f}), {raced.refused_a_pair:.1f} refused attempts "
        f"included; {raced.attempts:,} attempts, {raced.orders:,} orders; {raced.doubles} double "
        f"rents by the books, {raced.unaccounted} orders of which books, journal and renters don't "
        "all know."
    )
    sound = raced.doubles == raced.unaccounted == 0
    ratios = [a / b for a, b in zip(raced.pairs_per_s, raced.bare_per_s)]
    return Row(
        _what(name),
        rates(raced.pairs_per_s, "pairs/s"),
        rates(raced.bare_per_s, "/s") if ratios else "-",
        f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-",
        _target(least),
        (sound and median(ratios) >= least) if ratios else (None if sound else False),
        [note],
        len(raced.pairs_per_s),
    )


def _race(setting: Setting, db: str, *, workers: int = 1) -> Raced:
    """Run all races over one database, then read its books."""
    # The total of attempts is fixed, whatever the number of races; the first race is a warm-up.
    each = 200 if setting.quick else -(-ATTEMPTS // setting.runs)
    numbers = ",".join(map(str, free_servers(setting, SERVERS)))
    options = {"db": db, "workers": workers, "dialect": "reference"}
    with (
        served(setting, accounts=RENTERS, **options) as market,
        worker(HERE, "race", setting.environ(), numbers, COIN) as renters,
        bare(setting, setting.body, setting.body) as measure_of,
    ):
        renters.send(json.dumps({"base_url": market.base_url, "keys": market.keys}))
        races: list[dict[str, float]] = []
        used: list[float] = []
        for _ in range(1 + setting.runs):
            before = cpu.of_tree(market.pid)
            races.append(renters.ask(each))
            used.append(cpu.of_tree(market.pid) - before)
            if has_wrk():
                load(measure_of)
        noted = market.created()
    books = _orders(db)
    pairs = sum(int(race["pairs"]) for race in races)
    there = {number for number, *_ in books}
    return Raced(
        [race["pairs"] / race["seconds"] for race in races[1:]],
        measure_of.per_second[1:],
        [1000 * s / race["pairs"] for s, race in zip(used[1:], races[1:])],
        sum(race["refused"] for race in races) / sum(race["pairs"] for race in races),
        attempts=each * len(races),
        orders=len(books),
        doubles=_doubles(books),
        unaccounted=len(there.symmetric_difference(noted)) + abs(len(books) - pairs),
    )


def _orders(db: str) -> list[tuple[int, int, int, int | None]]:
    """Number, server, beginning and end of every order, oldest first."""
    store = Store(db, claim=False)
    try:
        rows = store.call(
            lambda tx: tx.all("SELECT id, server, created_ms, ended_ms FROM orders ORDER BY id")
        )
        return [(row["id"], row["server"], row["created_ms"], row["ended_ms"]) for row in rows]
    finally:
        store.close()


def _doubles(books: list[tuple[int, int, int, int | None]]) -> int:
    """How often an order began before another one on the same server had ended."""
    by_server = sorted(books, key=lambda order: (order[1], order[0]))
    return sum(
        one[1] == other[1] and (one[3] is None or other[2] < one[3])
        for one, other in itertools.pairwise(by_server)
    )
