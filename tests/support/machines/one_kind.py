"""Plays a test with one kind of rooms, and with the others in `make soak`."""

import pytest


def one_kind(kind, *others):
    """For a rule that the code of one kind alone cannot break."""
    rest = [pytest.param(each, marks=pytest.mark.exhaustive) for each in others]
    return pytest.mark.parametrize("kind", [kind, *rest], indirect=True, scope="module")
