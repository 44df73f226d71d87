"""Simulates days of a living market in seconds, and checks that the books add up.

    >>> from clore_sandbox.alive.simulation import simulate
    >>> simulate(days=7, servers=500, renters=100).balanced
    True

The crowd, rules and store are those of `--alive`; only the time is counted instead of read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox.alive.crowd import STEP_MS, Crowd
from clore_sandbox.books import lifecycle
from clore_sandbox.books.hosts import fill
from clore_sandbox.fleet.rates import RATES_2026
from clore_sandbox.fleet.sample import sample_fleet
from clore_sandbox.rules import auction
from clore_sandbox.store import Store
from clore_sandbox.store.schema import MARKETPLACE
from clore_sandbox.values.money import COINS

if TYPE_CHECKING:
    from collections.abc import Callable

    from clore_sandbox.store import Tx

__all__ = ["Simulation", "simulate"]

_BEGIN_MS = 1_767_225_600_000  # 2026-01-01
_SETTLES_EVERY = 12
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Simulation:
    """The result of a simulation.

    `balanced`: for each coin, the renters' expenses equal the hosts' earnings plus fees, and both
    match the orders. `count` has actions by kind, and refusals by their `error`.
    """

    seconds: float
    balanced: bool
    most_running: int
    count: dict[str, int]


def simulate(
    *, days: float = 7, servers: int = 500, renters: int = 100, seed: int = 0
) -> Simulation:
    """Let a crowd act for some days, on a new store in memory."""
    began = time.perf_counter()
    rates = dict(RATES_2026)
    terms = lifecycle.Terms(lifecycle.Delays(2_000, 10_000, 90_000), auction.fixed_rates(rates))
    crowd = Crowd(seed, renters, rates)
    store = Store()
    try:
        store.call(lambda tx: fill(tx, sample_fleet(seed, servers)))
        store.call(lambda tx: crowd.settle_in(tx, _BEGIN_MS))
        most = 0
        now_ms = _BEGIN_MS
        for step in range(round(days * _DAY_MS / STEP_MS)):
            now_ms += STEP_MS
            most = max(most, store.call(_one_step(crowd, step, now_ms, terms)))
        store.call(lambda tx: lifecycle.settle(tx, now_ms, terms, lifecycle.Effects()))
        balanced = store.call(lambda tx: _adds_up(tx, crowd))
    finally:
        store.close()
    return Simulation(time.perf_counter() - began, balanced, most, dict(crowd.count))


def _one_step(crowd: Crowd, step: int, now_ms: int, terms: lifecycle.Terms) -> Callable[[Tx], int]:
    def work(tx: Tx) -> int:
        effects = lifecycle.Effects()
        # Accounts are billed when they act; this bills the others.
        if step % _SETTLES_EVERY == 0:
            lifecycle.settle(tx, now_ms, terms, effects)
        crowd.step(tx, now_ms, STEP_MS, terms, effects)
        return tx.number("SELECT COUNT(*) FROM orders WHERE running = 1")

    return work


def _adds_up(tx: Tx, crowd: Crowd) -> bool:
    """Compare wallets, top-ups and orders, coin by coin."""
    renters = set(crowd.accounts)
    for coin in COINS:
        wallets = {
            row["account"]: row["amount"]
            for row in tx.all("SELECT account, amount FROM wallets WHERE coin = ?", coin)
        }
        lost = crowd.put_in[coin] - sum(wallets.get(account, 0) for account in renters)
        fees = wallets.pop(MARKETPLACE, 0)
        earned = sum(amount for account, amount in wallets.items() if account not in renters)
        spent = tx.number("SELECT SUM(spend) FROM orders WHERE coin = ?", coin)
        charged = tx.number("SELECT SUM(fee + creation_fee) FROM orders WHERE coin = ?", coin)
        if (earned, fees, lost) != (spent, charged, spent + charged):
            return False
    return True
