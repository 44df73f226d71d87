"""Events of orders are reported once; only what GPUs report counts as idle time."""

from __future__ import annotations

from typing import Any

import pytest
from by_hand import WALL, Hand, cut, ok, row
from hypothesis import given
from hypothesis import strategies as st

from clore_ai._api.steps import Instant
from clore_ai.exceptions import TransportError
from clore_ai.models import Order
from clore_ai.models.records import Gpu, Intent
from clore_ai.rental.session import Session
from clore_ai.rental.watch import orders as monitor
from clore_ai.rental.watch.orders import GAP_S, Monitor, reading

USD = "USD-Blockchain"
H = 3600.0


def order(order_id: int = 7, **fields: Any) -> Order:
    known = {"online": True, "mon_container": 2, "pub_cluster": ["h"], "tcp_ports": ["22:9"]}
    return Order.model_validate(row(order_id, **{**known, "currency": USD, **fields}))


def intent(order_id: int = 7, **fields: Any) -> Intent:
    return Intent(5, "on-demand", USD, "i", state="created", order_id=order_id, **fields)


def watching(limit: float | None = None, *orders: Order) -> Monitor:
    made = Monitor(idle_limit_s=limit)
    made.feed_orders(orders or [order()], {}, Instant(WALL, 0.0))
    return made


def look(state: Monitor, *orders: Order, at: float = 0.0, **intents: Intent) -> list[str]:
    kept = {each.order_id or 0: each for each in intents.values()}
    return [e.what for e in state.feed_orders(orders, kept, Instant(WALL + at, at))]


@pytest.mark.parametrize(
    ("line", "gpu"),
    [
        ("0, 57, 63, 1024, 24576", Gpu(0, 57, 63, 1024, 24576)),
        ("11, [N/A], 63, 1, [Not Supported]", Gpu(11, None, 63, 1, None)),
        ("0, 57 %, 63, 1, 2", Gpu(0, None, 63, 1, 2)),
        ("", None),
        ("Unable to determine the device handle", None),
        ("No devices, were, found, at, all", None),
        ("0, 1, 2", None),
        (f"{'9' * 5_000}, 1, 2, 3, 4", None),
        (f"0, {'9' * 5_000}, 1e9, nan, inf", Gpu(0, None, None, None, None)),
    ],
)
def test_a_line_of_nvidia_smi(line, gpu):
    """A field that is not a number is unknown; a line without readings is ignored."""
    assert reading(line) == gpu


def test_orders_from_their_start_to_their_end():
    """Start, state, lost and returned host, end and cost are each reported once."""
    state = Monitor()
    booting = order(mon_container=1)
    assert look(state, booting) == ["order"]
    assert look(state, order()) == ["state"]
    assert look(state, order()) == []
    assert look(state, order(online=False)) == ["host_lost"]
    assert look(state, order(online=False)) == []
    assert look(state, order(), order(8)) == ["host_back", "order"]
    ended = order(expired=True, spend=2.0, creation_fee=0.1)
    (event,) = state.feed_orders([ended, order(8)], {}, Instant(WALL, 0))
    assert (event.what, event.message) == (
        "ended",
        f"Order 7 has ended. It cost 2.2 {USD}, fees included.",
    )
    assert look(state, ended, at=10) == []  # missing from one list: not yet its end
    assert look(state, ended, at=20) == []
    assert look(state, ended, at=31) == ["ended"]
    assert look(state, ended) == []


def test_only_the_named_orders_are_watched():
    state = Monitor(frozenset({7}))
    assert look(state, order(7), order(8)) == ["order"]
    assert list(state.seen) == [7]


def test_a_lease_near_its_end_is_reported_once_per_extension():
    state = watching()
    near = intent(ends_at=WALL + 600, lease_s=2 * H)
    assert look(state, order(), i=near) == ["lease_near"]
    assert look(state, order(), i=near) == []
    assert look(state, order(), i=intent(ends_at=WALL + 6 * H, lease_s=6 * H)) == []
    assert look(state, order(), i=near, at=700) == ["lease_near"]


@pytest.mark.parametrize(
    ("balance", "what"), [(1.04, ["wallet_dry"]), (1.06, []), (0.0, ["wallet_dry"])]
)
def test_a_wallet_that_is_empty_within_the_hour(balance, what):
    """$24 a day is $1.05 an hour with fees; reported once, and once more when it suffices."""
    state, orders, now = Monitor(), [order(price=24.0)], Instant(WALL, 0)

    def feed(amount):
        found = state.feed_wallets({USD: amount, "bitcoin": 0.0}, orders, [], now)
        return [e.what for e in found]

    assert feed(balance) == what
    assert feed(balance) == []
    assert feed(50) == (["wallet_ok"] if what else [])


def test_a_wallet_that_does_not_last_until_the_leases_end():
    state, paid = Monitor(), intent(price=24.0, ends_at=WALL + 20 * H)
    found = state.feed_wallets({USD: 10.5}, [order(price=24.0)], [paid], Instant(WALL, 0))
    assert [e.message for e in found] == [
        f"The {USD} wallet is empty in about 10h. Top up, or cancel in time."
    ]


# -- connections and GPUs ----------------------------------------------------------------------


def gpus(*use: float | None) -> tuple[Gpu, ...]:
    return tuple(Gpu(n, u, 40.0) for n, u in enumerate(use))


def test_only_a_long_break_is_a_lost_connection():
    """A short break is not reported; a long one is, and so is its end."""
    state = watching()

    def feed(at, up):
        if up:
            return [e.what for e in state.feed_gpus(7, gpus(50), at)]
        return [e.what for e in state.feed_ssh(7, at, up=False, why="refused")]

    assert feed(0, up=False) == []  # it was never up
    assert feed(1, up=True) == ["ssh_up"]
    assert feed(2, up=False) + feed(10, up=False) + feed(12, up=True) == []
    assert feed(20, up=False) + feed(30, up=False) == []
    assert state.seen[7].gpus == ()
    assert feed(36, up=False) == ["ssh_lost"]
    assert feed(60, up=False) == []
    assert feed(70, up=True) == ["ssh_up"]


def test_an_idle_order_is_warned_of_before_it_is_over():
    """The warning comes at 80 % of the limit; work resets it, and one busy GPU is enough."""
    state = watching(100.0)

    def run(start, *readings):
        found = []
        for number, use in enumerate(readings):
            found += [e.what for e in state.feed_gpus(7, gpus(*use), start + 10.0 * number)]
        return found

    assert run(0, *[(0, 3)] * 9) == ["ssh_up", "idle"]
    assert run(90, (0, 60)) == ["busy"]
    assert run(100, *[(0, 0)] * 8, (0, 60), *[(0, None)] * 40) == []
    assert run(700, *[(1, 1)] * 11) == ["idle", "idle_over"]
    assert state.over == [7]
    assert run(900, (0, 0)) == []


def test_without_a_limit_idling_is_only_reported():
    state = watching(None)
    found = [e for n in range(200) for e in state.feed_gpus(7, gpus(0), n * 10.0)]
    assert [e.what for e in found] == ["ssh_up", "idle"]
    assert "30m and is billed. Stop paying: clore cancel 7" in found[1].message
    assert state.over == []


reports = st.lists(
    st.tuples(
        st.floats(0.1, 2 * GAP_S),
        st.one_of(st.none(), st.lists(st.sampled_from([None, 0.0, 5.0, 6.0, 100.0]), max_size=3)),
    ),
    max_size=60,
)


@given(reports, st.floats(10, 200))
def test_only_a_proven_idle_time_ends_an_order(reports, limit):
    """A warning comes first, and no reading within the limit is busy or missing."""
    state, now, idled, last = watching(limit), 0.0, 0.0, None
    warned = False
    for step, use in reports:
        now += step
        if use is None:
            events = state.feed_ssh(7, now, up=False)
            last = None
        else:
            events = state.feed_gpus(7, gpus(*use), now)
            if use:
                idle = all(u is not None and u <= 5 for u in use)
                idled = idled + step_of(last, now) if idle and last is not None else idled * idle
                last = now if idle else None
        for event in events:
            if event.what == "idle":
                warned = True
            elif event.what == "busy":
                warned = False
            elif event.what == "idle_over":
                assert warned
                assert idled >= limit - 1e-6
    assert len(state.over) <= 1


def step_of(last: float, now: float) -> float:
    return now - last if now - last <= GAP_S else 0.0


# -- the look ----------------------------------------------------------------------------------


def test_a_look_reads_the_orders_and_at_intervals_the_wallets():
    """An error of the wallets hides no event; an error of the orders is raised."""
    raw = row(7, currency=USD, price=24.0, online=True)
    wallet = {"name": USD, "balance": 0.5}
    answers = [ok(orders=[raw]), ok(orders=[raw]), ok(wallets=[wallet])]
    hand, session, state = Hand(answers), Session(), Monitor()

    def poll(wallets):
        return [e.what for e in hand.play(monitor.poll(session, state, wallets=wallets))]

    assert poll(wallets=False) == ["order"]
    assert poll(wallets=True) == ["wallet_dry"]
    assert hand.paths == ["my_orders", "my_orders", "wallets"]
    lost = Hand(lambda call, _now: ok(orders=[]) if call.path == "my_orders" else cut())
    assert [e.what for e in lost.play(monitor.poll(session, state, wallets=True))] == []
    lost.now = 21.0  # missing once is not its end
    assert [e.what for e in lost.play(monitor.poll(session, state, wallets=True))] == ["ended"]
    with pytest.raises(TransportError):
        Hand(lambda _call, _now: cut()).play(monitor.poll(session, state, wallets=True))
