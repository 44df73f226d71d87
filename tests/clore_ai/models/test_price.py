"""One module converts between days and hours and formats prices; the service's are per day."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import clore_ai
from clore_ai.models import Order, SpotMarket
from clore_ai.models.price import USD, Price, Rates, columns, daily, hourly, in_words, per_day
from clore_ai.rental.market.rates import price_of

SOURCE = Path(clore_ai.__file__).parent


def test_a_price_in_all_units():
    """0.0001 bitcoin a day at $60,000 is $6 a day, $0.25 an hour."""
    price = Price(0.0001, "bitcoin", 60_000.0)
    assert price.usd_per_day == pytest.approx(6.0)
    assert price.usd_per_hour == pytest.approx(0.25)
    assert price.text() == "$0.2500/h = $6.00/day"
    assert per_day(0.25, 60_000.0) == pytest.approx(0.0001)


def test_unknown_is_never_0():
    """It is None, and shown as `-`."""
    price = Price(1.0, "bitcoin", None)
    assert price.usd_per_day is price.usd_per_hour is None
    assert price.text() == in_words(None) == "- = -"
    assert (hourly(None), daily(None), columns(None)) == ("-", "-", ("-", "-"))
    assert columns(6.0) == ("0.2500", "6.00")


def test_the_last_rate_counts():
    """An invalid rate does not."""
    rates = Rates({"bitcoin": 1.0})
    rates.note({"bitcoin": 2.0, "CLORE-Blockchain": 0.0})
    rates.note(None)
    assert (rates.usd("bitcoin"), rates.usd("CLORE-Blockchain"), rates.usd(None)) == (
        2.0,
        None,
        None,
    )
    assert rates.usd("bitcoin", 3.0) == 3.0
    assert rates.price(4.0, "bitcoin") == Price(4.0, "bitcoin", 2.0)


def test_a_dollar_is_worth_a_dollar():
    """A recorded rate for it is ignored: the service's coin for USD is pegged."""
    assert Rates().usd(USD) == Rates({USD: 2.0}).usd(USD, 3.0) == 1.0


def test_an_auction_provides_rates():
    market = SpotMarket.model_validate({"currency_rates_in_usd": {"bitcoin": 5.0, "odd": -1.0}})
    assert market.rates.known == {"bitcoin": 5.0}
    assert SpotMarket().rates.known == {}


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({}, None),
        ({"price": 2.0, "currency": USD}, Price(2.0, USD, 1.0)),
        ({"price": 2.0, "currency": "bitcoin"}, Price(2.0, "bitcoin", 10.0)),
        ({"price": 2.0, "currency": "odd"}, Price(2.0, "odd", None)),
        (
            {"price": 2.0, "currency": "bitcoin", "original_price_usd": 8.0},
            Price(2.0, "bitcoin", 4.0),
        ),
        ({"original_price_usd": 8.0}, Price(8.0, USD, 1.0)),
    ],
)
def test_the_price_of_an_order(fields, price):
    """Its own price in USD counts before the current rates."""
    order = Order.model_validate({"id": 1, **fields})
    assert price_of(order, Rates({"bitcoin": 10.0})) == price


def test_only_one_module_converts_and_formats_prices():
    """Hours per day, dollars per hour and per day occur in `models.price` only."""
    forbidden = re.compile(r"[*/] 24\b(?!\.0| \*)|:\.[24]f\}/(h|day)\b")
    found = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in sorted(SOURCE.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if forbidden.search(line) and path.name != "price.py"
    ]
    assert found == []
