"""Misbehaviour on request: all that service.md reports of the service and of what stands before it.

A fault waits for a request (or an order) that it fits, happens, and is used up. Nothing here does
I/O; app.py carries request faults out, and orders carry theirs as `Trouble`.
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
    "late",  # acts, and answers delay_s later (seconds of the world: clients time out by it)
    "cut_before",  # the connection is cut; nothing was done
    "act_then_cut",  # done, and the connection is cut without an answer
    "act_then_500",  # done, and HTTP 500 {"code":1} for an answer
    "500",  # HTTP 500 {"code":1}; nothing was done
    "rate_limited",  # HTTP 429 {"code":5}; nothing was done; times=20 is a burst
    "retry_after",  # likewise, and a Retry-After of delay_s, in whole seconds
    "cdn_403",  # the CDN's plain text; nothing was done
    "html_502",  # the CDN's page; nothing was done
    "truncated_json",  # acts, and answers half of the body
    "missing_fields",  # acts, and answers without `fields`; none named: {"code":0} alone
    "odd_fields",  # acts, and answers with `fields` odd; none named: one in four, drawn
    "missing_rows",  # acts, and its lists lack the records with the ids in `fields`; none: all
]
OrderFaultKind = Literal[
    "never_boots",  # deploying for ever
    "no_ssh",  # deployed, and the SSH port refuses
    "refuses_key",  # deployed, and nobody gets in
    "fewer_gpus",  # deployed, and its last GPU is missing
    "host_dies",  # deployed, and its host goes offline delay_s (market time) later
]
FaultKind = RequestFaultKind | OrderFaultKind

REQUEST_KINDS: tuple[str, ...] = get_args(RequestFaultKind)
ORDER_KINDS: tuple[str, ...] = get_args(OrderFaultKind)
BODY_KINDS = frozenset({"truncated_json", "missing_fields", "odd_fields", "missing_rows"})
"""What befalls the body of an answer: it is needed as JSON, not compressed."""
_NAMING = ("missing_fields", "odd_fields", "missing_rows")
_DEFAULT_DELAY_S = 2.0


@dataclass
class Fault:
    """One fault that waits. `times` None: until cleared; `key` None: of every account."""

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
        """All of it, of the key its end; `times` is how many are left."""
        names = ("id", "endpoint", "kind", "times", "probability", "delay_s", "happened")
        fields: JsonObject = {name: getattr(self, name) for name in names}
        return fields | {"key": shown_key(self.key), "fields": list(self.fields)}


class Faults:
    """The faults that wait; safe to use from any thread."""

    def __init__(self, seed: int = 0) -> None:
        self._waiting: list[Fault] = []
        self.draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
        """Repeatable: the same seed and the same requests give the same misbehaviour."""
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
        """Have `endpoint` (`*`: any) misbehave for the next `times` fitting requests.

        Faults are tried in the order in which they were added; the first that fits happens.

        Returns:
            The fault's number, for `remove`.

        Raises:
            ValueError: No such kind or endpoint, or a value that is out of its range.
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
        """The faults that are not used up, oldest first."""
        with self._lock:
            return list(self._waiting)

    def remove(self, number: int) -> None:
        """Take one back; KeyError if it is used up, or never was."""
        with self._lock:
            found = [fault for fault in self._waiting if fault.id == number]
            if not found:
                raise KeyError(f"no fault {number} waits")
            self._waiting.remove(found[0])

    def clear(self) -> None:
        """Misbehave no more."""
        with self._lock:
            self._waiting.clear()

    def for_request(self, endpoint: str, key: str | None) -> Fault | None:
        """The fault that befalls this request; it counts as used."""
        return self._take(endpoint, key, REQUEST_KINDS)

    def for_order(self, key: str | None) -> Trouble | None:
        """The trouble that the order made by this request will have."""
        fault = self._take("create_order", key, ORDER_KINDS)
        return None if fault is None else Trouble(cast("str", fault.kind), fault.delay_s)

    def _take(self, endpoint: str, key: str | None, kinds: Sequence[str]) -> Fault | None:
        with self._lock:
            for fault in self._waiting:
                fits = fault.kind in kinds and fault.endpoint in (endpoint, "*")
                if not fits or fault.key not in (None, key):
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
        raise ValueError(f"{kind} befalls an order: its endpoint is create_order")
    if times is not None and times < 1:
        raise ValueError("times is 1 or more, or None: until it is cleared")
    if not 0 < probability <= 1:
        raise ValueError("probability is above 0 and at most 1")
    if not (math.isfinite(delay_s) and delay_s >= 0):
        raise ValueError("delay_s is a number of seconds, not below 0")
    if isinstance(fields, str):
        raise ValueError("fields is a list of names")  # noqa: TRY004 - one kind of error for all
    if fields and kind not in _NAMING:
        raise ValueError(f"fields go with {', '.join(_NAMING)}, not with {kind}")
