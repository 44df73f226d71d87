"""The rentals of both clients have the same names, parameters and documentation."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from clore_ai import AsyncRental, Rental


def public(kind: type) -> dict[str, Any]:
    return {
        n: v
        for n, v in inspect.getmembers_static(kind)
        if not n.startswith("_") and (inspect.isfunction(v) or isinstance(v, property))
    }


@pytest.mark.parametrize("name", sorted(public(Rental)))
def test_both_rental_classes_have_the_same_documentation(name):
    """Names, signatures and docstrings are equal; each is a context manager of its own kind."""
    assert public(Rental).keys() == public(AsyncRental).keys()
    one, other = public(Rental)[name], public(AsyncRental)[name]
    assert inspect.getdoc(one) == inspect.getdoc(other)
    if inspect.isfunction(one):
        mine, theirs = inspect.signature(one), inspect.signature(other)
        assert mine.parameters == theirs.parameters
        assert str(theirs.return_annotation).replace("Async", "") == mine.return_annotation
