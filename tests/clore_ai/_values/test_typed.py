"""Prices, sizes, shares, dates and variables are read as a user types them."""

from __future__ import annotations

from datetime import datetime

import pytest

from clore_ai._values import days, sizes, toml, variables
from clore_ai.models import price

NOW = 1_780_000_000.0
OPTIONS = {
    "gpu": toml.Option("gpu", is_many=True),
    "max-price": toml.Option("max_price_usd"),
    "spot": toml.Option("type", flag="spot"),
    "keep": toml.Option("keep", flag=True),
}


@pytest.mark.parametrize(
    ("text", "usd_per_hour"), [("0.5", 0.5), ("$0.5/h", 0.5), ("12/day", 0.5), ("12 / D", 0.5)]
)
def test_a_price_is_per_hour(text: str, usd_per_hour: float) -> None:
    """A price per day is converted."""
    assert price.read(text) == pytest.approx(usd_per_hour)


def test_what_is_not_one_is_refused_with_the_forms() -> None:
    """The message quotes the text, and shows what to write instead."""
    for read, text in (
        (price.read, "0.5/week"),
        (sizes.read, "500"),
        (sizes.read_share, "101%"),
        (lambda text: days.read(text, NOW), "2026-13-01"),
    ):
        with pytest.raises(ValueError, match=f"'{text}' is not a .*; write "):
            read(text)


def test_a_share_is_a_number_or_percent() -> None:
    """Both are from 0 to 1."""
    assert sizes.read_share("98%") == sizes.read_share(" 0.98") == pytest.approx(0.98)


def test_a_moment_is_an_age_or_a_day_here() -> None:
    """A day begins at midnight of this machine's time zone, and ends 24 hours or so later."""
    assert days.read("7d", NOW) == NOW - 7 * 86_400
    first, last = days.read("2026-05-01", NOW), days.read("2026-05-01", NOW, end=True)
    assert datetime.fromtimestamp(first).astimezone().isoformat()[:16] == "2026-05-01T00:00"
    assert last == days.read("2026-05-02", NOW)


def test_a_time_of_another_day_has_its_date() -> None:
    """A time of today has only the clock and the time zone."""
    assert days.shown(NOW).startswith(days.clock(NOW, NOW + 40 * 86_400)[:10])
    assert len(days.clock(NOW, NOW).split()[0]) == len("12:03")


def test_variables_are_pairs_or_names_of_here() -> None:
    """Quotes and comments of a file are a shell's; a refusal quotes no value."""
    text = "# one\nexport A='1'\nB=x=y\n\nHOME\n"
    assert variables.read_lines(text, "f", {"HOME": "/h"}) == {"A": "1", "B": "x=y", "HOME": "/h"}
    with pytest.raises(ValueError, match=r"^f, line 2: write KEY=VALUE"):
        variables.read_lines("A=1\nsecret text", "f", {})


def test_options_of_a_table_are_as_typed() -> None:
    """One value fits an option that takes several; a flag of several words is the word."""
    table = {"gpu": "RTX", "max_price": 0.5, "spot": True, "keep": False, "other": 1}
    assert toml.read("f", table, OPTIONS, "other") == {
        "gpu": ("gpu", ["RTX"]),
        "max_price_usd": ("max_price", "0.5"),
        "type": ("spot", "spot"),
        "keep": ("keep", False),
    }
    assert toml.read("f", {"spot": False}, OPTIONS) == {}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"gpus": 1}, "f: there is no option 'gpus'. Did you mean 'gpu'?"),
        ({"keep": 1}, "f: keep must be true or false."),
        ({"max-price": [1]}, "f: max-price can't be [1]; write it as with --max-price."),
    ],
)
def test_a_wrong_key_or_value_is_named(table: dict[str, object], message: str) -> None:
    """With the place where it stands."""
    with pytest.raises(ValueError) as refused:
        toml.read("f", table, OPTIONS)
    assert str(refused.value) == message
