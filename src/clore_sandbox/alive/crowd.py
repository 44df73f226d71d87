"""`Crowd`: simulated renters and hosts that act on the store, by the functions that requests call.

Promises: its actions depend on its seed, the market and the times it is given, not on when it runs.
It never touches servers that accounts host, nor orders of others.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clore_sandbox import books
from clore_sandbox.alive import decisions
from clore_sandbox.alive.decisions import OwnOrder, SeenServer
from clore_sandbox.books import hosts, lifecycle, orders
from clore_sandbox.fleet.inventory import on_demand_prices
from clore_sandbox.rules import Refusal, allowed_prices, hosting, is_on_gigaspot
from clore_sandbox.rules.order_request import OrderRequest
from clore_sandbox.values.money import COINS, MAX_UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.alive.decisions import Action, Renter
    from clore_sandbox.books.lifecycle import Effects, Terms
    from clore_sandbox.store import Row, Tx
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["ACT_EVERY_MS", "STEP_MS", "Crowd"]

ACT_EVERY_MS = 20_000
"""How often the crowd of a running marketplace acts."""
STEP_MS = 300_000
"""The longest time that one step covers."""
_RELOAD_EVERY_STEPS = 12
_LABEL = "simulated renter"
_THERE = (
    "SELECT servers.id AS id, online, hidden, taken, orders.type AS type FROM servers LEFT JOIN"
    " orders ON orders.server = servers.id AND orders.running = 1 ORDER BY position"
)
_IMAGE = "cloreai/ubuntu22.04-cuda12"


class Crowd:
    """Renters and hosts of one market.

    Args:
        seed: Determines who they are and what they do.
        renters: How many renters.
        rates: USD per coin.
        spots: The share of renters that bid; the others rent on demand.
    """

    def __init__(
        self, seed: int, renters: int, rates: Mapping[str, float], *, spots: float = decisions.SPOTS
    ) -> None:
        self.accounts: list[int] = []
        self.count: Counter[str] = Counter()
        """Actions by kind, and refusals by their `error`."""
        self.put_in: Counter[str] = Counter()
        """Units that top-ups have added to wallets, by coin."""
        self._draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._size = renters
        self._spots = spots
        self._rates = rates
        self._renters: list[Renter] = []
        self._looks: dict[int, int] = {}
        self._before: tuple[int, tuple[Any, ...], dict[int, int], int] | None = None
        self._steps = 0
        self._stalls: dict[int, SeenServer] = {}
        self._first: dict[int, dict[str, int]] = {}
        self._drifts: dict[int, float] = {}

    def settle_in(self, tx: Tx, now_ms: int) -> None:
        """Create the renters' accounts, or reuse those of an earlier run, and read the market."""
        sql = "SELECT id FROM accounts WHERE label = ? ORDER BY id"
        known = [row["id"] for row in tx.all(sql, _LABEL)]
        while len(known) < self._size:
            key = books.create_account(tx, None, {}, label=_LABEL)
            known.append(books.account_of(tx, key) or 0)
        self.accounts = known
        self._renters = [
            decisions.draw_renter(self._draw, account, self._spots) for account in known
        ]
        self._looks = {
            r.account: now_ms + round(self._draw.random() * r.looks_every_ms) for r in self._renters
        }
        self._read_market(tx)
        hosted = {row["server"] for row in tx.all("SELECT server FROM hosted")}
        self._first = {
            server: dict(stall.on_demand)
            for server, stall in self._stalls.items()
            if server not in hosted
        }

    def _read_market(self, tx: Tx) -> None:
        rows = tx.all("SELECT id, record FROM servers ORDER BY position")
        for row in rows:
            self._show(row["id"], json.loads(row["record"]))
        self._steps = 0

    def step(self, tx: Tx, now_ms: int, elapsed_ms: int, terms: Terms, effects: Effects) -> None:
        """Let everyone act whose time has come, after some time has passed.

        If the database repeats the transaction, the step begins from the same state.
        """
        if self._before is not None and self._before[0] == now_ms:
            _, drawn, self._looks, self._steps = self._before
            self._draw.setstate(drawn)
        self._before = (now_ms, self._draw.getstate(), dict(self._looks), self._steps)
        self._steps += 1
        if self._steps >= _RELOAD_EVERY_STEPS:  # others may have changed servers
            self._read_market(tx)
        there = tx.all(_THERE)
        stalls = self._now(there)
        for act in self._hosts(there, elapsed_ms):
            self._carry_out(tx, act, now_ms, terms, effects)
        market = list(stalls.values())
        for renter in self._renters:
            if self._looks[renter.account] > now_ms:
                continue
            self._looks[renter.account] = now_ms + round(
                self._draw.expovariate(1 / renter.looks_every_ms)
            )
            acts = decisions.renter_acts(
                self._draw,
                renter,
                mine=_orders_of(tx, renter.account),
                balance=books.balance(tx, renter.account, renter.coin),
                market=market,
                by_server=stalls,
                rates=terms.rates,
                now_ms=now_ms,
            )
            for act in acts:
                self._carry_out(tx, act, now_ms, terms, effects, renter)
        for server in effects.records & self._stalls.keys():
            row = tx.one("SELECT record FROM servers WHERE id = ?", server)
            if row is not None:
                self._show(server, json.loads(row["record"]))

    def _show(self, server: int, record: JsonObject) -> None:
        """Note a server's record, and its price relative to its first one."""
        stall = self._stalls[server] = _stall(record)
        first = self._first.get(server, {})
        coin = next((c for c, price in first.items() if price and c in stall.on_demand), None)
        self._drifts[server] = 1.0 if coin is None else stall.on_demand[coin] / first[coin]

    def _now(self, there: list[Row]) -> dict[int, SeenServer]:
        """The market as it is listed now."""
        stalls: dict[int, SeenServer] = {}
        for row in there:
            stall = self._stalls.get(row["id"])
            if stall is None:
                continue
            listed = bool(row["online"] and not row["hidden"])
            rented = bool(row["taken"] or row["type"] == "on-demand")
            if (stall.listed, stall.rented) != (listed, rented):
                stall = self._stalls[row["id"]] = replace(stall, listed=listed, rented=rented)
            stalls[row["id"]] = stall
        return stalls

    def _hosts(self, there: list[Row], elapsed_ms: int) -> list[Action]:
        acts: list[Action] = []
        for row in there:
            if row["id"] in self._first:
                acts += decisions.host_acts(
                    self._draw,
                    server=row["id"],
                    online=bool(row["online"]),
                    taken=bool(row["taken"]),
                    busy=row["type"] is not None,
                    drift=self._drifts[row["id"]],
                    elapsed_ms=elapsed_ms,
                )
        return acts

    def _carry_out(
        self,
        tx: Tx,
        act: Action,
        now_ms: int,
        terms: Terms,
        effects: Effects,
        renter: Renter | None = None,
    ) -> None:
        """Carry out an action like a request; refusals are only counted."""
        account = renter.account if renter is not None else 0
        outcome: object = None
        if isinstance(act, decisions.Rent):
            ask = OrderRequest(
                act.server, act.coin, _IMAGE, "on-demand" if act.bid is None else "spot", act.bid
            )
            outcome = orders.create(
                tx, ask, account=account, now_ms=now_ms, terms=terms, effects=effects
            )
        elif isinstance(act, decisions.Leave):
            outcome = orders.cancel(
                tx,
                act.order,
                account=account,
                issue=act.issue,
                now_ms=now_ms,
                terms=terms,
                effects=effects,
            )
        elif isinstance(act, decisions.Bid):
            outcome = orders.set_price(
                tx,
                act.order,
                act.price,
                account=account,
                now_ms=now_ms,
                terms=terms,
                effects=effects,
            )
        elif isinstance(act, decisions.TopUp):
            units = min(act.units, MAX_UNITS // 100)
            books.top_up(tx, act.account, act.coin, units)
            self.put_in[act.coin] += units
        elif isinstance(act, decisions.Reprice):
            self._reprice(tx, act, now_ms, terms, effects)
        elif isinstance(act, decisions.Switch):
            hosts.set_online(
                tx, act.server, online=act.online, now_ms=now_ms, terms=terms, effects=effects
            )
        else:
            lifecycle.take(
                tx, act.server, taken=act.taken, now_ms=now_ms, terms=terms, effects=effects
            )
        kind = type(act).__name__
        self.count[outcome.error if isinstance(outcome, Refusal) else kind] += 1

    def _reprice(
        self, tx: Tx, act: decisions.Reprice, now_ms: int, terms: Terms, effects: Effects
    ) -> None:
        row = tx.one("SELECT hidden, record FROM servers WHERE id = ?", act.server)
        if row is None:
            return
        record: JsonObject = json.loads(row["record"])
        known = hosting.settings_of(record, available=not row["hidden"])

        def moved(prices: Mapping[str, int]) -> dict[str, int]:
            return {coin: decisions.rounded(price * act.factor) for coin, price in prices.items()}

        settings = replace(
            known,
            on_demand=moved(known.on_demand),
            spot=moved(known.spot),
            usd={
                coin: (decisions.rounded(demand * act.factor), decisions.rounded(spot * act.factor))
                for coin, (demand, spot) in known.usd.items()
            },
        )
        hosts.put(
            tx,
            act.server,
            record,
            settings,
            rates=self._rates,
            now_ms=now_ms,
            terms=terms,
            effects=effects,
        )


def _stall(record: JsonObject) -> SeenServer:
    server = record["id"]
    assert isinstance(server, int)  # noqa: S101 - inventory.py has checked it
    prices = {} if is_on_gigaspot(record) else allowed_prices(on_demand_prices(record), record)
    # Prices that nobody could ever pay are ignored.
    sane = {c: p for c, p in prices.items() if c in COINS and p < MAX_UNITS // 1000}
    return SeenServer(server, sane, lifecycle.least_bids(record), listed=True, rented=False)


def _orders_of(tx: Tx, account: int) -> list[OwnOrder]:
    rows = tx.all(
        "SELECT id, server, type, running, price, created_ms FROM orders"
        " WHERE account = ? AND ended_ms IS NULL ORDER BY id",
        account,
    )
    return [
        OwnOrder(
            row["id"],
            row["server"],
            row["type"] == "spot",
            bool(row["running"]),
            row["price"],
            row["created_ms"],
        )
        for row in rows
    ]
