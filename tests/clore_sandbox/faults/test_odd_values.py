"""Answers made worse: pure, and the same for the same seed."""

import random

from hypothesis import given
from hypothesis import strategies as st

from clore_sandbox.faults.odd_values import odd, without, without_rows

ROW = {"id": 7, "tcp_ports": ["22:1"], "specs": {"gpu": "1x A", "ram": 8.5}, "online": True}
BODY = {"orders": [ROW, ROW], "limit": 999, "code": 0}


def test_named_fields_go_missing_at_any_depth():
    worse = without(BODY, ["tcp_ports", "gpu"])
    assert worse == {
        "orders": [{"id": 7, "specs": {"ram": 8.5}, "online": True}] * 2,
        "limit": 999,
        "code": 0,
    }
    assert without(BODY, []) == {"code": 0}


def test_named_records_go_missing_or_all_of_them():
    """From the lists of the answer; the envelope and what is in a record stay."""
    body = {**BODY, "orders": [ROW, {**ROW, "id": 8}]}
    assert without_rows(body, ["7"]) == {**body, "orders": [{**ROW, "id": 8}]}
    assert without_rows(body, []) == {**body, "orders": []}


def test_named_fields_are_odd_and_nothing_else():
    worse = odd(BODY, ["id"], random.Random(1))
    assert [{**row, "id": 7} for row in worse["orders"]] == BODY["orders"]
    assert all(not isinstance(row["id"], int) or row["id"] == 0 for row in worse["orders"])


@given(st.integers())
def test_unnamed_the_envelope_and_the_record_stay(seed):
    worse = odd(BODY, [], random.Random(seed))
    assert worse["code"] == 0
    assert [row["id"] for row in worse["orders"]] == [7, 7]
    assert worse == odd(BODY, [], random.Random(seed))


def test_unnamed_some_are_odd():
    assert any(odd(BODY, [], random.Random(seed)) != BODY for seed in range(5))
