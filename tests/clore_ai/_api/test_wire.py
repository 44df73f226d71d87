"""The service's field names are written in `_api` and read in `models`, and nowhere above."""

from __future__ import annotations

import ast
from pathlib import Path

import clore_ai

SOURCE = Path(clore_ai.__file__).parent
WIRE = {"renting_server", "spotprice", "desired_price", "currency_rates_in_usd", "tcp_ports"}
BELOW = {"_api", "models", "_values"}


def test_field_names_of_the_service_stay_in_their_layers():
    """Above these layers no tool would find a typo in such a name."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.value}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).parts[0] not in BELOW
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in WIRE
    ]
    assert found == []
