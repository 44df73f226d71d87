"""Checks before a call is carried out: whose key it has, and whether it keeps the rate limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from clore_sandbox import books

if TYPE_CHECKING:
    from clore_sandbox.market import Market
    from clore_sandbox.rules.limits import Limits

__all__ = ["Gate", "Pace", "Windows"]


class Pace(Protocol):
    """The rate limits of all keys, in whichever process they are kept."""

    async def admit(self, account: int, endpoint: str, now_ms: int) -> bool:
        """Whether this arrival is within the limits; if it is, it starts its windows."""
        ...


class Windows:
    """Rate limits kept in this process; None: no limits."""

    def __init__(self, limits: Limits | None) -> None:
        self._limits = limits

    async def admit(self, account: int, endpoint: str, now_ms: int) -> bool:
        """See `Pace`."""
        return self._limits is None or self._limits.admit(account, endpoint, now_ms)


class Gate:
    """Keys and pace. Known keys are cached until the market's state is replaced."""

    def __init__(self, market: Market, pace: Pace) -> None:
        self._market = market
        self.pace = pace
        self._accounts: dict[str, int] = {}
        self._generation = market.generation

    async def account(self, key: str) -> int:
        """The account of a key; 0 for an unknown key."""
        generation = self._market.generation
        if generation != self._generation:
            self._generation, self._accounts = generation, {}
        known = self._accounts.get(key)
        if known is None:
            known = await self._market.store.read(lambda tx: books.account_of(tx, key)) or 0
            # An unknown key is not cached: its account may be created later.
            if known and generation == self._market.generation:
                self._accounts[key] = known
        return known
