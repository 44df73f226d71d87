"""Faulty answers are made by pure functions, and one seed gives one result."""

import random

from hypothesis import given
from hypothesis import strategies as st

from clore_sandbox.faults.odd_values import odd, without, without_rows

ROW = {"id": 7, "tcp_ports": ["22:1"], "specs": {"gpu": "1x A", "ram": 8.5}, "online": True}
BODY = {"orders": [ROW, ROW], "limit": 999, "code": 0}


def test_named_fields_are_removed_at_any_depth():
    worse = without(BODY, ["tcp_ports", "gpu"])
    assert worse == {
        "orders": [{"id": 7, "specs": {"ram": 8.5}, "online": True}] * 2,
        "limit": 999,
        "code": 0,
    }
    assert without(BODY, []) == {"code": 0}


def test_named_records_or_all_are_removed():
    """They go from the lists of the answer; the envelope and the fields of records stay."""
    body = {**BODY, "orders": [ROW, {**ROW, "id": 8}]}
    assert without_rows(body, ["7"]) == {**body, "orders": [{**ROW, "id": 8}]}
    assert without_rows(body, []) == {**body, "orders": []}


def test_only_named_fields_become_odd():
    worse = odd(BODY, ["id"], random.Random(1))
    assert [{**row, "id": 7} for row in worse["orders"]] == BODY["orders"]
    assert all(not isinstance(row["id"], int) or row["id"] == 0 for row in worse["orders"])


@given(st.integers())
def test_without_names_the_envelope_and_records_stay(seed):
    worse = odd(BODY, [], random.Random(seed))
    assert worse["code"] == 0
    assert [row["id"] for row in worse["orders"]] == [7, 7]
    assert worse == odd(BODY, [], random.Random(seed))


def test_without_names_some_fields_become_odd():
    assert any(odd(BODY, [], random.Random(seed)) != BODY for seed in range(5))
