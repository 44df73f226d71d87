"""The quote of one server: its cost, or why it cannot be rented; nothing is rented."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clore_ai import CloreAI
from clore_ai.exceptions import BudgetError, FieldError, NotFoundError
from clore_ai.models.records import Budget
from clore_ai.rental.rent import quote
from clore_ai.rental.spend.lease import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clients import Api

    from clore_sandbox import Sandbox

USD = "USD-Blockchain"


@pytest.fixture
def client(market: Sandbox, tmp_path: Path) -> Iterator[CloreAI]:
    with CloreAI(market.create_account(), base_url=market.base_url, state=tmp_path) as made:
        yield made


def test_the_cost_the_end_and_the_wallet(client: CloreAI, server: int) -> None:
    """They are as in create_order: the list price, the lease, and the wallet's balance."""
    found = client.drive(quote.server(client.session, server, "on-demand"))
    lease = Limits(lease_s=7200.0, given=True)
    flow = quote.offer(client.session, found, "bitcoin", "on-demand", None, lease)
    offer = client.drive(flow)
    assert offer.cost.price.per_day == found.price_per_day("bitcoin")
    assert offer.end.lease_s == 7200.0
    assert offer.balance == {w.name: w.balance for w in client.wallets()}["bitcoin"]
    assert client.my_orders() == []


def test_why_a_server_cannot_be_rented(client: CloreAI, server: int) -> None:
    """The reasons are the service's, found without a request for the order."""
    with pytest.raises(NotFoundError, match="There is no server 999999"):
        client.drive(quote.server(client.session, 999_999, "on-demand"))
    found = client.drive(quote.server(client.session, server, "on-demand"))
    with pytest.raises(FieldError, match="can't be paid in 'gold'") as refused:
        client.drive(quote.offer(client.session, found, "gold", "on-demand", None, Limits()))
    assert refused.value.error == "currency-not-allowed"


def test_a_quote_is_checked_against_the_budgets(client: CloreAI, server: int) -> None:
    """The given cost counts: an offer may fit although its highest bid does not."""
    session = client.session
    found = client.drive(quote.server(session, server, "on-demand"))
    flow = quote.offer(session, found, "bitcoin", "on-demand", None, Limits())
    offer = client.drive(flow)
    client.drive(quote.check_budgets(session, offer, "on-demand", offer.cost))
    session.ledger.set_budget(Budget("bitcoin", "day", 1e-9))
    with pytest.raises(BudgetError):
        client.drive(quote.check_budgets(session, offer, "on-demand", offer.cost))


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
