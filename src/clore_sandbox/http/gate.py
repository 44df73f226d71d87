"""Who calls, and whether it is within the pace: what stands before every call but a public one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from clore_sandbox import books

if TYPE_CHECKING:
    from clore_sandbox.market import Market
    from clore_sandbox.rules.limits import Limits

__all__ = ["Gate", "Pace", "Windows"]


class Pace(Protocol):
    """The windows of all keys, wherever they are kept."""

    async def admit(self, account: int, endpoint: str, now_ms: int) -> bool:
        """Whether this arrival is within the limits; if it is, it starts its windows."""
        ...


class Windows:
    """Kept in this process; None: no limits."""

    def __init__(self, limits: Limits | None) -> None:
        self._limits = limits

    async def admit(self, account: int, endpoint: str, now_ms: int) -> bool:
        """See `Pace`."""
        return self._limits is None or self._limits.admit(account, endpoint, now_ms)


class Gate:
    """Keys and pace. An account's key is looked up once, as long as the market's state stays."""

    def __init__(self, market: Market, pace: Pace) -> None:
        self._market = market
        self.pace = pace
        self._accounts: dict[str, int] = {}
        self._state = market.state

    async def account(self, key: str) -> int:
        """The account of a key; 0 where there is none."""
        state = self._market.state
        if state != self._state:
            self._state, self._accounts = state, {}
        known = self._accounts.get(key)
        if known is None:
            known = await self._market.store.read(lambda tx: books.account_of(tx, key)) or 0
            # One that is not there now may come; and it is asked for in vain only by mistake.
            if known and state == self._market.state:
                self._accounts[key] = known
        return known
