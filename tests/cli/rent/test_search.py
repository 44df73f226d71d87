"""`clore search`: both units, what was left out and why, and only data on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.driver import Clore, Renter


def rows(text: str) -> list[dict[str, str]]:
    header, *lines = (line.split("\t") for line in text.splitlines())
    return [dict(zip(header, line)) for line in lines]


def test_a_pipe_and_json_have_both_units(renter: Renter) -> None:
    """A pipe gets one tab-separated line a server; $/h and $/day are both there, and agree."""
    result = renter("search", "--limit", 5)
    shown = rows(result.out)
    assert len(shown) == 5
    listed = renter("search", "--limit", 5, "--json").data
    for row, server in zip(shown, listed):
        assert row["ID"] == str(server["id"])
        assert float(row["$/h"]) == pytest.approx(server["price_usd_per_hour"], abs=1e-4)
        assert float(row["$/day"]) == pytest.approx(server["price_usd_per_day"], abs=1e-2)
        assert server["price_usd_per_day"] == pytest.approx(server["price_usd_per_hour"] * 24)
    assert result.err.startswith("5 of ")  # The count of servers is not data.


def test_filters_and_sorting(renter: Renter) -> None:
    """--gpu matches part of the name in any case; prices are per hour unless stated as per day."""
    found = renter("search", "--gpu", "rtx 4090", "--min-gpu", 2, "--json").data
    assert found
    assert all("4090" in s["gpu"] and s["gpu_count"] >= 2 and s["available"] for s in found)
    prices = [s["price_usd_per_hour"] for s in found]
    assert prices == sorted(prices)

    limit = sorted(prices)[len(prices) // 2]
    by_hour = renter("search", "--max-price", f"{limit}/h", "--limit", 1000, "--json")
    by_day = renter("search", "--max-price", f"{limit * 24}/day", "--limit", 1000, "--json")
    bare = renter("search", "--max-price", limit, "--limit", 1000, "--json")
    assert by_hour.data == by_day.data == bare.data
    assert max(s["price_usd_per_hour"] for s in by_hour.data) <= limit + 1e-9

    ram = [s["ram_gb"] for s in renter("search", "--sort", "ram", "--min-ram", 60, "--json").data]
    assert ram == sorted(ram, reverse=True)
    assert min(ram) >= 60
    assert any(not s["available"] for s in renter("search", "--all", "--json").data)


def test_gpu_names_without_spaces(renter: Renter) -> None:
    """A GPU name is found without its spaces; for an unknown one, similar names are suggested."""
    spaced = renter("search", "--gpu", "RTX 4090", "--all", "--json")
    assert renter("search", "--gpu", "rtx4090", "--all", "--json").data == spaced.data
    typo = renter("search", "--gpu", "RTZ 4090", fails=6)
    assert "No server has the GPU 'RTZ 4090'" in typo.err
    assert "Similar: RTX 4090" in typo.err
    unlike = renter("search", "--gpu", "h100", fails=6)
    assert "No server has the GPU 'h100'" in unlike.err
    assert "Similar: A100" in unlike.err


def test_several_gpus_match_any_of_them(renter: Renter) -> None:
    def ids(*names: str) -> list[int]:
        gpus = [word for name in names for word in ("--gpu", name)]
        return [s["id"] for s in renter("search", *gpus, "--limit", 1000, "--json").data]

    both = ids("RTX 4090", "RTX 3090")
    assert sorted(both) == sorted([*ids("RTX 4090"), *ids("RTX 3090")])
    none = renter("search", "--gpu", "RTX 4090", "--gpu", "A100", "--max-price", 0.0001, fails=6)
    assert "(GPU RTX 4090 or A100, up to" in none.err
    typos = renter("search", "--gpu", "RTZ 4090", "--gpu", "RTX 409x", fails=6)
    assert "No server has the GPU 'RTZ 4090' or 'RTX 409x', of" in typos.err


def test_servers_without_a_known_price_are_counted(new_user: Clore, tmp_path: Path) -> None:
    """An unknown price is "-", never 0; a price filter drops such servers and counts them."""
    server = {
        "id": 1,
        "rented": False,
        "specs": {"gpu": "1x NVIDIA GeForce RTX 3090", "ram": 32},
        "price": {"on_demand": {"bitcoin": 1e-5}, "spot": {}},
        "allowed_coins": ["CLORE-Blockchain"],
    }
    priced = {**server, "id": 2, "price": {"on_demand": {"USD-Blockchain": 2.4}},
              "allowed_coins": ["USD-Blockchain"]}  # fmt: skip
    with Sandbox(inventory={"servers": [server, priced]}, limits=False) as market:
        user = new_user.with_(CLORE_BASE_URL=market.base_url)
        result = user("search")
        assert [(r["ID"], r["$/h"], r["$/day"]) for r in rows(result.out)] == [
            ("2", "0.1000", "2.40"),
            ("1", "-", "-"),
        ]
        assert "1 of them without a known price in USD" in result.err
        result = user("search", "--max-price", "1")
        assert [r["ID"] for r in rows(result.out)] == ["2"]
        assert "Left out 1 more" in result.err


def test_a_captured_marketplace_is_listed_whole(new_user: Clore, inventory_file: Path) -> None:
    """All 3,500 servers of a captured marketplace are listed, each with a price or "-"."""
    with Sandbox(inventory=inventory_file, limits=False, provision=False) as market:
        user = new_user.with_(CLORE_BASE_URL=market.base_url)
        result = user("search", "--all", "--limit", 10_000)
        assert len(rows(result.out)) == 3500
        assert all((r["$/h"] == "-") == (r["$/day"] == "-") for r in rows(result.out))
        assert float(rows(user("search", "--limit", 1).out)[0]["$/h"]) > 0
