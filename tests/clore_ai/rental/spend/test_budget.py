"""A budget is never exceeded, passes nothing that it cannot check, and shows the sum."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from by_hand import WALL, Hand, ok, reply, row
from hypothesis import given
from hypothesis import strategies as st

from clore_ai._api.order_request import OrderRequest
from clore_ai._api.steps import Send
from clore_ai._state.ledger import Ledger
from clore_ai._state.store import Store
from clore_ai.exceptions import BudgetError, InvalidInputError
from clore_ai.models.price import Rates
from clore_ai.models.records import Budget, Intent
from clore_ai.rental.orders.create import RentalTerms, create
from clore_ai.rental.session import Session
from clore_ai.rental.spend import afford, budget, lease

USD = "USD-Blockchain"
DAY = Budget("USD", "day", 20.0)
START, END = budget.period("day", WALL)
NOON = START + 43_200


def running(price: float = 24.0, *, since: float = NOON, **fields: Any) -> Intent:
    """An order in USD without a creation fee, last seen at its start."""
    known = {"creation_fee": 0.0, "started_at": since, "seen_at": since, "spend": 0.0}
    return Intent(5, "on-demand", USD, "i", price=price, state="created", **{**known, **fields})


def wish(price: float = 24.0, **fields: Any) -> Intent:
    return Intent(6, "on-demand", USD, "i", price=price, creation_fee=0.0, **fields)


def test_periods_are_days_and_months_of_utc():
    """They are right at the end of a year and in February of a leap year."""
    utc = lambda *ymd: datetime(*ymd, tzinfo=timezone.utc).timestamp()  # noqa: E731
    assert budget.period("day", utc(2023, 12, 31, 23, 59)) == (utc(2023, 12, 31), utc(2024, 1, 1))
    assert budget.period("month", utc(2023, 12, 31, 23)) == (utc(2023, 12, 1), utc(2024, 1, 1))
    assert budget.period("month", utc(2024, 2, 1)) == (utc(2024, 2, 1), utc(2024, 3, 1))


def test_spent_is_spread_over_the_time_of_the_order():
    """Two hours before midnight and one after: a third is today's, and the fees are yesterday's.

    The amount is the service's `spend` with the renter's fee, not rate times time.
    """
    ended = running(since=START - 7200, ended_at=START + 3600, spend=9.0, creation_fee=0.1)
    spent, committed = budget.cost_within(ended, NOON, START, END)
    assert spent == pytest.approx(9.0 * 1.05 / 3)
    assert committed == 0
    before, _ = budget.cost_within(ended, NOON, START - 86_400, START)
    assert before == pytest.approx(9.0 * 1.05 * 2 / 3 + 0.1)


@pytest.mark.parametrize(
    ("fields", "hours"),
    [
        ({}, 12),  # until midnight
        ({"ends_at": NOON + 3 * 3600}, 3),
        ({"mrl_s": 2 * 3600}, 2),
        ({"ends_at": NOON + 90 * 3600}, 12),
        ({"ends_at": NOON + 5 * 3600, "mrl_s": 4 * 3600}, 4),
        ({"seen_at": NOON + 3600, "ends_at": NOON + 3 * 3600}, 2),  # the first hour is spent
        (
            {"ends_at": NOON - 3600, "started_at": NOON - 7200},
            1 / 2,
        ),  # past its end, and still running
    ],
)
def test_committed_costs_run_until_the_earliest_end(fields, hours):
    """Lease, longest rental or midnight; an order past its lease counts as long as it runs."""
    _, committed = budget.cost_within(running(**fields), NOON + 1800, START, END)
    assert committed == pytest.approx(1.05 * hours)


@pytest.mark.parametrize(
    ("fields", "spent", "committed"),
    [
        ({"ended_at": NOON + 599}, 0, 0),
        ({"ended_at": NOON + 600}, 0.1, 0),
        ({"ends_at": NOON + 540}, 0, 0),
        ({"ends_at": NOON + 7200}, 0, 0.1),
        ({"ends_at": NOON + 7200, "now": NOON + 600}, 0.1, 0),
        ({"since": START - 300, "ends_at": NOON + 7200}, 0.1, 0),
        ({"since": START - 700, "ends_at": NOON + 7200}, 0, 0),
        ({"since": END - 300, "ends_at": END + 7200, "now": END - 200}, 0, 0),
    ],
)
def test_the_creation_fee_counts_when_it_falls_due(fields, spent, committed):
    """Ten minutes after the order was made, in the period of that moment; not before."""
    now = fields.pop("now", NOON + 300)
    with_fee = running(0.0, creation_fee=0.1, **fields)
    assert budget.cost_within(with_fee, now, START, END) == pytest.approx((spent, committed))


def test_a_budget_too_small_for_the_creation_fee_pays_for_nine_minutes():
    """A refusal says so, and the lease that it names passes."""
    new = wish(24.0, lease_s=7200.0)
    new.creation_fee = 0.1
    kept = Budget("USD", "day", 0.25)
    with pytest.raises(BudgetError, match="It fits with --lease 599s"):
        budget.check([kept], [], new, NOON, Rates())
    budget.check([kept], [], replace(new, lease_s=599.0), NOON, Rates())


@pytest.mark.parametrize("state", ["open", "uncertain"])
def test_uncertain_orders_are_committed(state):
    """An order that may exist unseen counts with its full cost and the creation fee."""
    sent = wish(state=state, posted_at=NOON, lease_s=3600.0)
    sent.creation_fee = None
    assert budget.cost_within(sent, NOON + 60, START, END) == (0.0, pytest.approx(1.05 + 0.1))
    sent.state = "refused"
    assert budget.cost_within(sent, NOON + 60, START, END) == (0.0, 0.0)


@given(
    st.lists(
        st.tuples(st.floats(0.1, 500), st.floats(-40, 0), st.floats(0.1, 30), st.booleans()),
        max_size=5,
    ),
    st.floats(0, 100),
    st.floats(0.1, 500),
    st.one_of(st.none(), st.floats(0.1, 50)),
)
def test_an_order_within_the_budget_passes_and_a_refusal_says_what_would(
    orders, limit, price, lease_h
):
    """If refused, the lease and the budget that the error names would pass."""
    others = []
    for rate, began_h, hours, over in orders:
        began = NOON + began_h * 3600
        ends = {"ends_at": began + hours * 3600} if over else {}
        others.append(running(rate, since=began, seen_at=NOON, spend=rate * -began_h / 24, **ends))
    new = wish(price, lease_s=None if lease_h is None else lease_h * 3600)
    kept = Budget("USD", "day", limit)
    total = sum(sum(budget.cost_within(i, NOON, START, END)) for i in [*others, new])
    if total <= limit:
        budget.check([kept], others, new, NOON, Rates())
        return
    with pytest.raises(BudgetError) as refused:
        budget.check([kept], others, new, NOON, Rates())
    standing = refused.value.standing
    assert standing.spent + standing.committed + refused.value.wanted == pytest.approx(total)
    raised = re.search(r"budget set ([\d.]+)/day", str(refused.value))
    budget.check([replace(kept, amount=float(raised[1]) + 1e-6)], others, new, NOON, Rates())
    fits = re.search(r"--lease (\w+);", str(refused.value))
    if fits:
        new.lease_s = lease.read(fits[1])
        budget.check([kept], others, new, NOON, Rates())


def test_the_sum_is_shown():
    """The error shows the amounts spent, committed and requested, and the next step."""
    others = [running(ended_at=NOON, since=NOON - 3600, spend=2.0), running(ends_at=NOON + 3600)]
    with pytest.raises(BudgetError) as refused:
        budget.check([Budget("USD", "day", 5)], others, wish(lease_s=6 * 3600.0), NOON, Rates())
    assert str(refused.value) == (
        "Over your budget of 5 USD a day: 2.10 spent + 1.05 committed + 6.30 for this order = "
        "9.45 USD until 2023-11-15 00:00 UTC. It fits with --lease 105m; or raise it with: "
        "clore budget set 9.45/day"
    )


@pytest.mark.parametrize(
    ("kept", "other", "new", "says"),
    [
        (DAY, None, {"currency": "bitcoin"}, "what server 6 costs in USD is not known"),
        (Budget("bitcoin", "day", 1), None, {}, "in bitcoin alone, so nothing can be paid in USD"),
        (DAY, {"currency": "bitcoin", "order_id": 9}, {}, "what order 9 costs in USD is not"),
        (DAY, None, {"price": None}, "what server 6 costs in USD is not known"),
    ],
)
def test_an_order_that_cannot_be_checked_is_refused(kept, other, new, says):
    """The error names the reason."""
    others = [replace(running(), **other)] if other else []
    with pytest.raises(BudgetError, match=says):
        budget.check([kept], others, replace(wish(), **new), NOON, Rates())


def test_a_coin_in_a_suggested_command_is_quoted():
    """The name is the service's, and users paste the line into a shell."""
    paid = replace(wish(), currency="x; rm -rf ~")
    with pytest.raises(BudgetError, match="--currency 'x; rm -rf ~'"):
        budget.check([Budget("bitcoin", "day", 1)], [], paid, NOON, Rates())


def test_known_rates_and_other_coins():
    """A coin's value is that of the intent, else today's; a coin's budget covers that coin only."""
    bitcoin = {"currency": "bitcoin", "price": 1e-4, "lease_s": 86_400.0}
    others = [replace(running(), currency="bitcoin", usd_per_coin=0.1)]
    budget.check([DAY], others, replace(wish(), **bitcoin), NOON, Rates({"bitcoin": 60_000.0}))
    with pytest.raises(BudgetError):
        budget.check([DAY], [], replace(wish(), **bitcoin), NOON, Rates({"bitcoin": 600_000.0}))
    budget.check([Budget(USD, "day", 13)], others, wish(), NOON, Rates())


# -- renting -----------------------------------------------------------------------------------


WANTED = OrderRequest(server_id=5, image="i", type="on-demand", currency=USD)


def rent(session: Session, hand: Hand, price: float | None = 24.0, server: int = 5) -> Any:
    wanted = OrderRequest(
        server_id=server, image="i", type="on-demand", currency=USD, required_price=price
    )
    return hand.play(create(session, wanted, RentalTerms(lease_s=6 * 3600.0)))


def service(*rows: dict, listed: float = 24.0):
    """Lists `rows`, and after a create_order an order on server 5, too."""
    made: list[dict] = []

    def answer(call, now):
        if call.path == "create_order":
            made.append(row(99, ct=WALL + now, currency=USD, price=listed))
            return ok()
        if call.path == "marketplace":
            return ok(servers=[{"id": 5, "price": {"on_demand": {USD: listed}}}])
        return ok(orders=[*rows, *made])

    return answer


def test_over_the_budget_nothing_is_sent():
    """The orders are read, then the order is refused; no intent is left behind."""
    session = Session()
    session.ledger.set_budget(Budget("USD", "month", 1.0))
    hand = Hand(service())
    with pytest.raises(BudgetError):
        rent(session, hand)
    assert "create_order" not in hand.paths
    (intent,) = session.ledger.intents()
    assert intent.state == "refused"
    session.ledger.set_budget(Budget("USD", "month", 7.0))
    assert rent(session, hand).id == 99
    with pytest.raises(BudgetError, match=r"committed \+ 6.4"):
        rent(session, Hand(service(row(99, currency=USD, price=24.0)), now=60.0))


@pytest.mark.parametrize("kept", [True, False])
def test_the_price_is_read_only_if_a_budget_needs_it(kept):
    """That is one more request; the order is checked with that price."""
    session = Session()
    if kept:
        session.ledger.set_budget(Budget("USD", "month", 7.0))
    hand = Hand(service())
    rent(session, hand, price=None)
    assert ("marketplace" in hand.paths) == kept
    session.ledger.set_budget(Budget("USD", "month", 7.0))
    with pytest.raises(BudgetError):
        rent(Session(ledger=session.ledger), Hand(service(listed=100.0)), price=None)


def test_a_limit_in_usd_needs_a_rate():
    """The rate is read; if it stays unknown, the order is refused."""
    session, hand = Session(), Hand(service())
    wanted = replace(WANTED, currency="bitcoin")
    with pytest.raises(BudgetError, match="The USD price of bitcoin is not known"):
        hand.play(create(session, wanted, RentalTerms(max_cost_usd=2.0)))
    assert "create_order" not in hand.paths
    session.rates.note({"bitcoin": 60_000.0})
    flow = create(session, wanted, RentalTerms(max_cost_usd=2.0))
    with pytest.raises(InvalidInputError):
        Hand([ok(orders=[]), reply({"code": 2}, 400)]).play(flow)
    assert session.ledger.intents()[-1].usd_per_coin == 60_000.0


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_limits_are_numbers_above_0(value):
    """For any other value nothing is sent."""
    for limits in ((value, None), (None, value)):
        with pytest.raises(InvalidInputError, match="must be a number above 0"):
            lease.above_0(lease_h=limits[0], max_cost_usd=limits[1])
    lease.above_0(lease_h=None, max_cost_usd=None)


@pytest.mark.parametrize("earlier", [True, False])
def test_of_two_concurrent_orders_the_later_counts_the_earlier(earlier):
    """If the earlier also counted the later, neither would be made."""
    session = Session()
    session.ledger.set_budget(Budget("USD", "month", 7.0))
    known = {"creation_fee": 0.0, "lease_s": 6 * 3600.0, "posted_at": WALL}
    other = Intent(6, "on-demand", USD, "i", price=24.0, **known)
    mine = replace(other, server_id=5)
    for intent in (other, mine) if earlier else (mine, other):
        session.ledger.open(intent)
    if earlier:
        with pytest.raises(BudgetError):
            afford.check(session, mine, WALL)
    else:
        afford.check(session, mine, WALL)
        session.ledger.update(other, state="uncertain")
        with pytest.raises(BudgetError):
            afford.check(session, mine, WALL)


def test_two_concurrent_orders_never_exceed_the_budget(tmp_path):
    """Two processes have both seen that no order runs.

    If the budget covers one order, exactly one of them rents.
    """
    ledgers = [Ledger(Store(tmp_path), "me") for _ in range(2)]
    ledgers[0].set_budget(Budget("USD", "month", 7.0))
    ready, sent, refused = threading.Barrier(2), [], []

    def one(number: int) -> None:
        flow = create(
            Session(ledger=ledgers[number]),
            OrderRequest(
                server_id=5 + number, image="i", type="on-demand", currency=USD, required_price=24.0
            ),
            RentalTerms(lease_s=6 * 3600.0),
        )
        hand = Hand([])
        step = hand.until(flow, Send)  # it reads the orders, then the intent is written
        assert step.call.path == "my_orders"
        ready.wait()
        try:
            while not isinstance(step, Send) or step.call.path != "create_order":
                answer = ok(orders=[]) if isinstance(step, Send) else hand._perform(step)
                step = flow.send(answer)
            sent.append(number)
        except BudgetError:
            refused.append(number)
        ready.wait()
        flow.close()

    threads = [threading.Thread(target=one, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(sent), len(refused)) == (1, 1)
