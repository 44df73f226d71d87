"""Misbehaviour on request: all that api.md reports of the service and of what stands before it.

A fault waits for a request (or an order) that it fits, happens, and is used up. Nothing here does
I/O; app.py carries request faults out, and orders carry theirs as `Trouble`.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Literal, Optional, Union, cast, get_args

from clore_sandbox.orders import Trouble

__all__ = ["Fault", "FaultKind", "Faults", "OrderFaultKind", "RequestFaultKind"]

RequestFaultKind = Literal[
    "late",  # acts, and answers delay_s later
    "cut_before",  # the connection is cut; nothing was done
    "act_then_cut",  # done, and the connection is cut without an answer
    "act_then_500",  # done, and HTTP 500 {"code":1} for an answer
    "500",  # HTTP 500 {"code":1}; nothing was done
    "rate_limited",  # HTTP 429 {"code":5}; nothing was done
    "cdn_403",  # the CDN's plain text; nothing was done
    "html_502",  # the CDN's page; nothing was done
    "truncated_json",  # acts, and answers half of the body
    "missing_fields",  # acts, and answers {"code":0} alone
]
OrderFaultKind = Literal[
    "never_boots",  # deploying for ever
    "no_ssh",  # deployed, and the SSH port refuses
    "refuses_key",  # deployed, and nobody gets in
    "host_dies",  # deployed, and its host goes offline delay_s later
]
FaultKind = Union[RequestFaultKind, OrderFaultKind]

_REQUEST_KINDS = frozenset(get_args(RequestFaultKind))
_ORDER_KINDS = frozenset(get_args(OrderFaultKind))
_DEFAULT_DELAY_S = 2.0


@dataclass
class Fault:
    """One fault that waits. `times` None: until cleared; `key` None: of every account."""

    endpoint: str
    kind: FaultKind
    times: Optional[int]
    key: Optional[str]
    probability: float
    delay_s: float


class Faults:
    """The faults that wait; safe to use from any thread."""

    def __init__(self, seed: int = 0) -> None:
        self._waiting: list[Fault] = []
        self._draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._lock = threading.Lock()

    def add(
        self,
        endpoint: str,
        kind: FaultKind,
        *,
        times: Optional[int] = 1,
        key: Optional[str] = None,
        probability: float = 1.0,
        delay_s: Optional[float] = None,
    ) -> None:
        """Have `endpoint` (`*`: any) misbehave for the next `times` fitting requests."""
        if kind not in _REQUEST_KINDS | _ORDER_KINDS:
            raise ValueError(
                f"no such fault: {kind}; there are {sorted(_REQUEST_KINDS | _ORDER_KINDS)}"
            )
        if kind in _ORDER_KINDS and endpoint not in ("create_order", "*"):
            raise ValueError(f"{kind} befalls an order: its endpoint is create_order")
        delay = _DEFAULT_DELAY_S if delay_s is None else delay_s
        with self._lock:
            self._waiting.append(Fault(endpoint, kind, times, key, probability, delay))

    def clear(self) -> None:
        """Misbehave no more."""
        with self._lock:
            self._waiting.clear()

    def for_request(self, endpoint: str, key: Optional[str]) -> Optional[Fault]:
        """The fault that befalls this request; it counts as used."""
        return self._take(endpoint, key, _REQUEST_KINDS)

    def for_order(self, key: Optional[str]) -> Optional[Trouble]:
        """The trouble that the order made by this request will have."""
        fault = self._take("create_order", key, _ORDER_KINDS)
        return None if fault is None else Trouble(cast("str", fault.kind), fault.delay_s)

    def _take(self, endpoint: str, key: Optional[str], kinds: frozenset[str]) -> Optional[Fault]:
        with self._lock:
            for fault in self._waiting:
                fits = fault.kind in kinds and fault.endpoint in (endpoint, "*")
                if not fits or fault.key not in (None, key):
                    continue
                if self._draw.random() >= fault.probability:
                    continue
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._waiting.remove(fault)
                return fault
        return None
