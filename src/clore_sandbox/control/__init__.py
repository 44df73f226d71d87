"""What a test may do to a marketplace beside the API: time, faults, accounts, servers, state.

Each control is written once, as a method of `Control`, which runs on the event loop. `Sandbox` has
the same methods for any thread (blocking.py), and `/control/NAME` offers them over HTTP (http.py);
both are derived from `Control`.

ValueError: an argument is invalid, and nothing was changed; its subclass `Conflict`: it conflicts
with the state. KeyError: no such account, server or fault.
"""

from __future__ import annotations

from clore_sandbox.control.accounts import Account, AccountControls
from clore_sandbox.control.base import Amount, Conflict, Parts, amounts
from clore_sandbox.control.clock import ClockControls, ClockState
from clore_sandbox.control.faults import FaultControls
from clore_sandbox.control.operation import OPERATIONS, Operation
from clore_sandbox.control.servers import ServerControls
from clore_sandbox.control.state import StateControls

__all__ = [
    "OPERATIONS",
    "Account",
    "Amount",
    "ClockState",
    "Conflict",
    "Control",
    "Operation",
    "Parts",
    "amounts",
]


class Control(ClockControls, FaultControls, AccountControls, ServerControls, StateControls):
    """All controls of one marketplace; every coroutine runs on its event loop."""
