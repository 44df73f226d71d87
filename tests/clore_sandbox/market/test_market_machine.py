"""The market under random renters, hosts, bids, cancels and time, and its invariants.

At any moment at most one order runs on a server, and it is the one that the rules name; renters
lost what hosts earned plus fees, to the last unit of each coin. Driven through the store, with the
time passed in; the naming rule and the sums are written again here, independently.
"""

import contextlib
import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from clore_sandbox import books
from clore_sandbox.books import hosts, lifecycle, orders
from clore_sandbox.rules import Refusal, auction
from clore_sandbox.rules.order_request import OrderRequest
from clore_sandbox.store import AlreadyThere, Store
from clore_sandbox.values.money import COINS, to_units

RATES = {"bitcoin": 90_000.0, "CLORE-Blockchain": 0.01, "USD-Blockchain": 1.0}
TERMS = lifecycle.Terms(lifecycle.Delays(1000, 2000, 3000), auction.fixed_rates(RATES))
PRICES = {"bitcoin": 0.0001, "CLORE-Blockchain": 900, "USD-Blockchain": 9}
#: Share of the price on demand; several bids of different coins are worth the same.
SHARES = st.sampled_from([0.3, 0.5, 0.5001, 0.6, 0.9, 2])
MINUTE = 60_000
WALLET = {"bitcoin": "0.0003", "CLORE-Blockchain": "2500", "USD-Blockchain": "25"}


class Market(RuleBasedStateMachine):
    def __init__(self, db=None):
        super().__init__()
        self.db = db

    @initialize()
    def begin(self):
        self.store = Store(self.db)
        self.now = 1_700_000_000_000
        self.put_in = dict.fromkeys(COINS, 0)

        def fill(tx):
            keys = [books.create_account(tx, None, {}) for _ in range(5)]
            accounts = [books.account_of(tx, key) for key in keys]
            record = {
                "id": 0,
                "mrl": 48,
                "allowed_coins": list(COINS),
                "price": {
                    "on_demand": dict(PRICES),
                    "spot": {coin: price / 2 for coin, price in PRICES.items()},
                },
            }
            for name in ("one", "two"):
                hosts.add(tx, accounts[0], name, record, effects=lifecycle.Effects())
            servers = [row["id"] for row in tx.all("SELECT id FROM servers ORDER BY id")]
            return accounts[0], accounts[1:], servers

        self.host, self.renters, self.servers = self.store.call(fill)
        for renter in self.renters:
            for coin, amount in WALLET.items():
                self.top_up(renter, coin, to_units(amount))

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()

    def top_up(self, renter, coin, units):
        self.store.call(lambda tx: books.top_up(tx, renter, coin, units))
        self.put_in[coin] += units

    def act(self, work, store=None):
        return (store or self.store).call(
            lambda tx: work(
                tx, {"now_ms": self.now, "terms": TERMS, "effects": lifecycle.Effects()}
            )
        )

    # -- actions -------------------------------------------------------------------------------

    @rule(
        renter=st.integers(0, 3),
        server=st.integers(0, 1),
        coin=st.sampled_from(COINS),
        share=st.none() | SHARES,
    )
    def rent(self, renter, server, coin, share):
        ask = OrderRequest(
            self.servers[server],
            coin,
            "image",
            "on-demand" if share is None else "spot",
            None if share is None else to_units(PRICES[coin] * share),
        )
        made = self.act(lambda tx, now: orders.create(tx, ask, account=self.renters[renter], **now))
        if not isinstance(made, Refusal):
            assert share is not None or made.running

    def some_order(self, nth):
        rows = self.store.call(
            lambda tx: tx.all("SELECT id, account, price FROM orders ORDER BY id DESC LIMIT 8")
        )
        return rows[nth % len(rows)] if rows else None

    @rule(nth=st.integers(0, 7), issue=st.none() | st.just("hot"))
    def cancel(self, nth, issue):
        row = self.some_order(nth)
        if row is not None:
            self.act(
                lambda tx, now: orders.cancel(
                    tx, row["id"], account=row["account"], issue=issue, **now
                )
            )

    @rule(nth=st.integers(0, 7), change=st.integers(-2_000_000, 5_000_000) | st.integers(0, 10**15))
    def bid(self, nth, change):
        row = self.some_order(nth)
        if row is not None:
            self.act(
                lambda tx, now: orders.set_price(
                    tx, row["id"], max(0, row["price"] + change), account=row["account"], **now
                )
            )

    @rule(server=st.integers(0, 1), share=SHARES, coin=st.sampled_from(COINS), on=st.booleans())
    def reprice(self, server, share, coin, on):
        body = {
            "availability": True,
            "mrl": 48,
            f"{coin}_on_demand": PRICES[coin],
            f"{coin}_spot": PRICES[coin] * share,
            f"enabled-{coin}": on,
        }
        self.act(
            lambda tx, now: hosts.set_settings(
                tx, self.host, ("one", "two")[server], body, rates=RATES, **now
            )
        )

    @rule(server=st.integers(0, 1), online=st.booleans())
    def host_comes_or_goes(self, server, online):
        self.act(lambda tx, now: hosts.set_online(tx, self.servers[server], online=online, **now))

    @rule(server=st.integers(0, 1), taken=st.booleans())
    def outsider(self, server, taken):
        self.act(lambda tx, now: lifecycle.take(tx, self.servers[server], taken=taken, **now))

    @rule(renter=st.integers(0, 3), coin=st.sampled_from(COINS), units=st.integers(1, 10**12))
    def earn(self, renter, coin, units):
        self.top_up(self.renters[renter], coin, units)

    @rule(seconds=st.integers(1, 30) | st.integers(1, 3600) | st.integers(1, 60 * 3600))
    def time_passes(self, seconds):
        self.now += seconds * 1000

    @rule()
    def sweep(self):
        self.act(lambda tx, now: lifecycle.settle(tx, now["now_ms"], TERMS, now["effects"]))

    # -- invariants ----------------------------------------------------------------------------

    @invariant()
    @precondition(lambda self: hasattr(self, "store"))
    def the_running_order_is_the_one_the_rules_name(self):
        def read(tx):
            return [
                (server, tx.all("SELECT * FROM orders WHERE server = ?", server["id"]))
                for server in tx.all("SELECT id, taken, record FROM servers")
            ]

        for server, rows in self.store.call(read):
            record = json.loads(server["record"])
            least = record["price"]["spot"]
            running = [row["id"] for row in rows if row["running"]]
            assert len(running) <= 1
            alive = [row for row in rows if row["ended_ms"] is None]
            assert {row["id"] for row in rows if row["running"] or row["billed"]} <= {
                row["id"] for row in alive
            }
            demanded = [row["id"] for row in alive if row["type"] == "on-demand"]
            bids = [
                (row["price"] * RATES[row["coin"]], -row["id"])
                for row in alive
                if row["type"] == "spot"
                and not server["taken"]
                and row["coin"] in record["allowed_coins"]
                and row["price"] >= to_units(least[row["coin"]])
            ]
            named = demanded or [-max(bids)[1]] if demanded or bids else []
            assert running == named
            offers = [row["account"] for row in alive if row["type"] == "spot"]
            assert len(offers) == len(set(offers))

    @invariant()
    @precondition(lambda self: hasattr(self, "store"))
    def the_books_balance(self):
        def read(tx):
            wallets = {
                (row["account"], row["coin"]): row["amount"]
                for row in tx.all("SELECT * FROM wallets")
            }
            return wallets, tx.all("SELECT * FROM orders")

        wallets, rows = self.store.call(read)
        assert all(amount >= 0 for amount in wallets.values())
        for coin in COINS:
            mine = [row for row in rows if row["coin"] == coin]
            earned = sum(row["spend"] for row in mine)
            fees = sum(row["fee"] + row["creation_fee"] for row in mine)
            assert wallets.get((self.host, coin), 0) == earned
            assert wallets.get((0, coin), 0) == fees
            left = sum(wallets.get((renter, coin), 0) for renter in self.renters)
            assert self.put_in[coin] - left == earned + fees

    @invariant()
    @precondition(lambda self: hasattr(self, "store"))
    def no_order_is_billed_for_more_time_than_passed(self):
        for row in self.store.call(lambda tx: tx.all("SELECT * FROM orders WHERE ticks > 0")):
            begun = (row["ended_ms"] or self.now) - row["start_ms"]
            assert (row["ticks"] - 1) * MINUTE <= max(0, begun)


TestMarket = Market.TestCase
TestMarket.settings = settings(
    max_examples=20,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)


def test_the_invariants_hold_on_postgresql_too(new_schema):
    run_state_machine_as_test(
        lambda: Market(new_schema()),
        settings=settings(TestMarket.settings, max_examples=2, stateful_step_count=25),
    )


class Trader:
    """A renter with a connection of its own, as each worker of the marketplace has."""

    def __init__(self, machine, number, db):
        self.machine = machine
        self.me = machine.renters[number]
        self.draw = random.Random(number)
        self.store = Store(db, claim=False)

    def act(self, work):
        # If another transaction came first, all of this one is rolled back.
        with contextlib.suppress(AlreadyThere):
            self.machine.act(work, self.store)

    def trade(self):
        for _ in range(40):
            self.rent()
            if self.draw.random() < 0.8:
                self.change()
            if self.draw.random() < 0.2:
                self.machine.now += 70_000
                self.act(lambda tx, now: lifecycle.settle(tx, now["now_ms"], TERMS, now["effects"]))
        self.store.close()

    def rent(self):
        coin, share = self.draw.choice(COINS), self.draw.choice([None, 0.5, 0.6, 0.9])
        price = None if share is None else to_units(PRICES[coin] * share)
        kind = "on-demand" if share is None else "spot"
        ask = OrderRequest(self.draw.choice(self.machine.servers), coin, "image", kind, price)
        self.act(lambda tx, now: orders.create(tx, ask, account=self.me, **now))

    def change(self):
        mine = "SELECT id, price FROM orders WHERE account = ? AND ended_ms IS NULL"
        rows = self.store.call(lambda tx: tx.all(mine, self.me))
        if not rows:
            return
        order, price = self.draw.choice([(row["id"], row["price"]) for row in rows])
        more = price * 11 // 10
        if self.draw.random() < 0.6:
            self.act(lambda tx, now: orders.cancel(tx, order, account=self.me, issue=None, **now))
        else:
            self.act(lambda tx, now: orders.set_price(tx, order, more, account=self.me, **now))


def test_the_invariants_hold_with_concurrent_writers(postgres_db):
    machine = Market(postgres_db)
    machine.begin()
    traders = [Trader(machine, number, postgres_db) for number in range(4)]
    with ThreadPoolExecutor(len(traders)) as pool:
        for done in [pool.submit(trader.trade) for trader in traders]:
            done.result()
    machine.the_running_order_is_the_one_the_rules_name()
    machine.the_books_balance()
    assert machine.store.call(lambda tx: tx.number("SELECT COUNT(*) FROM orders")) > 20
    machine.teardown()


def test_the_claim_is_a_unique_row(db):
    """Whatever the code does, the database allows no second running order on a server."""
    store = Store(db)
    row = (
        "INSERT INTO orders (id, account, server, host, type, coin, price, fee_ppm, creation_fee,"
        " ask, created_ms, visible_ms, connected_ms, booted_ms, start_ms, last_ms, due_ms, ticks,"
        " spend, fee, running) VALUES (?, 1, 5, 2, 'on-demand', 'bitcoin', 1, 0, 0, '', 0, 0, 0,"
        " 0, 0, 9, 9, 0, 0, 0, 1)"
    )
    store.call(lambda tx: tx.do(row, 1))
    with pytest.raises(AlreadyThere):
        store.call(lambda tx: tx.do(row, 2))
    store.close()


def test_settling_once_equals_settling_by_the_minute():
    """An outbid order takes over when the one before it ends, however late it is settled."""

    def week(step_ms):
        machine = Market()
        machine.begin()
        for renter, share in enumerate([0.9, 0.6, 0.5]):
            machine.rent(renter, 0, "USD-Blockchain", share)
            machine.now += 8 * 3_600_000
        end = machine.now + 7 * 86_400_000
        while machine.now < end:
            machine.now = min(end, machine.now + step_ms)
            machine.sweep()
        machine.the_books_balance()
        rows = machine.store.call(
            lambda tx: [
                (r["spend"], r["fee"], r["ended_ms"], r["reason"])
                for r in tx.all("SELECT * FROM orders ORDER BY id")
            ]
        )
        machine.teardown()
        return rows

    once = week(7 * 86_400_000)
    assert once == week(3_600_000) == week(777_000)
    assert [row[3] for row in once] == ["max_rental"] * 3
    # 48 hours, and then the 8 hours that each of the others had left.
    assert [row[0] for row in once] == [to_units("16.2"), to_units("1.8"), to_units("1.5")]
