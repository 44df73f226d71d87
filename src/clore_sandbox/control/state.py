"""Controls of the whole state: reset it, take a snapshot, load one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.books import state
from clore_sandbox.control.base import ControlBase
from clore_sandbox.control.operation import operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.store import Tx
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["StateControls"]


class StateControls(ControlBase):
    """Replacing the state also clears faults and journal, and restarts the clock's first speed."""

    @operation()
    async def reset(self) -> None:
        """Restore the state at the start: no orders, one account, the inventory's servers, now."""
        parts = self._parts
        await self._market.reset(lambda tx: parts.first_account(tx, parts.api_key))
        self._forget()

    @operation("GET", result={"snapshot": {"type": "object"}})
    async def snapshot(self) -> JsonObject:
        """Accounts, wallets, servers, orders and the time, as JSON; it holds keys and passwords."""
        now_ms = self._market.clock.now_ms()
        return await self._market.store.run(
            lambda tx: state.dump(tx, now_ms=now_ms, first=self._parts.api_key)
        )

    @operation(max_body=256_000_000)
    async def load(self, snapshot: Mapping[str, object]) -> None:
        """Replace the state by a snapshot, of this marketplace or of another one.

        Market time is the snapshot's again; rooms of its orders boot again, empty. The first
        account keeps this marketplace's key.

        Raises:
            ValueError: It is not a snapshot, or of another version; nothing is changed.
        """
        read = state.read(snapshot)

        def write(tx: Tx) -> None:
            try:
                state.restore(tx, read, first=self._parts.api_key)
            except Exception as exc:  # whatever the reason, nothing is changed
                raise ValueError(f"this snapshot cannot be loaded: {exc}") from exc

        await self._market.replace(write, now_ms=read.now_ms)
        self._forget()

    def _forget(self) -> None:
        """Clear what no snapshot holds: faults, journal, and the windows of the rate limits."""
        self._parts.faults.clear()
        self._parts.journal.clear()
        if self._parts.limits is not None:
            self._parts.limits.forget()
