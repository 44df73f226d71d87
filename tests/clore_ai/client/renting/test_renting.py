"""`client.rent` against a real marketplace with faults, with one body for both clients."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from clients import Api
from waiting import patience

from clore_ai.exceptions import (
    BudgetError,
    InvalidInputError,
    NoOffer,
    OrderUncertain,
    RentFailed,
    WaitTimeout,
)
from clore_ai.models.records import Budget

USD = "USD-Blockchain"


def soon() -> dict[str, Any]:
    """A boot deadline for machines that never work; long enough for those that do."""
    return {"boot_deadline": patience(2.0)}


def kinds(rental: Any) -> list[str]:
    return [event.what for event in rental.events]


def running(api: Api) -> list[int]:
    return [order.id for order in api.my_orders() if order.active]


def test_a_machine_is_rented_verified_used_and_cancelled(api):
    """The whole life of a rental; leaving the block cancels the order."""
    with api.renting("RTX 4090", purpose="test") as rental:
        assert kinds(rental) == ["trying", "created", "up", "rented"]
        first, order, up, last = [event.message for event in rental.events]
        assert re.fullmatch(r"Renting server \d+ \(\$\d+\.\d{4}/h\)…", first)
        assert order.startswith(f"Created order {rental.order.id} on server")
        assert re.match(r"SSH logs in after \d+s: .*RTX 4090, driver ", up)
        assert last == f"Rented: order {rental.order.id} on server {rental.order.server_id}."
        assert running(api) == [rental.order.id]
        assert rental.exec("nvidia-smi -L").stdout.count("RTX 4090") == rental.order.gpu_count
        intent = api.ledger.by_order(rental.order.id)
        assert (intent.purpose, intent.unacknowledged, intent.lease_s) == ("test", False, 86_400)
        required = api.entries("create_order")[-1].body["required_price"]
        assert required == rental.order.price
    assert running(api) == []
    (sight,) = api.session.hosts.sights()
    assert (sight.good, sight.server_id) == (True, rental.order.server_id)
    assert sight.boot_s > 0
    assert sight.mbit_s > 0
    rental.cancel()  # a second cancel does nothing


def test_an_error_in_the_block_cancels_the_order(api):
    with pytest.raises(ZeroDivisionError), api.renting("RTX 4090", verify="none"):
        raise ZeroDivisionError
    assert running(api) == []


def test_an_order_that_has_already_ended_is_not_cancelled(api):
    with api.renting("RTX 4090", verify="none") as rental:
        api.cancel_order(rental.order.id)
    assert running(api) == []


def test_nothing_is_sent_before_the_block(api):
    rental = api.renting("RTX 4090")
    assert api.entries() == []
    assert rental.order_id is None
    with pytest.raises(InvalidInputError, match="Nothing is rented"):
        _ = rental.order
    rental.cancel()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param("never_boots", "no SSH in ", marks=pytest.mark.exhaustive),
        ("no_ssh", "no SSH in "),
        ("refuses_key", "SSH refuses the key"),
        ("fewer_gpus", "nvidia-smi shows"),
    ],
)
def test_a_broken_machine_is_cancelled_and_the_next_offer_is_rented(api, fault, reason):
    """The service, the ledger and the host memory get the reason."""
    api.fault("create_order", fault)
    with api.renting("RTX 4090", **soon()) as rental:
        assert [w for w in kinds(rental) if w != "up"] == [
            "trying", "created", "failed", "cancelling", "cancelled", "trying", "created", "rented",
        ]  # fmt: skip
        failed = next(e for e in rental.events if e.what == "failed")
        assert failed.reason.startswith(reason)
        assert failed.server_id != rental.order.server_id
        assert running(api) == [rental.order.id]
        assert reason in api.entries("cancel_order")[0].body["issue"]
        assert api.ledger.by_order(failed.order_id).reason == failed.reason
        bad, good = api.session.hosts.sights()
        assert (bad.good, bad.server_id, good.good) == (False, failed.server_id, True)
    assert running(api) == []


def test_an_attempt_that_is_cancelled_early_costs_no_creation_fee(api):
    """The next attempt may spend the rest of the limit, less the minutes of the first."""
    api.fault("create_order", "fewer_gpus")
    wish = {"currency": USD, "max_cost_usd": 0.1}
    with api.renting("RTX 4090", **wish) as rental:
        assert kinds(rental)[-1] == "rented"
        assert rental.events[-1].attempt == 2


def test_verify_ssh_accepts_missing_gpus_and_none_does_not_wait(api):
    api.fault("create_order", "fewer_gpus")
    with api.renting("RTX 4090", verify="ssh") as rental:
        assert rental.exec("nvidia-smi -L").code == 6 or rental.order.gpu_count > 1
    api.fault("create_order", "never_boots")
    with api.renting("RTX 4090", verify="none") as rental:
        assert kinds(rental) == ["trying", "created", "rented"]
    assert running(api) == []


def test_a_host_that_dies_while_booting_is_given_up(api):
    fault = api.market.fault("create_order", "host_dies", delay_s=0, times=2, key=api.key)
    with pytest.raises(RentFailed) as caught:
        api.renting("RTX 4090", attempts=2, **soon()).start()
    reasons = {e.reason for e in caught.value.attempts if e.what == "failed"}
    assert all(reason == "its host is offline" or "no SSH in" in reason for reason in reasons)
    assert fault not in [f.id for f in api.market.faults()]
    assert running(api) == []


def test_after_the_last_attempt_the_error_lists_all(api):
    api.fault("create_order", "fewer_gpus", times=2)
    with pytest.raises(RentFailed, match=r"No server worked, of 2 tried.*nvidia-smi") as caught:
        api.renting("RTX 4090", attempts=2).start()
    assert len({e.server_id for e in caught.value.attempts if e.what == "failed"}) == 2
    assert running(api) == []


def test_if_no_machine_gets_ssh_the_error_names_the_image(api):
    """An image without sshd, or with a CMD of its own, never starts one."""
    api.fault("create_order", "never_boots")
    with pytest.raises(RentFailed, match=r"no SSH in \d+ s.*without sshd.*CMD.*network"):
        api.renting("RTX 4090", attempts=1, **soon()).start()


def test_a_failed_verify_command_does_not_count_against_the_host(api):
    rental = api.renting("RTX 4090", verify_command="echo wrong version >&2; exit 4", attempts=1)
    with pytest.raises(RentFailed, match=r"your own check ended with 4 \(wrong version\)"):
        rental.start()
    assert [sight.good for sight in api.session.hosts.sights()] == [True]
    with api.renting("RTX 4090", verify_command="test -d /tmp"):
        pass


def test_a_lost_race_is_not_an_attempt(api, market):
    """If another renter is first, the next offer is tried at no cost."""
    offers = api.drive(_find(api, "RTX 4090"))
    rival = Api("sync", market)
    coin = offers[0].cost.coin
    rival.create_order(
        offers[0].server.id, "i", "on-demand", coin, required_price=offers[0].cost.price.per_day
    )
    events: list[Any] = []
    try:
        rented = api.drive(_rent(api, offers, events, attempts=1))
        assert [e.what for e in events][:3] == ["trying", "lost", "trying"]
        assert events[1].reason == "server-already-rented"
        assert rented.order.server_id == offers[1].server.id
        assert events[-1].attempt == 1
        api.cancel_order(rented.order.id)
    finally:
        for order in rival.my_orders():
            rival.cancel_order(order.id)
        rival.shut()


def test_a_raised_price_is_not_paid(api):
    """`required_price` is the price that was seen."""
    best, *rest = api.drive(_find(api, "RTX 4090"))
    half = replace(best.cost.price, per_day=best.cost.price.per_day / 2)
    seen = replace(best, cost=replace(best.cost, price=half))
    events: list[Any] = []
    rented = api.drive(_rent(api, [seen, *rest], events))
    assert (events[1].what, events[1].reason) == ("lost", "too_low_price")
    assert rented.order.server_id != best.server.id
    api.cancel_order(rented.order.id)


@pytest.mark.parametrize(
    "fault",
    [
        "act_then_cut",
        *(
            pytest.param(each, marks=pytest.mark.exhaustive)
            for each in ("act_then_500", "truncated_json")
        ),
    ],
)
def test_a_lost_answer_still_means_one_order(api, fault):
    """The order that the service made is found, verified and kept."""
    api.fault("create_order", fault)
    with api.renting("RTX 4090", verify="none") as rental:
        assert running(api) == [rental.order.id]
    assert len([e for e in api.entries("create_order") if e.order is not None]) == 1


def test_an_uncertain_order_ends_the_search(api):
    """OrderUncertain is raised at once, and no other offer is tried."""
    api.session.look_for_s = 0.3
    api.fault("create_order", "500")
    with pytest.raises(OrderUncertain):
        api.renting("RTX 4090").start()
    assert len(api.entries("create_order")) == 1


def test_an_order_that_cannot_be_cancelled_ends_the_search(api):
    """No second order is made while the first may be billed; the next command reports the first."""
    api.session.gone_for_s = 1.0
    api.fault("create_order", "fewer_gpus")
    fault = api.market.fault("cancel_order", "500", times=None, key=api.key)
    rental = api.renting("RTX 4090")
    with pytest.raises(WaitTimeout) as caught:
        rental.start()
    assert str(rental.order_id) in str(caught.value)
    assert kinds(rental)[-1] == "uncancelled"
    assert [i.order_id for i in api.ledger.unacknowledged()] == [rental.order_id]
    api.market.remove_fault(fault)
    api.cancel_order(rental.order_id)


def test_a_client_ref_means_the_same_order_after_a_failed_attempt(api):
    """The `client_ref` belongs to the attempt that succeeded."""
    api.fault("create_order", "fewer_gpus")
    first = api.renting("RTX 4090", client_ref="job 1").start()
    again = api.renting("RTX 4090", client_ref="job 1")
    with again:
        assert again.order.id == first.order.id
        assert len(running(api)) == 1
    ended = api.renting("RTX 4090", client_ref="job 1").start()
    assert not ended.order.active
    assert running(api) == []


def test_a_host_that_failed_is_not_rented_again_at_the_same_price(api):
    api.fault("create_order", "fewer_gpus")
    with api.renting("RTX 4090") as rental:
        failed = next(e.server_id for e in rental.events if e.what == "failed")
    for _ in range(2):
        api.session.hosts.note(api.session.hosts.sights()[0])
    with api.renting("RTX 4090", verify="none") as rental:
        assert rental.order.server_id != failed


def test_no_match_says_which_wish_to_drop(api):
    with pytest.raises(NoOffer) as caught:
        api.renting("RTX 4090", min_ram_gb=5000).start()
    (without,) = [w for w in caught.value.no_match.without if w.names == ("min_ram_gb",)]
    assert f"Without min_ram_gb: {without.servers} servers, from $" in str(caught.value)
    assert api.entries("create_order") == []


def test_a_budget_holds_and_failed_attempts_count(api):
    """Each attempt costs a minute of its six, so the second would exceed the limit."""
    servers = [s for s in api.marketplace(gpu="RTX 4090") if s.allows(USD) and not s.gigaspot]
    cheapest = min(s.price_per_day(USD) for s in servers if s.price_per_day(USD))
    api.ledger.set_budget(Budget(USD, "day", cheapest * 1.05 * 6 / 1440 * 1.05))
    api.fault("create_order", "fewer_gpus", times=None)
    with pytest.raises(BudgetError):
        api.renting("RTX 4090", currency=USD, max_hours=0.1).start()
    assert running(api) == []
    assert len([e for e in api.entries("create_order") if e.order is not None]) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"gpus": 0}, "gpu_count must be a number above 0"),
        ({"country": "Sweden"}, "country is an ISO code of two letters"),
        ({"cuda": "new"}, "cuda is a version"),
        ({"min_reliability": 98}, "a share from 0 to 1"),
        ({"ports": {"80": "http"}}, "give port 22 as tcp"),
        ({"type": "spot"}, "needs spot_price"),
        ({"lease_h": -1}, "lease_h must be a number above 0"),
        ({"verify": "none", "verify_command": "true"}, "goes with verify"),
        ({"env": {"A": "b&c"}}, "contains '&'"),
    ],
)
def test_invalid_wishes_are_refused_before_any_request(api, words, says):
    with pytest.raises(InvalidInputError, match=says):
        api.renting("RTX 4090", **words)
    assert api.entries() == []


def _find(api: Api, gpu: str) -> Any:
    from clore_ai.rental.rent import rent, wish

    return rent.find(api.session, wish.of(gpu=gpu, verify="ssh"))


def _rent(api: Api, offers: list[Any], events: list[Any], **changes: Any) -> Any:
    from clore_ai.rental.rent import rent, wish

    return rent.rent(
        api.session, wish.of(gpu="RTX 4090", verify="ssh", **changes), events.append, offers
    )
