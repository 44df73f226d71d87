"""The waits that the account's pace requires of a command's calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clore_sandbox import Sandbox

CREATE_GAP_S = 5.0


def must_wait_s(sandbox: Sandbox) -> float:
    """By the journal: 1 s between any two calls, 5 s between two calls of `create_order`."""
    calls = [e.endpoint for e in sandbox.journal()]
    creates = calls.count("create_order")
    return float(max(0, len(calls) - 1)) + CREATE_GAP_S * max(0, creates - 1)
