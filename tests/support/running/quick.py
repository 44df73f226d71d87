"""The client's waits, shortened for the marketplaces of tests."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from waiting import patience

from clore_ai._api.waits import WAITS

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKOFF_S, LOOK_FOR_S, SILENT_S = 0.05, 2.0, 8.0


def scale() -> None:
    """Shorten the waits of this process."""
    WAITS.backoff_s, WAITS.look_for_s = BACKOFF_S, patience(LOOK_FOR_S)
    WAITS.silent_s = WAITS.report_after_s = patience(SILENT_S)


@contextmanager
def quick() -> Iterator[None]:
    """Shorten the waits in this block."""
    before = asdict(WAITS)
    scale()
    try:
        yield
    finally:
        vars(WAITS).update(before)


def clore() -> None:
    """Run the command line with short waits, and check that flows do no I/O.

    This process may be a fork of one that had another TZ.
    """
    import flows

    from clore_ai.cli import main

    time.tzset()
    scale()
    flows.watch()
    main()
