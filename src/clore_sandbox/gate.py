"""Who calls, and whether it is within the pace: what stands before every call but a public one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Protocol, cast

from clore_sandbox import books
from clore_sandbox.messages import Admit

if TYPE_CHECKING:
    from clore_sandbox.limits import Limits
    from clore_sandbox.link import Link
    from clore_sandbox.store import Store

__all__ = ["Gate", "Pace", "Windows", "WorkersWindows"]


class Pace(Protocol):
    """The windows of all keys, wherever they are kept."""

    async def admit(self, account: int, endpoint: str, now_ms: int) -> bool:
        """Whether this arrival is within the limits; if it is, it starts its windows."""
        ...


class Windows:
    """Kept in this process; None: no limits."""

    def __init__(self, limits: Optional[Limits]) -> None:
        self._limits = limits

    async def admit(self, account: int, endpoint: str, now_ms: int) -> bool:
        """See `Pace`."""
        return self._limits is None or self._limits.admit(account, endpoint, now_ms)


class WorkersWindows:
    """A worker's: kept by the marketplace's own process, so that all workers share them."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def admit(self, account: int, endpoint: str, now_ms: int) -> bool:
        """See `Pace`."""
        return cast("bool", await self._link.ask(Admit(account, endpoint, now_ms)))


class Gate:
    """Keys and pace."""

    def __init__(self, store: Store, pace: Pace) -> None:
        self._store = store
        self.pace = pace

    async def account(self, key: str) -> int:
        """The account of a key; 0 where there is none."""
        return await self._store.read(lambda tx: books.account_of(tx, key)) or 0
