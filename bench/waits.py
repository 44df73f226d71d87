"""What a command's own calls must wait for, whoever makes them: the pace of the account."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clore_sandbox import Sandbox

CREATE_GAP_S = 5.0


def must_wait_s(sandbox: Sandbox) -> float:
    """By the journal: a second between any two calls, five between two of `create_order`."""
    calls = [e.endpoint for e in sandbox.journal()]
    creates = calls.count("create_order")
    return float(max(0, len(calls) - 1)) + CREATE_GAP_S * max(0, creates - 1)
