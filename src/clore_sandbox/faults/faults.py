"""Faults on demand: the misbehaviour of the service and its CDN that service.md reports.

A fault is pending until a request (or an order) matches it, happens, and is used up. Nothing here
does I/O: app.py carries out the faults of requests, and orders carry theirs as `Trouble`.
"""

from __future__ import annotations

import itertools
import math
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from clore_sandbox.api.endpoints import ENDPOINTS
from clore_sandbox.books.orders import Trouble
from clore_sandbox.faults.journal import shown_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_sandbox.values.json_types import JsonObject

__all__ = ["Fault", "FaultKind", "Faults", "OrderFaultKind", "RequestFaultKind"]

RequestFaultKind = Literal[
    "late",  # acts, and answers delay_s later (real seconds: clients time out by them)
    "cut_before",  # the connection is cut; nothing was done
    "act_then_cut",  # acts, and the connection is cut without an answer
    "act_then_500",  # acts, and answers HTTP 500 {"code":1}
    "500",  # HTTP 500 {"code":1}; nothing was done
    "rate_limited",  # HTTP 429 {"code":5}; nothing was done; times=20 is a burst
    "retry_after",  # the same with Retry-After: delay_s, in whole seconds
    "cdn_403",  # the CDN's plain text; nothing was done
    "html_502",  # the CDN's page; nothing was done
    "truncated_json",  # acts, and answers half of the body
    "missing_fields",  # acts, and answers without `fields`; by default with {"code":0} alone
    "odd_fields",  # acts, and answers with odd `fields`; by default one in four, at random
    "missing_rows",  # acts, and omits the records with the ids in `fields`; by default all
]
OrderFaultKind = Literal[
    "never_boots",  # stays deploying forever
    "no_ssh",  # deployed, but its SSH port refuses connections
    "refuses_key",  # deployed, but refuses every login
    "fewer_gpus",  # deployed, but its last GPU is missing
    "host_dies",  # deployed, but its host goes offline delay_s (market time) later
]
FaultKind = RequestFaultKind | OrderFaultKind

REQUEST_KINDS: tuple[str, ...] = get_args(RequestFaultKind)
ORDER_KINDS: tuple[str, ...] = get_args(OrderFaultKind)
BODY_KINDS = frozenset({"truncated_json", "missing_fields", "odd_fields", "missing_rows"})
"""Faults that change the body of an answer, which must not be compressed then."""
_NAMING = ("missing_fields", "odd_fields", "missing_rows")
_DEFAULT_DELAY_S = 2.0


@dataclass
class Fault:
    """One pending fault. `times` None: until cleared; `key` None: for every account."""

    id: int
    endpoint: str
    kind: FaultKind
    times: int | None
    key: str | None
    probability: float
    delay_s: float
    fields: tuple[str, ...] = ()
    happened: int = 0

    def to_json(self) -> JsonObject:
        """All fields, only the end of the key; `times` is how many are left."""
        names = ("id", "endpoint", "kind", "times", "probability", "delay_s", "happened")
        fields: JsonObject = {name: getattr(self, name) for name in names}
        return fields | {"key": shown_key(self.key), "fields": list(self.fields)}


class Faults:
    """The pending faults; safe to use from any thread."""

    def __init__(self, seed: int = 0) -> None:
        self._waiting: list[Fault] = []
        self.draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
        """Repeatable: the same seed and the same requests give the same faults."""
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def add(
        self,
        endpoint: str,
        kind: FaultKind,
        *,
        times: int | None = 1,
        key: str | None = None,
        probability: float = 1.0,
        delay_s: float | None = None,
        fields: Sequence[str] = (),
    ) -> int:
        """Make `endpoint` (`*`: any) misbehave for the next `times` matching requests.

        Faults are tried in the order in which they were added; the first that matches happens.

        Returns:
            The fault's number, for `remove`.

        Raises:
            ValueError: An unknown kind or endpoint, or a value out of its range.
        """
        delay = _DEFAULT_DELAY_S if delay_s is None else delay_s
        _check(endpoint, kind, times=times, probability=probability, delay_s=delay, fields=fields)
        with self._lock:
            number = next(self._numbers)
            self._waiting.append(
                Fault(number, endpoint, kind, times, key, probability, delay, tuple(fields))
            )
        return number

    def waiting(self) -> list[Fault]:
        """The pending faults, oldest first."""
        with self._lock:
            return list(self._waiting)

    def remove(self, number: int) -> None:
        """Remove one; KeyError if it is used up, or never was."""
        with self._lock:
            found = [fault for fault in self._waiting if fault.id == number]
            if not found:
                raise KeyError(f"no fault {number} is pending")
            self._waiting.remove(found[0])

    def clear(self) -> None:
        """Remove all."""
        with self._lock:
            self._waiting.clear()

    def for_request(self, endpoint: str, key: str | None) -> Fault | None:
        """The fault of this request, if any; it counts as used."""
        return self._take(endpoint, key, REQUEST_KINDS)

    def for_order(self, key: str | None) -> Trouble | None:
        """The fault of the order that this request creates, if any; it counts as used."""
        fault = self._take("create_order", key, ORDER_KINDS)
        return None if fault is None else Trouble(cast("str", fault.kind), fault.delay_s)

    def _take(self, endpoint: str, key: str | None, kinds: Sequence[str]) -> Fault | None:
        with self._lock:
            for fault in self._waiting:
                matches = fault.kind in kinds and fault.endpoint in (endpoint, "*")
                if not matches or fault.key not in (None, key):
                    continue
                if self.draw.random() >= fault.probability:
                    continue
                fault.happened += 1
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._waiting.remove(fault)
                return fault
        return None


def _check(
    endpoint: str,
    kind: str,
    *,
    times: int | None,
    probability: float,
    delay_s: float,
    fields: Sequence[str],
) -> None:
    if kind not in REQUEST_KINDS + ORDER_KINDS:
        raise ValueError(f"no such fault: {kind}; there are {sorted(REQUEST_KINDS + ORDER_KINDS)}")
    known = {name for _, name in ENDPOINTS}
    if endpoint not in known | {"*"}:
        raise ValueError(f"no such endpoint: {endpoint}; there are * and {sorted(known)}")
    if kind in ORDER_KINDS and endpoint not in ("create_order", "*"):
        raise ValueError(f"{kind} affects orders: its endpoint must be create_order")
    if times is not None and times < 1:
        raise ValueError("times must be 1 or more, or None: until it is cleared")
    if not 0 < probability <= 1:
        raise ValueError("probability must be above 0 and at most 1")
    if not (math.isfinite(delay_s) and delay_s >= 0):
        raise ValueError("delay_s must be a number of seconds, 0 or more")
    if isinstance(fields, str):
        raise ValueError("fields must be a list of names")  # noqa: TRY004 - one kind of error for all
    if fields and kind not in _NAMING:
        raise ValueError(f"fields go with {', '.join(_NAMING)}, not with {kind}")
