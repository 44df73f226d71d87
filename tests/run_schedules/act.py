"""`clore` with the client's waits shortened as in `tests.schedules`; all else is as shipped."""

from __future__ import annotations

from clore_ai.cli import main as clore
from tests.schedules.act import scale


def main() -> None:
    """Run the command line."""
    scale()
    clore()
