"""`clore` with the client's waits shortened as in `tests.schedules`, and otherwise unchanged."""

from __future__ import annotations

from clore_ai.cli import main as clore
from tests.schedules.act import scale


def main() -> None:
    """Run the command line."""
    scale()
    clore()
