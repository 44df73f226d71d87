"""Odd answers to `create_order` and odd rows: the right order, a refusal, or uncertain.

Never a wrong order, never a second request, never another error.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from by_hand import WALL, Hand, ok, reply, row

from clore_ai._api.call import Reply
from clore_ai._api.order_request import OrderRequest
from clore_ai._state.ledger import Ledger
from clore_ai.exceptions import CloreAPIError, FieldError, OrderUncertain
from clore_ai.rental.orders.create import create
from clore_ai.rental.session import Session

WANTED = OrderRequest(server_id=5, image="i", type="on-demand", currency="bitcoin")
KNOWN = [row(3, server=6), row(4, server=5, ct=WALL - 9_000, expired=True)]
"""Orders that existed before: on another server, and on this one."""


def play(
    answer: Reply, rows: list[Any], session: Session
) -> tuple[int | None, Hand, CloreAPIError | None]:
    """Rent server 5: the order's id or the error. `rows` are listed afterwards."""
    hand = Hand(lambda call, _now: answer if call.path == "create_order" else listed(hand, rows))
    try:
        return hand.play(create(session, WANTED)).id, hand, None
    except CloreAPIError as exc:
        return None, hand, exc


def listed(hand: Hand, rows: list[Any]) -> Reply:
    sent = "create_order" in hand.paths
    return ok(orders=KNOWN + (rows if sent else []))


NUMBERS: list[Any] = [
    10**30, 2**63, -1, 0, 9.0, 9.5, 1e400, "9", "", True, [9], {"id": 9}, float("nan"), 10**400,
]  # fmt: skip
# An id from before, of this server or another; one that is listed for another server.
TAKEN: list[Any] = [3, 4, 8]
ORDERS: list[Any] = [
    {"id": 3, "renting_server": 5},
    {"id": 4, "renting_server": 5},
    {"id": 8, "renting_server": 6},
    {"id": 10**30, "renting_server": 5},
    {"id": True, "renting_server": 5},
    {"id": "9", "renting_server": 5},
    {"id": 77, "renting_server": 5, "ct": WALL - 90_000, "expired": True},
    {"id": 77, "order_id": 78, "renting_server": 5},
    {"id": 77, "renting_server": 6},
    [], "order", 9, None, {}, {"id": None}, {"id": {}}, {"renting_server": 5},
]  # fmt: skip
LIES: list[dict[str, Any]] = [
    *({"code": 0, "order_id": each} for each in NUMBERS + TAKEN),
    *({"code": 0, "order": each} for each in ORDERS),
    {"code": 0, "order_id": 77, "order": {"id": 78, "renting_server": 5}},
    {"code": 0, "error": "server-already-rented"},
    {"code": 0, "order_id": 10**30, "order": {"id": 10**30}},
    *({"code": code} for code in ("0", 0.0, 0.5, True, False, None, [], {}, 10**400, -1, 10**4)),
    {},
]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_wrong_answer_loses_no_order(lie: dict[str, Any]) -> None:
    """The list decides: its new order on this server is ours, and no other."""
    session = Session(ledger=Ledger(None))
    order_id, hand, error = play(reply(lie), [row(8, server=6), row(9)], session)
    assert order_id == 9, error
    assert hand.paths.count("create_order") == 1
    assert [(i.state, i.order_id) for i in session.ledger.intents()] == [("created", 9)]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_wrong_answer_without_a_new_order_is_uncertain(lie: dict[str, Any]) -> None:
    """No existing order is taken for the new one."""
    session = Session(ledger=Ledger(None))
    order_id, hand, error = play(reply(lie), [row(8, server=6)], session)
    assert isinstance(error, OrderUncertain), (order_id, error)
    assert error.intent.order_id is None
    assert hand.paths.count("create_order") == 1
    assert [i.state for i in session.ledger.intents()] == ["uncertain"]


@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 408, 413, 429, 500, 502])
@pytest.mark.parametrize(
    "content",
    [b"<html>", b"", b"[]", b"null", b"0", b"\xff\xfe", b"[" * 100_000, b'{"code":0', b"{}"],
    ids=lambda content: repr(content[:9]),
)
def test_answers_that_are_not_json(status: int, content: bytes) -> None:
    """The order is looked for if the request may have acted; else it is a refusal."""
    session = Session(ledger=Ledger(None))
    session.rules = type(session.rules)(max_retries=0)
    order_id, _, error = play(Reply(status, "text/html", content), [row(9)], session)
    in_json = content in (b"[]", b"null", b"0", b"{}") and status not in (401, 404, 429)
    if 200 <= status < 300 or status >= 500 or status == 408 or in_json:
        assert (order_id, error) == (9, None)
    else:
        assert error is not None
        assert not error.maybe_acted


@pytest.mark.parametrize("code", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_is_not_a_refusal_whatever_its_code(status: int, code: int) -> None:
    """Only the reasons that the service itself sends with a 500 are refusals."""
    order_id, hand, error = play(
        reply({"code": code}, status), [row(9)], Session(ledger=Ledger(None))
    )
    assert (order_id, error) == (9, None)
    assert hand.paths.count("create_order") == 1
    known = {"code": 6, "error": "currency-not-allowed"}
    _, _, error = play(reply(known, 500), [row(9)], Session(ledger=Ledger(None)))
    assert isinstance(error, FieldError)


@pytest.mark.parametrize(
    "code", ["0", 0.0, True, None, [], 10**400], ids=lambda code: str(code)[:9]
)
def test_an_unusable_code_at_400(code: object) -> None:
    """The service itself answered, and may have acted."""
    order_id, _, error = play(reply({"code": code}, 400), [row(9)], Session(ledger=Ledger(None)))
    assert (order_id, error) == (9, None)


def test_an_answer_above_the_size_limit() -> None:
    """It was not read to its end, so it proves nothing: the order is looked for."""
    cut = Reply(200, "application/json", b'{"code":6}', whole=False)
    assert play(cut, [row(9)], Session(ledger=Ledger(None)))[0] == 9
    _, _, error = play(cut, [], Session(ledger=Ledger(None)))
    assert isinstance(error, OrderUncertain)


TIMES = [None, float("nan"), 1e400, 10**400, -1, 1e30, 4e9, "soon", [], {}, True, WALL + 4_000]


@pytest.mark.parametrize("ct", TIMES, ids=lambda ct: str(ct)[:9])
def test_odd_times_are_survived(ct: object) -> None:
    """An invalid time proves nothing; another time belongs to another order."""
    session = Session(ledger=Ledger(None))
    order_id, _, error = play(ok(), [row(9, ct=ct)], session)  # type: ignore[arg-type]
    if ct in (4e9, WALL + 4_000):
        assert isinstance(error, OrderUncertain)
    else:
        assert (order_id, error) == (9, None)


ROWS: list[Any] = [
    row(9, server=None), row(9, server=6), row(9, server=10**30), row(9, server="x"), row(10**30),
    row(-9), row(0), row("x"), row(None), {"id": 9}, {}, [], 9, None,
    {"id": [], "si": 5}, row(4),
]  # fmt: skip


@pytest.mark.parametrize("odd", ROWS, ids=lambda odd: json.dumps(odd)[:40])
def test_odd_rows_are_not_claimed(odd: object) -> None:
    """A row without a usable id or of another server is not ours, and hides none that is."""
    for more in ([], [odd, row(9)]):
        session = Session(ledger=Ledger(None))
        order_id, _, error = play(ok(), [odd, *more], session)
        if more:
            assert (order_id, error) == (9, None)
        else:
            assert isinstance(error, OrderUncertain)


@pytest.mark.parametrize("orders", [None, {}, "x", 5, [None], [[]], {"0": {}}], ids=str)
def test_answers_that_are_not_lists(orders: object) -> None:
    """Before the order nothing is rented; after it the search goes on, then it is uncertain."""
    hand = Hand(lambda call, _now: ok() if call.path == "create_order" else ok(orders=orders))
    with pytest.raises(CloreAPIError) as caught:
        hand.play(create(Session(ledger=Ledger(None)), WANTED))
    sent = hand.paths.count("create_order")
    assert (sent, isinstance(caught.value, OrderUncertain)) == (int(isinstance(orders, list)),) * 2


def test_one_row_among_very_many() -> None:
    """However long the list, the order is found; duplicates of its row are one order."""
    rows = [row(number, server=number + 10**6) for number in range(1_000, 6_000)]
    session = Session(ledger=Ledger(None))
    assert play(ok(), [*rows, row(30_000), row(30_000)], session)[0] == 30_000
