"""Expired orders are found by the service's clock and bill; leases change within their bounds."""

from __future__ import annotations

from typing import Any

import pytest
from by_hand import WALL, Hand, ok, row
from hypothesis import given
from hypothesis import strategies as st

from clore_ai.exceptions import BudgetError, InvalidInputError, NotFoundError, OrderEnded
from clore_ai.models.price import Rates
from clore_ai.models.records import Budget, Intent
from clore_ai.rental.limits import expiry, extend
from clore_ai.rental.session import Session
from clore_ai.rental.spend import warnings

USD = "USD-Blockchain"
H = 3600.0


def intent(order_id: int = 7, **fields: Any) -> Intent:
    known = {"state": "created", "started_at": WALL, "seen_at": WALL, "price": 24.0}
    known |= {"order_id": order_id, "creation_fee": 0.0, "spend": 0.0}
    return Intent(5, "on-demand", USD, "i", **{**known, **fields})


@pytest.mark.parametrize(("age_s", "once"), [(599, 0), (600, 0.1)])
def test_the_creation_fee_counts_once_it_is_due(age_s, once):
    """Ten minutes after the order was made."""
    seen = intent(creation_fee=0.1, spend=1.0, seen_at=WALL + age_s)
    assert expiry.cost_usd(seen, Rates()) == pytest.approx(1.05 + once)
    seen.currency = "bitcoin"
    assert expiry.cost_usd(seen, Rates()) is None
    assert expiry.cost_usd(seen, Rates({"bitcoin": 2.0})) == pytest.approx(2 * (1.05 + once))


def session(*intents: Intent) -> Session:
    made = Session()
    for each in intents:
        made.ledger.open(each)
    return made


def listed(*rows: dict) -> Hand:
    return Hand(lambda _call, _now: ok(orders=list(rows)))


def usd(order_id: int = 7, **fields: Any) -> dict:
    return row(order_id, **{"currency": USD, "price": 24.0, "spend": 0.0, **fields})


@pytest.mark.parametrize(
    ("fields", "spend", "reason"),
    [
        ({"ends_at": WALL + 1}, 0.0, None),
        ({"ends_at": WALL}, 0.0, "lease"),
        ({"ends_at": None}, 99.0, None),
        ({"max_cost_usd": 2.1}, 1.99, None),
        ({"max_cost_usd": 2.1}, 2.0, "max_cost"),  # 2.10 with the renter's fee
        ({"max_cost_usd": 2.1, "ends_at": WALL + 1}, 2.0, "max_cost"),
    ],
)
def test_expired_orders(fields, spend, reason):
    """An order expires with its lease, or when the service's `spend` with fees is at its limit."""
    found = listed(usd(spend=spend)).play(expiry.due(session(intent(usd_per_coin=1.0, **fields))))
    assert [o.reason for o in found] == ([reason] if reason else [])


def test_other_orders_and_ended_ones_never_expire():
    """Only orders that are in the ledger and that the service lists as running can expire."""
    kept = session(intent(7, ends_at=WALL - 1), intent(8, ends_at=WALL - 1))
    rows = [usd(7, expired=True, order_end=WALL - 9), usd(9)]
    assert listed(*rows).play(expiry.due(kept)) == []
    assert [i.order_id for i in kept.ledger.running()] == [8]  # unlisted, but listed a moment ago


@pytest.mark.parametrize(
    ("fields", "lease_s", "more", "ends_in_h"),
    [
        ({"ends_at": WALL + H}, 6 * H, True, 7),
        ({"ends_at": WALL - 5 * H}, 6 * H, True, 6),  # past its lease: from now on
        ({"ends_at": WALL + H}, 6 * H, False, 6),
        ({}, 6 * H, False, 6),
        ({"ends_at": WALL + H}, None, False, None),
        ({"ends_at": WALL + H, "mrl_s": 4 * H}, 6 * H, True, 4),
        ({"mrl_s": 4 * H}, 6 * H, False, 4),
    ],
)
def test_a_lease_is_extended(fields, lease_s, more, ends_in_h):
    """It grows from its end or from now, but not beyond the longest rental of the service."""
    kept = session(intent(**fields))
    listed(usd()).play(extend.change(kept, 7, lease_s, more=more))
    (changed,) = kept.ledger.intents()
    assert changed.ends_at == (None if ends_in_h is None else WALL + ends_in_h * H)
    listed(usd()).play(expiry.due(kept))  # reading the orders does not change it
    assert kept.ledger.intents()[0].ends_at == changed.ends_at


def test_an_order_rented_elsewhere_gets_a_lease():
    """The order is added to the ledger with that lease."""
    kept = session()
    listed(usd()).play(extend.change(kept, 7, 6 * H, more=False))
    (adopted,) = kept.ledger.running()
    assert (adopted.order_id, adopted.ends_at) == (7, WALL + 6 * H)


def test_a_lease_that_cannot_change():
    """The error is one sentence; nothing changes."""
    kept = session(intent())
    with pytest.raises(InvalidInputError, match="clore lease set 7 6h"):
        listed(usd()).play(extend.change(kept, 7, H, more=True))
    with pytest.raises(NotFoundError, match="active: 7"):
        listed(usd()).play(extend.change(kept, 8, H, more=True))
    with pytest.raises(OrderEnded):
        listed(usd(expired=True)).play(extend.change(kept, 7, H, more=True))


def test_an_extension_is_checked_against_the_budget():
    """Only the added cost counts, and a shorter lease always passes."""
    kept = session(intent(ends_at=WALL + 2 * H))
    kept.ledger.set_budget(Budget("USD", "month", 5.0))
    with pytest.raises(BudgetError, match=r"2.10 committed \+ 6.30 for the longer lease"):
        listed(usd()).play(extend.change(kept, 7, 6 * H, more=True))
    listed(usd()).play(extend.change(kept, 7, 2 * H, more=True))
    kept.ledger.set_budget(Budget("USD", "month", 0.0))
    listed(usd()).play(extend.change(kept, 7, H, more=False))
    assert kept.ledger.intents()[0].ends_at == WALL + H


# -- warnings ----------------------------------------------------------------------------------


def test_leases_in_one_line():
    """One line names all leases that ended or end soon; without any there is no line."""
    assert warnings.of_leases([intent(lease_s=24 * H, ends_at=WALL + 3 * H)], WALL) is None
    many = [intent(n, ends_at=WALL - n) for n in range(1, 9)] + [intent(20, ends_at=WALL + 700)]
    line = warnings.of_leases(many, WALL)
    assert line == (
        "Past the lease, and billed: order 8, 7, 6, 5, 4 and 3 more (end it: clore reap). "
        "The lease ends soon: order 20 in 11m (keep it: clore lease extend ID 6h)."
    )


@pytest.mark.parametrize(
    ("balance", "ends_h", "dry_h"),
    [
        (10.5, [20], 10),
        (10.5, [9], None),
        (10.5, [20, 2], 8),  # two for two hours, then one
        (10.5, [20, None], 5),  # an order without an end costs money all the time
        (10.5, [None], None),  # no lease ends, so nothing is to be paid until then
        (10.5, [], None),
    ],
)
def test_a_wallet_runs_dry(balance, ends_h, dry_h):
    """Each order costs $1.05 an hour until its lease ends."""
    running = [intent(n, ends_at=None if h is None else WALL + h * H) for n, h in enumerate(ends_h)]
    dry_at = warnings.runs_dry(running, WALL, balance)
    assert dry_at == (None if dry_h is None else pytest.approx(WALL + dry_h * H))
    line = warnings.of_wallets(running, {USD: (WALL, balance), "bitcoin": (WALL, 0.0)}, WALL)
    assert (line is None) == (dry_h is None)
    if line:
        assert f"{USD} in about {dry_h}h" in line


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), max_size=5), st.floats(0, 1e3))
def test_a_wallet_runs_dry_only_if_the_leases_cost_more(orders, balance):
    """Exactly if the leases cost more until they end than the wallet holds."""
    running = [intent(n, price=p, ends_at=WALL + h * H) for n, (p, h) in enumerate(orders)]
    owed = sum(p * 1.05 * h / 24 for p, h in orders)
    if abs(owed - balance) > 1e-6:
        assert (warnings.runs_dry(running, WALL, balance) is not None) == (owed > balance)
