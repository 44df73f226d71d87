"""The service's field names are written in `_api`, and read in `models`; nowhere above."""

from __future__ import annotations

import ast
from pathlib import Path

import clore_ai

SOURCE = Path(clore_ai.__file__).parent
WIRE = {"renting_server", "spotprice", "desired_price", "currency_rates_in_usd", "tcp_ports"}
BELOW = {"_api", "models", "_values"}


def test_the_wire_stays_below():
    """Else the same dict is read back by name again and again, and a typo is found by no tool."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.value}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).parts[0] not in BELOW
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in WIRE
    ]
    assert found == []
