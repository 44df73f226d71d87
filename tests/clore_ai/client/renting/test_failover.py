"""If an offer is refused, the next one is tried: for both clients, on a real marketplace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable

import pytest
from clients import Api

from clore_ai.exceptions import RentFailed
from clore_ai.rental.orders.locks import by_renter, on_server
from clore_ai.rental.rent import rent, wish
from clore_ai.rental.rent.failover import LOOK_AGAIN_S

if TYPE_CHECKING:
    from clore_ai.rental.rent.ranking import Offer
    from clore_sandbox import Sandbox

GPU = "RTX 4090"


@pytest.fixture
def market(own_market: Callable[..., Sandbox], small_fleet: dict[str, Any]) -> Sandbox:
    """A marketplace per test, since servers are taken away. Renting starts no machine."""
    return own_market(provision=False, inventory=small_fleet)


class Trial:
    """One rental of any server with this GPU, and its events."""

    def __init__(self, api: Api) -> None:
        self.api, self.wish = api, wish.of(gpu=GPU, verify="none")
        self.events: list[Any] = []
        self.offers: list[Offer] = api.drive(rent.find(api.session, self.wish))

    def go(self, offers: list[Offer] | None = None) -> Any:
        found = self.offers if offers is None else offers
        return self.api.drive(rent.rent(self.api.session, self.wish, self.events.append, found))

    @property
    def lost(self) -> list[str]:
        return [event.reason for event in self.events if event.what == "lost"]

    @property
    def looks(self) -> int:
        """How many times the market was read."""
        return len(self.api.entries("marketplace"))


@pytest.fixture
def trial(api: Api) -> Trial:
    return Trial(api)


def test_the_error_groups_the_refusals(trial, market):
    """It counts them by reason, the most frequent first; a lost race never ends the search."""
    first, *rest = trial.offers
    market.set_online(first.server.id, online=False)
    for offer in rest:
        market.set_rented(offer.server.id, rented=True)
    with pytest.raises(RentFailed) as caught:
        trial.go()
    assert f"{len(rest)} already rented, 1 server-offline" in str(caught.value)
    assert len(trial.lost) == len(trial.offers)
    assert len(rest) > 3


def test_three_equal_refusals_in_a_row_end_the_search(trial, market):
    for offer in trial.offers[:5]:
        market.set_online(offer.server.id, online=False)
    with pytest.raises(RentFailed, match=r"3 server-offline.*three in a row"):
        trial.go()
    assert trial.lost == ["server-offline"] * 3
    assert len(trial.api.entries("create_order")) == 3


def test_a_lost_race_breaks_a_row_of_equal_refusals(trial, market):
    for number, offer in enumerate(trial.offers[:5]):
        if number == 2:
            market.set_rented(offer.server.id, rented=True)
        else:
            market.set_online(offer.server.id, online=False)
    assert trial.go().order.server_id == trial.offers[5].server.id


def test_the_user_s_own_servers_are_not_offered(api, market):
    """Servers that the marketplace marks as mine are omitted, and all others of that owner."""
    own = market.add_server(api.key, "mine", {"price": {"on_demand": {"bitcoin": 1e-9}}})
    assert own is not None
    (record,) = [s for s in api.marketplace() if s.id == own]
    assert record.mine
    offered = [o.server for o in Trial(api).offers]
    assert own not in [server.id for server in offered]
    assert not any(server.mine for server in offered)
    rented = Trial(api).go()
    assert rented.order.server_id != own
    other = Api("sync", market)
    assert not any(server.mine for server in other.marketplace())
    other.shut()


def test_a_small_drift_of_the_price_is_accepted(trial):
    """Prices in a coin drift while their USD value stays the same, so the price is read again."""
    first = trial.offers[0]
    less = replace(first.cost.price, per_day=first.cost.price.per_day * 0.995)
    cost = replace(first.cost, price=less)
    looks = trial.looks
    rented = trial.go([replace(first, cost=cost), *trial.offers[1:]])
    assert trial.lost == ["too_low_price"]
    assert trial.looks == looks + 1
    assert rented.order.server_id == first.server.id
    assert rented.order.price == first.cost.price.per_day


def test_a_higher_price_is_not_paid(trial):
    """Neither the same server nor another is rented above the highest price that was agreed to."""
    first, *rest = trial.offers
    half = replace(first.cost.price, per_day=first.cost.price.per_day / 2)
    seen = replace(first, cost=replace(first.cost, price=half))
    assert trial.go([seen, *rest]).order.server_id == rest[0].server.id
    with pytest.raises(RentFailed, match="1 too_low_price"):
        Trial(trial.api).go([seen])
    assert trial.lost == ["too_low_price"]


def test_a_stale_list_is_read_again(trial, market):
    """Servers that have been rented since then are not requested."""
    for offer in trial.offers[:3]:
        market.set_rented(offer.server.id, rented=True)
    trial.api.session.market_read_at -= LOOK_AGAIN_S + 1
    assert trial.go().order.server_id == trial.offers[3].server.id
    assert trial.lost == []
    assert len(trial.api.entries("create_order")) == 1


def test_a_server_that_another_of_our_commands_is_renting_is_skipped(trial):
    """The command does not wait for that server; it takes the next one."""
    lock = trial.api.ledger.lock(on_server(trial.offers[0].server.id))
    assert lock.try_acquire()
    rented = trial.go()
    lock.release()
    assert trial.lost == ["another command of yours is renting it"]
    assert rented.order.server_id == trial.offers[1].server.id


def test_the_renting_command_holds_a_lock_until_it_hands_the_order_over(trial):
    """It holds the lock from the order on, so that no other command reports the order."""
    free: dict[str, bool] = {}

    def look(event: Any) -> None:
        lock = trial.api.ledger.lock(by_renter(event.server_id))
        free[event.what] = lock.try_acquire()
        lock.release()

    rented = trial.api.drive(rent.rent(trial.api.session, trial.wish, look, trial.offers))
    assert free == {"trying": True, "created": False, "rented": False}
    lock = trial.api.ledger.lock(by_renter(rented.order.server_id))
    assert lock.try_acquire()
    lock.release()


def test_servers_to_avoid_are_not_offered(trial):
    avoid = frozenset(offer.server.id for offer in trial.offers[:2])
    found = trial.api.drive(rent.find(trial.api.session, replace(trial.wish, avoid=avoid)))
    assert [o.server.id for o in found] == [o.server.id for o in trial.offers[2:]]
