"""Errors carry what failed, survive pickling, and form 004's tree."""

from __future__ import annotations

import copy
import pickle

import pytest

import clore_ai
import clore_client
from clore_ai import exceptions
from clore_ai.exceptions import (
    BudgetError,
    CloreAPIError,
    NoOffer,
    OrderEnded,
    OrderUncertain,
    RentFailed,
    WaitTimeout,
)
from clore_ai.models import Order
from clore_ai.models.records import Budget, BudgetStanding, Intent, NoMatch, RentEvent, Without

ORDER = Order(id=7, server_id=5, ssh_password="p")
INTENT = Intent(5, "on-demand", "bitcoin", "i", known_ids=frozenset({1}))
BODY = {"code": 6, "error": "server-offline"}

EXAMPLES = [
    *(
        kind("m", 6, BODY, status=500, maybe_acted=True)
        for kind in vars(exceptions).values()
        if isinstance(kind, type)
        and issubclass(kind, CloreAPIError)
        and kind not in (BudgetError, NoOffer, OrderEnded, OrderUncertain, RentFailed, WaitTimeout)
    ),
    BudgetError("m", standing=BudgetStanding(Budget("USD", "day", 5), 0.0, 1.0, 2.0), wanted=3.0),
    NoOffer("m", NoMatch(3, (("gpu", 0),), (Without(("gpu",), 2, 0.5),))),
    OrderEnded("m", ORDER),
    RentFailed("m", [RentEvent("failed", 1, 5, 7, "no SSH")]),
    WaitTimeout("m", ORDER),
    OrderUncertain("m", INTENT),
    clore_client.CloreAPIError(BODY),
    clore_client.CloreAPIError({"code": -1, "error": "cut"}),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    "over", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))], ids=range(3)
)
def test_errors_can_be_copied_and_pickled(error, over):
    """An exception from a worker process keeps its type, message and attributes."""
    again = over(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1, "DBError"),
        (2, "InvalidInputError"),
        (3, "AuthError"),
        (4, "InvalidEndpointError"),
        (5, "RateLimitError"),
        (6, "FieldError"),
    ],
)
def test_the_codes_of_004(code, name):
    """Each code has a class below CloreAPIError, importable from both modules."""
    kind = getattr(exceptions, name)
    assert exceptions.ERROR_MAP[code] is kind
    assert getattr(clore_ai, name) is kind
    assert issubclass(kind, CloreAPIError)


def test_all_errors_are_exported_and_below_the_base():
    """`__all__` and the tree in the docstring name every error."""
    kinds = {
        name
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert kinds == set(exceptions.__all__) - {"ERROR_MAP"}
    assert kinds <= set(clore_ai.__all__)
    assert all(name in exceptions.__doc__ for name in kinds)


def test_attributes():
    """They are `code`, `response`, the service's reason, the HTTP status and `maybe_acted`."""
    error = CloreAPIError("m", 6, BODY, status=500)
    assert (error.code, error.response, error.error) == (6, BODY, "server-offline")
    assert (error.status, error.maybe_acted) == (500, False)
    bare = CloreAPIError("m")
    assert bare.code is bare.response is bare.error is bare.status is None
    assert CloreAPIError("m", 6, {"error": {"odd": 1}}).error is None
