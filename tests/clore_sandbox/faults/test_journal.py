"""The journal keeps answers within limits, and never a secret."""

import time

from clore_sandbox.faults import journal
from clore_sandbox.faults.journal import Entry, Journal, Sent


def entry(number, body=None, endpoint="wallets"):
    fields = dict.fromkeys(("key", "body", "error", "order", "fault"))
    return Entry(
        time=1.0,
        method="GET",
        endpoint=endpoint,
        query="",
        status=200,
        code=0,
        acted=True,
        number=number,
        sent=Sent(body),
        **fields,
    )


def test_answers_are_kept_without_secrets():
    raw = (
        b'{"orders":[{"id":1,"env":{"TOKEN":"hunter2"},"ssh_password":"hunter3",'
        b'"inner":{"jupyter_token":"hunter4"}}],"servers":[{"init_token":"hunter5"}],"code":0}'
    )
    kept = entry(1, raw)
    assert "hunter" not in repr(kept) + repr(kept.answer) + repr(kept.to_json())
    assert kept.answer["orders"][0]["env"] == {"TOKEN": "…"}
    assert (kept.answer["orders"][0]["id"], kept.answer["code"]) == (1, 0)


def test_a_body_that_is_not_json_is_kept_as_text():
    assert entry(1, b"error code: 1010").answer == "error code: 1010"
    assert entry(1, b'{"half').answer == '{"half'
    assert entry(1, None).answer is None


def test_memory_is_bounded(monkeypatch):
    """Long answers and old ones beyond the budget are dropped; their entries are kept."""
    monkeypatch.setattr(journal, "ANSWERS_KEPT", 1000)
    book = Journal()
    book.write(entry(1, b"x" * (journal.LONGEST_ANSWER + 1)))
    for number in range(2, 12):
        book.write(entry(number, b"y" * 200))
    answers = [e.answer for e in book.entries()]
    assert [a is not None for a in answers] == [False] * 6 + [True] * 5


def test_filters_and_numbers():
    book = Journal()
    for endpoint in ("wallets", "marketplace", "wallets"):
        book.write(entry(book.number(), endpoint=endpoint))
    assert [e.number for e in book.entries("wallets")] == [1, 3]
    assert [e.number for e in book.entries(after=1)] == [2, 3]
    book.clear()
    assert book.entries() == []
    assert book.number() == 4


def test_short_keys_are_not_revealed():
    assert journal.shown_key("k3y") == "…"
    assert journal.shown_key("a-long-enough-key") == "…-key"
    assert journal.shown_key(None) is None


def test_writing_is_cheap():
    book = Journal()
    started = time.perf_counter()
    for number in range(20_000):
        book.write(entry(number, b'{"code":0}'))
    assert time.perf_counter() - started < 2
