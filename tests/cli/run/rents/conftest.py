"""What the tests of a `clore run` that rents share: any suitable server may be taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

import pytest

from clore_ai._state.ledger import Ledger, account_of
from clore_ai._state.store import Store

if TYPE_CHECKING:
    from tests.cli.driver import Renter


WISH = ("--gpu", "RTX", "--max-price", "5/h", "--currency", "USD", "--yes")


@pytest.fixture(scope="module")
def take() -> Callable[[], int]:
    """No test here asks for a server by its number."""
    return lambda: pytest.fail("any server may be rented here")


def running(renter: Renter) -> list[int]:
    return [row["id"] for row in renter("orders", "--json").data]


def ledger_of(renter: Renter) -> Ledger:
    return Ledger(Store(renter.home), account_of(renter.market.base_url, renter.key))
