"""The controls as methods of `Sandbox`, with their effects as a renter sees them."""

from decimal import Decimal

import httpx
import pytest


@pytest.fixture
def slow(own_market, renter_of):
    """A market whose time stands still except for jumps."""
    market = own_market(visibility_lag_s=2, boot_s=60, provision=False)
    market.freeze()
    return market, renter_of(market)


class TestClock:
    def test_a_day_of_rental_takes_a_moment(self, slow):
        """Listed, deployed, billed for a day, ended at its maximum length, all without waiting."""
        market, renter = slow
        server = next(s for s in renter.free() if s["mrl"] > 24)
        assert renter.create(server["id"]).json() == {"code": 0}
        assert renter.orders() == []
        market.jump(2)
        assert renter.orders()[0]["mon_container"] == 0
        market.jump(60)
        assert renter.orders()[0]["mon_container"] == 2
        market.jump(86_400 - 62)
        (order,) = renter.orders()
        # The tick that begins now is paid now.
        day = Decimal(str(order["price"]))
        assert abs(Decimal(str(order["spend"])) - day) <= day * 60 / 86_400
        market.jump(server["mrl"] * 3600)
        assert renter.orders() == []

    def test_events_within_a_jump_happen_at_their_time(self, slow):
        """A host dies after an hour: the rest of the day in the jump is not billed."""
        market, renter = slow
        market.fault("create_order", "host_dies", delay_s=3600)
        renter.create(renter.free()[0]["id"])
        market.jump(86_400)
        (order,) = renter.orders()
        assert not order["online"]
        assert order["spend"] < order["price"] / 23

    def test_a_frozen_clock_bills_nothing_and_opens_no_window(self, own_market, renter_of):
        market = own_market(limits=True, provision=False)
        market.freeze()
        renter = renter_of(market)
        assert [renter.http.get("/wallets").status_code for _ in range(3)] == [200, 429, 429]
        market.jump(1)
        assert renter.http.get("/wallets").status_code == 200

    def test_speed(self, own_market, renter_of, wait):
        market = own_market(visibility_lag_s=60, boot_s=60, provision=False)
        renter = renter_of(market)
        renter.create(renter.free()[0]["id"])
        market.speed(1000)
        assert market.clock().speed == 1000
        wait(lambda: renter.orders() and renter.orders()[0]["mon_container"] == 2, 5)

    def test_a_boot_waits_while_the_clock_is_frozen(self, own_market, renter_of, wait, shell_of):
        market = own_market()
        market.freeze()
        renter = renter_of(market)
        renter.create(renter.free()[0]["id"], ports={"22": "tcp"}, ssh_password="Secret123")
        market.jump(0.1)
        shell = shell_of(renter.orders()[0])
        assert shell.run("true").returncode == 0  # `jump` returns once the room has booted

    def test_time_never_goes_back(self, slow):
        market, _ = slow
        before = market.clock()
        with pytest.raises(ValueError, match="ahead"):
            market.jump(-1)
        assert market.clock() == before


class TestAccounts:
    def test_create_top_up_and_wallets(self, market, renter_of):
        key = market.create_account({"bitcoin": "0.5"})
        market.top_up(key, "USD-Blockchain", Decimal("1.25"))
        wallet = {
            "bitcoin": Decimal("0.5"),
            "CLORE-Blockchain": Decimal(0),
            "USD-Blockchain": Decimal("1.25"),
        }
        assert market.wallet(key) == wallet
        assert next(a.wallets for a in market.accounts() if a.key == key) == wallet
        assert market.accounts()[0].key == market.api_key

    def test_no_coins_means_an_empty_wallet(self, market):
        assert set(market.wallet(market.create_account({})).values()) == {Decimal(0)}

    @pytest.mark.parametrize("amount", [-1, "-0.1", float("nan"), 1e12, "a lot"])
    def test_invalid_amounts_are_refused(self, market, amount):
        with pytest.raises(ValueError, match=r"amount|below zero"):
            market.top_up(None, "bitcoin", amount)
        with pytest.raises(ValueError, match=r"amount|below zero"):
            market.create_account({"bitcoin": amount})

    def test_a_key_is_unique(self, market):
        market.create_account(api_key="the-one-and-only")
        with pytest.raises(ValueError, match="another account"):
            market.create_account(api_key="the-one-and-only")
        for key in ("", " a", "ü", "a\nb"):
            with pytest.raises(ValueError, match="printable"):
                market.create_account(api_key=key)

    def test_a_rotated_key_opens_the_same_account(self, market):
        """Orders and unique deposit addresses stay; the old key is refused."""

        def wallets(key):
            return httpx.get(f"{market.base_url}/wallets", headers={"auth": key}).json()

        def deposits(key):
            return wallets(key)["wallets"]

        key = market.create_account({"bitcoin": 1})
        before = deposits(key)
        new = market.rotate_key(key)
        assert deposits(new) == before
        assert wallets(key)["code"] == 3
        addresses = {w["deposit"] for w in before if "deposit" in w}
        others = deposits(market.create_account())
        assert not addresses & {w.get("deposit") for w in others}
        assert market.rotate_key(new, "another-key-of-it") == "another-key-of-it"
        for old, taken, why in (
            (market.api_key, None, "first account"),
            ("another-key-of-it", market.api_key, "another account"),
            ("another-key-of-it", " a", "printable"),
        ):
            with pytest.raises(ValueError, match=why):
                market.rotate_key(old, taken)

    def test_unknown_keys_are_not_shown_in_full(self, market):
        with pytest.raises(KeyError, match="…t-is"):
            market.wallet("who-so-ever-it-is")
        with pytest.raises(ValueError, match="no such coin"):
            market.top_up(None, "dogecoin", 1)


class TestState:
    def test_a_snapshot_can_be_restored(self, slow):
        """Wallets, orders, servers and time are as before; later changes are gone."""
        market, renter = slow
        first, second, *_ = renter.free()
        renter.create(first["id"])
        market.jump(600)
        before = market.snapshot()
        orders, wallet, clock = renter.orders(), market.wallet(), market.clock()
        other = market.create_account()
        renter.create(second["id"])
        market.jump(86_400)
        market.load(before)
        market.freeze()
        assert market.clock().now - clock.now < 1
        assert market.wallet() == wallet
        assert renter.orders() == orders
        with pytest.raises(KeyError):
            market.wallet(other)
        assert {s["id"] for s in renter.free()} >= {second["id"]}
        assert first["id"] not in {s["id"] for s in renter.free()}

    def test_rooms_of_a_snapshot_boot_again(self, own_market, renter_of, shell_of, wait):
        market = own_market()
        renter = renter_of(market)
        order = renter.rent()
        before = market.snapshot()
        renter.cancel(order)
        market.load(before)
        (again,) = renter.orders()
        assert again["id"] == order["id"]
        wait(lambda: shell_of(renter.orders()[0]).run("true").returncode == 0)

    def test_a_snapshot_fits_another_marketplace(self, slow, own_market, renter_of):
        """The first account keeps the key of that marketplace; other accounts bring theirs."""
        market, renter = slow
        renter.create(renter.free()[0]["id"])
        other = market.create_account({"bitcoin": 3})
        market.jump(10)
        target = own_market(provision=False, inventory={"servers": []})
        target.load(market.snapshot())
        assert [o["id"] for o in renter_of(target).orders()] == [o["id"] for o in renter.orders()]
        assert target.wallet(other)["bitcoin"] == 3
        with pytest.raises(KeyError):
            target.wallet(market.api_key)

    def test_an_invalid_snapshot_changes_nothing(self, slow):
        market, renter = slow
        renter.create(renter.free()[0]["id"])
        good = market.snapshot()
        now, wallet = market.clock(), market.wallet()
        accounts = good["tables"]["accounts"]
        orders = good["tables"]["orders"]
        ask = orders["columns"].index("ask")
        broken = [[v if i != ask else "{" for i, v in enumerate(row)] for row in orders["rows"]]
        for bad in (
            {},
            {**good, "format": "other"},
            {**good, "steps": ["trade"]},
            {**good, "tables": {}},
            {**good, "tables": {**good["tables"], "accounts": {"columns": ["id; --"], "rows": []}}},
            {**good, "tables": {**good["tables"], "accounts": {**accounts, "rows": [[1]]}}},
            {**good, "tables": {**good["tables"], "accounts": {**accounts, "rows": [[{}] * 3]}}},
            {
                **good,
                "tables": {
                    **good["tables"],
                    "accounts": {"columns": ["id", "shoe"], "rows": [[1, 2]]},
                },
            },
            {**good, "tables": {**good["tables"], "orders": {**orders, "rows": broken}}},
        ):
            with pytest.raises(ValueError, match="snapshot"):
                market.load(bad)
        assert (market.clock(), market.wallet()) == (now, wallet)
        assert len(renter.free()) > 0

    def test_a_snapshot_has_every_table(self, slow):
        """A new table must not be left out of snapshots."""
        market, _ = slow
        there = market._run.store.call(
            lambda tx: {r[0] for r in tx.all("SELECT name FROM sqlite_master WHERE type = 'table'")}
        )
        assert set(market.snapshot()["tables"]) == there - {"meta", "steps"}

    def test_reset_is_a_fresh_start(self, slow):
        market, renter = slow
        started = market.clock().now
        renter.create(renter.free()[0]["id"])
        market.create_account()
        market.fault("*", "500", times=None)
        market.jump(1e6)
        market.reset()
        clock = market.clock()
        assert (clock.frozen, clock.speed) == (False, 1.0)
        assert abs(clock.now - started) < 60
        assert (len(market.accounts()), market.faults(), market.journal()) == (1, [], [])
        assert renter.orders(return_completed="true") == []

    def test_repeated_resets_bill_once(self, slow):
        """One timetable entry bills, however often the state was replaced."""
        market, _ = slow
        for _ in range(5):
            market.reset()
        bills = [e for e in market._run.market.timetable._heap if e.in_a_jump == "pass_over"]
        assert len(bills) == 1


class TestFaults:
    def test_faults_can_be_listed_and_cleared(self, market):
        market.clear_faults()
        number = market.fault("wallets", "500", times=3, key="k" * 20)
        (fault,) = market.faults()
        assert (fault.id, fault.times, fault.happened) == (number, 3, 0)
        assert "k" * 20 not in str(fault.to_json())
        market.remove_fault(number)
        assert market.faults() == []
        with pytest.raises(KeyError, match="pending"):
            market.remove_fault(number)

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            ({"endpoint": "walets"}, "no such endpoint"),
            ({"times": 0}, "times"),
            ({"probability": 0}, "probability"),
            ({"probability": 1.5}, "probability"),
            ({"delay_s": -1}, "delay_s"),
            ({"fields": ["id"]}, "fields go with"),
            ({"kind": "odd_fields", "fields": "id"}, "list"),
        ],
    )
    def test_nonsensical_faults_are_refused(self, market, arguments, why):
        with pytest.raises(ValueError, match=why):
            market.fault(**{"endpoint": "wallets", "kind": "500", **arguments})

    def test_missing_and_odd_fields(self, market, renter):
        market.fault("wallets", "missing_fields", fields=["balance"])
        assert all("balance" not in w for w in renter.http.get("/wallets").json()["wallets"])
        market.fault("wallets", "odd_fields", fields=["name"])
        odd = renter.http.get("/wallets").json()
        assert odd["code"] == 0
        assert all(w["name"] not in ("bitcoin", "USD-Blockchain") for w in odd["wallets"])

    def test_a_marketplace_of_odd_values_is_still_json(self, market, renter):
        market.fault("marketplace", "odd_fields", times=2)
        answers = [renter.http.get("/marketplace") for _ in range(3)]
        first, second, plain = (a.json()["servers"] for a in answers)
        assert [s["id"] for s in first] == [s["id"] for s in plain]
        assert first != plain
        assert first != second

    def test_truncated_json_is_cut_as_text(self, market, renter):
        """The JSON is cut, not the compressed stream: with gzip a client sees the same."""
        market.fault("marketplace", "truncated_json")
        answer = renter.http.get("/marketplace", headers={"accept-encoding": "gzip"})
        assert answer.text.startswith('{"servers":[{')
        assert len(answer.text) > 10_000

    def test_a_burst_of_code_5(self, market, renter):
        market.fault("*", "rate_limited", times=4)
        codes = [renter.http.get("/wallets").json()["code"] for _ in range(5)]
        assert codes == [5, 5, 5, 5, 0]


def test_the_journal_has_the_responses(market, renter):
    number = market.journal()[-1].number if market.journal() else 0
    renter.http.get("/wallets")
    market.fault("wallets", "cdn_403")
    renter.http.get("/wallets")
    market.fault("wallets", "cut_before")
    with pytest.raises(Exception, match=r"disconnected|reset"):
        renter.http.get("/wallets")
    good, refused, cut = market.journal("wallets", after=number)
    assert good.answer["wallets"][0]["name"] == "bitcoin"
    assert (refused.answer, refused.status, refused.acted) == ("error code: 1010", 403, False)
    assert (cut.answer, cut.status) == (None, None)
