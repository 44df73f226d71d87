"""Text of strangers is filtered everywhere: one line, printable, limited in length."""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

import pytest
from by_hand import Hand, reply
from hypothesis import example, given
from hypothesis import strategies as st

from clore_ai._api import endpoints
from clore_ai._api.answers import decipher
from clore_ai._api.call import Reply
from clore_ai._api.clean import DEEPEST, LONGEST_FIELD, clean
from clore_ai._api.order_request import OrderRequest
from clore_ai._api.parse import read_json
from clore_ai._api.steps import Rules, request
from clore_ai._values.kinds import written
from clore_ai._values.text import one_line, plain
from clore_ai.exceptions import CloreAPIError, FieldError, ResponseError, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator

ODD = [
    "\x1b[2J\x1b[31m", "\x1b]52;c;ZXZpbA==\x07", "\x9b31m", "\x85", "a\nb", "a\tb", "a\r\nb",
    "\x00", "\x7f", "\ud800", "\u202egnp.exe", "\u2066x\u2069", "\u200b", "\u2028",
    "\ufeff", "\U000e0041", "\ue000", "\u0378", "\ufff9", "\u00ad", "x" * 140_000,
]  # fmt: skip
texts = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(ODD)
names = st.sampled_from(["env", "gpu", "a", "a\x00", "\x1ba", "bitcoin"]) | texts
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)


def every_text(value: object, name: str = "") -> Iterator[str]:
    """All strings of a JSON value and the names of its fields, except the account's own texts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from every_text(item, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key != "env":
                yield from every_text(inner, key)


@given(texts, st.integers(1, 50))
@example("\x1b", 1)
def test_any_text_is_made_safe(text: str, most: int) -> None:
    """Printable, on one line, limited in length; a safe text stays the same."""
    for fit in (
        plain(text, most),
        one_line(text, most),
        plain(text.encode("utf-8", "replace"), most),
    ):
        assert fit.isprintable()
        assert len(fit) <= most
        assert one_line(fit, most) == fit
    assert all(line.isprintable() for line in plain(text, most, lines=True).split("\n"))


@pytest.mark.parametrize("text", [" RTX 3090", "Москва, 日本 é", "a  b", "Tesla® P100™ 🚀"])
def test_an_ordinary_text_stays_the_same(text: str) -> None:
    """Other scripts, leading spaces and spaces within are kept."""
    assert one_line(text, 100) == text
    assert clean({"gpu": [text]}) == {"gpu": [text]}


@given(anything)
def test_any_json_is_made_safe(value: Any) -> None:
    """Every string and field name is filtered; the account's own texts stay the same."""
    body = {"servers": [value, {"env": {"A": "a\n\x1b"}}, {"gpu": " RTX 3090"}]}
    odd, own, honest = clean(body)["servers"]
    assert own == {"env": {"A": "a\n\x1b"}}
    assert honest == {"gpu": " RTX 3090"}
    for text in every_text(odd):
        assert text.isprintable()
        assert len(text) <= LONGEST_FIELD


@given(anything, st.booleans())
@example(["x" * (LONGEST_FIELD + 1)], True)
@example([0, "x" * (LONGEST_FIELD + 1)], True)
@example({"x" * (LONGEST_FIELD + 1): 0}, True)
def test_a_body_that_is_not_walked_holds_no_odd_text(value: Any, ascii_only: bool) -> None:
    """The quick scan of the bytes may err in one direction only."""
    content = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    read, unfit = read_json(content)
    if not unfit:
        assert written(clean(read)) == written(read)


def test_the_exact_field_name_counts() -> None:
    """A host cannot replace a price with a field whose name only looks the same."""
    prices = {"bitcoin\u200b": 0.1, "bitcoin": 0.5, "\x1ba": 1, "\x9ba": 2}
    assert clean(prices) == {"bitcoin": 0.5, "a": 1}


def test_too_deep_a_value_is_none() -> None:
    """The depth of arrays is limited; the rest of the answer stays."""
    deep = b"[" * 400 + b"]" * 400
    read: Any = read_json(b'{"a": 1, "b": %s}' % deep)[0]
    assert read["a"] == 1
    inner, depth = read["b"], 0
    while inner:
        inner, depth = inner[0], depth + 1
    assert depth < DEEPEST


GOOD = b'{"id": 5, "specs": {"gpu": "1x RTX 3090"}}'
BAD = {
    "half a surrogate": rb'{"id": 6, "specs": {"gpu": "\ud800"}}',
    "NUL": rb'{"id": 6, "specs": {"gpu": "\u0000"}}',
    "bare NUL": b'{"id": 6, "specs": {"gpu": "\x00"}}',
    "no UTF-8": b'{"id": 6, "specs": {"gpu": "\xff"}}',
    "5,000 digits": b'{"id": 6, "mrl": %s}' % (b"9" * 5_000),
    "NaN": b'{"id": 6, "mrl": NaN, "reliability": Infinity, "specs": {"ram": 1e400}}',
    "300 deep": b'{"id": 6, "pl": %s}' % (b"[" * 300 + b"]" * 300),
}


@pytest.mark.parametrize("bad", BAD)
def test_one_odd_record_does_not_cost_the_answer(bad: str) -> None:
    """Whatever one host's record holds, all servers are listed."""
    content = b'{"code": 0, "servers": [%s, %s]}' % (GOOD, BAD[bad])
    rows = Hand([reply(content)]).play(request(endpoints.marketplace(), Rules(max_retries=0)))
    assert [row["id"] for row in rows] == [5, 6]
    orders = b'{"code": 0, "orders": [%s, %s]}' % (GOOD, BAD[bad])
    found = Hand([reply(orders)]).play(request(endpoints.my_orders(), Rules(max_retries=0)))
    assert [order.id for order in found] == [5, 6]
    assert all(text.isprintable() for order in found for text in every_text(order.model_dump()))


@pytest.mark.parametrize("number", [10**30, -1, 0, True, 7.0, None, [], {}, "x", "1e3", 2**63])
def test_a_record_with_an_invalid_number_is_omitted(
    number: object, caplog: pytest.LogCaptureFixture
) -> None:
    """The client reports it, and lists all others."""
    with caplog.at_level(logging.WARNING, "clore_ai"):
        for call, key in ((endpoints.marketplace(), "servers"), (endpoints.my_orders(), "orders")):
            found: list[Any] = call.parse({key: [{"id": number}, {"id": 5}, {"id": " 6"}]})
            assert [r["id"] if isinstance(r, dict) else r.id for r in found] == [5, 6]
    assert sum("omitted a" in r.getMessage() for r in caplog.records) == 2


@pytest.mark.parametrize("reason", [*ODD, ["\x1b"], {"\x1b": "\x9b"}])
@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 77])
def test_a_refusal_is_one_line(reason: object, code: int) -> None:
    """The service's reason in an error is safe to print and limited in length."""
    with pytest.raises(CloreAPIError) as caught:
        decipher(endpoints.my_orders(), reply({"code": code, "error": reason}))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 10_000
    assert all(text.isprintable() for text in every_text(caught.value.response))


@pytest.mark.parametrize("text", ODD)
def test_every_error_is_one_line(text: str) -> None:
    """A message may quote a machine's output, an address or the name of a file."""
    for kind in (TransportError, ResponseError, FieldError):
        said = str(kind(f"It failed: {text}."))
        assert said.isprintable()
        assert len(said) <= 10_000
    away = Reply(302, "text/html", b"", f"http://x/{text}")
    with pytest.raises(ResponseError) as caught:
        decipher(endpoints.my_orders(), away)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("secret", ["pass\nword", "pass\u200bword", "pass\x1bword", "w" * 1_500])
def test_a_secret_is_masked_before_the_text_is_filtered(secret: str) -> None:
    """If a refusal quotes the request, the secret is masked in the form in which it was sent."""
    order = OrderRequest(7, "image", "on-demand", "bitcoin", env={"TOKEN": secret})
    call = endpoints.create_order(order)
    with pytest.raises(FieldError) as caught:
        decipher(call, reply({"code": 6, "error": f"no: {secret}"}))
    assert "word" not in str(caught.value)
    assert "www" not in str(caught.value)


@given(anything)
def test_printed_json_is_valid(value: Any) -> None:
    """Numbers that JSON cannot express are null."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = written({"a": value, "b": [math.nan, math.inf]})
    assert text.isprintable()
    assert text.isascii()
    assert json.loads(text, parse_constant=refuse)["b"] == [None, None]
