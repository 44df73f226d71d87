"""Controls of faults, and the journal that says what each request did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.control import schemas
from clore_sandbox.control.base import ControlBase
from clore_sandbox.control.operation import operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_sandbox.faults.faults import Fault, FaultKind
    from clore_sandbox.faults.journal import Entry

__all__ = ["FaultControls"]


class FaultControls(ControlBase):
    """Make requests and orders fail, and read the journal."""

    @operation(result={"id": {"type": "integer"}}, params=schemas.FAULT_FIELDS)
    async def fault(
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
        """Make an endpoint misbehave, once, several times or with a probability.

        Args:
            endpoint: An endpoint such as `create_order`; `*` is any.
            kind: What happens; see clore_sandbox/faults/faults.py.
            times: How many matching requests it affects; None: all, until it is removed.
            key: Affect only the account with this key.
            probability: The chance that a matching request is affected.
            delay_s: Of `late` and `retry_after` (real seconds) and `host_dies` (market seconds);
                2 by default.
            fields: Of `missing_fields` and `odd_fields`: which, at any depth. Of `missing_rows`:
                the ids of the records.

        Returns:
            The fault's number, for `remove_fault`.
        """
        return self._parts.faults.add(
            endpoint,
            kind,
            times=times,
            key=key,
            probability=probability,
            delay_s=delay_s,
            fields=fields,
        )

    @operation("GET", result={"faults": {"type": "array", "items": schemas.FAULT}})
    async def faults(self) -> list[Fault]:
        """The pending faults, oldest first."""
        return self._parts.faults.waiting()

    @operation()
    async def remove_fault(self, fault_id: int) -> None:
        """Remove a pending fault.

        Raises:
            KeyError: It is used up, or never was.
        """
        self._parts.faults.remove(fault_id)

    @operation()
    async def clear_faults(self) -> None:
        """Remove all pending faults."""
        self._parts.faults.clear()

    @operation(
        "GET",
        result={"journal": {"type": "array", "items": schemas.ENTRY}},
        params={"endpoint": schemas.text(description="Only requests to this endpoint.")},
    )
    async def journal(self, endpoint: str | None = None, *, after: int = 0) -> list[Entry]:
        """Every request, its answer, and whether it was carried out; oldest first.

        Args:
            endpoint: Only requests to this endpoint.
            after: Only entries after the one with this number.
        """
        return self._parts.journal.entries(endpoint, after)

    @operation()
    async def clear_journal(self) -> None:
        """Delete all entries of the journal."""
        self._parts.journal.clear()
