"""The quote of one server: its cost, or why it cannot be rented; then its order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clore_ai import CloreAI
from clore_ai._api.order_request import OrderRequest
from clore_ai.exceptions import BudgetError, FieldError, NotFoundError
from clore_ai.models.records import Budget
from clore_ai.rental.orders.create import RentalTerms
from clore_ai.rental.rent import deploy
from clore_ai.rental.spend.lease import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clients import Api

    from clore_ai.models.records import RentEvent
    from clore_ai.rental.rent.ranking import Offer
    from clore_sandbox import Sandbox


@pytest.fixture
def client(market: Sandbox, tmp_path: Path) -> Iterator[CloreAI]:
    with CloreAI(market.create_account(), base_url=market.base_url, state=tmp_path) as made:
        yield made


def quoted(client: CloreAI, server: int, coin: str, limits: Limits | None = None) -> Offer:
    flow = deploy.quote(client.session, server, coin, "on-demand", None, limits or Limits())
    return client.drive(flow)


def test_the_cost_the_end_and_the_wallet(client: CloreAI, server: int) -> None:
    """They are as in create_order: the list price, the lease, and the wallet's balance."""
    offer = quoted(client, server, "bitcoin", Limits(lease_s=7200.0, given=True))
    assert offer.cost.price.per_day == offer.server.price_per_day("bitcoin")
    assert offer.end.lease_s == 7200.0
    assert offer.balance == {w.name: w.balance for w in client.wallets()}["bitcoin"]
    assert client.my_orders() == []


def test_a_bid_may_be_converted_for_the_server(client: CloreAI, server: int) -> None:
    """A bid in USD needs the value of the coin, which comes with the server."""
    flow = deploy.quote(
        client.session, server, "bitcoin", "spot", lambda found: found.id / 1e6, Limits()
    )
    assert client.drive(flow).cost.price.per_day == server / 1e6


def test_why_a_server_cannot_be_rented(client: CloreAI, server: int) -> None:
    """The reasons are the service's, found without a request for the order."""
    with pytest.raises(NotFoundError, match="There is no server 999999"):
        quoted(client, 999_999, "bitcoin")
    with pytest.raises(FieldError, match="can't be paid in 'gold'") as refused:
        quoted(client, server, "gold")
    assert refused.value.error == "currency-not-allowed"


def test_a_quote_is_checked_against_the_budgets(client: CloreAI, server: int) -> None:
    """The given cost counts: an offer may fit although its highest bid does not."""
    session = client.session
    offer = quoted(client, server, "bitcoin")
    client.drive(deploy.check_budgets(session, offer, "on-demand", offer.cost))
    session.ledger.set_budget(Budget("bitcoin", "day", 1e-9))
    with pytest.raises(BudgetError):
        client.drive(deploy.check_budgets(session, offer, "on-demand", offer.cost))


def test_the_order_of_a_plan(client: CloreAI, server: int) -> None:
    """It has the agreed price and end. Until `on_event` has it, the next command reports it."""
    ledger, events = client.session.ledger, []
    plan = quoted(client, server, "bitcoin", Limits(lease_s=7200.0, given=True))

    def on_event(event: RentEvent) -> None:
        unknown = [intent.order_id for intent in ledger.unacknowledged()]
        events.append((event.what, event.order_id, unknown))

    wanted = OrderRequest(server, "image", "on-demand", "bitcoin", ssh_password="p")
    terms = RentalTerms("a ref", "training")
    flow = deploy.order(client.session, wanted, plan, terms, None, on_event, login=False)
    order = client.drive(flow)
    assert events == [("trying", None, []), ("created", order.id, [order.id])]
    assert ledger.unacknowledged() == []
    intent = ledger.by_order(order.id)
    assert intent is not None
    assert (intent.client_ref, intent.purpose, intent.lease_s) == ("a ref", "training", 7200.0)
    assert order.price == plan.cost.price.per_day
    client.cancel_order(order.id)


def test_quote_and_offers_of_a_client(api: Api, server: int) -> None:
    """`quote` is about one server, `offers` about those that `rent` would try; neither rents."""
    one = api.quote(server, "bitcoin", lease_h=2)
    assert (one.server.id, one.end.lease_s) == (server, 7200.0)
    offers = api.offers("RTX", currency="USD-Blockchain", max_price_usd=5)
    costs = [offer.effective.usd_per_hour for offer in offers]
    assert costs == sorted(costs)
    assert api.my_orders() == []
    with pytest.raises(BudgetError):
        api.quote(server, "bitcoin", lease_h=2, max_cost_usd=1e-6)
