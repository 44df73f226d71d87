"""What every group of controls works on: the marketplace's parts, accounts and servers."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from clore_sandbox import books
from clore_sandbox.faults.journal import shown_key
from clore_sandbox.values.money import COINS, from_units, to_units

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clore_sandbox.faults.faults import Faults
    from clore_sandbox.faults.journal import Journal
    from clore_sandbox.market import Market
    from clore_sandbox.rules.limits import Limits
    from clore_sandbox.store import Tx

__all__ = ["Amount", "Conflict", "ControlBase", "Parts", "amounts", "coins"]

Amount = int | float | str | Decimal


class Conflict(ValueError):  # noqa: N818 - read as a sentence where it is raised
    """The request conflicts with the marketplace's state."""


@dataclass(frozen=True)
class Parts:
    """The parts of a marketplace that controls change."""

    market: Market
    faults: Faults
    journal: Journal
    limits: Limits | None
    """The rate limits' windows; None if limits are off."""
    api_key: str
    """The first account's key, which `reset` and `load` keep."""
    first_account: Callable[[Tx, str], object]
    """Creates the first account again, with this key."""
    balances: Mapping[str, int]
    """Default wallets of a new account, in units per coin."""


class ControlBase:
    """The parts, and how an account and a server are found."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._market = parts.market

    def _account(self, tx: Tx, key: str | None) -> int:
        account = books.account_of(tx, self._parts.api_key if key is None else key)
        if account is None:
            raise KeyError(f"no account has the key {shown_key(key)}")
        return account

    def _check_server(self, server_id: int) -> None:
        if self._market.servers.record(server_id) is None:
            raise KeyError(f"no server {server_id} in this marketplace")


def amounts(balances: Mapping[str, Amount]) -> dict[str, int]:
    """Units per coin; ValueError for an unknown coin, or an amount below zero."""
    units: dict[str, int] = {}
    for coin, amount in balances.items():
        if coin not in COINS:
            raise ValueError(f"no such coin: {coin}; there are {', '.join(COINS)}")
        try:
            units[coin] = to_units(amount)
        except ArithmeticError as exc:
            raise ValueError(f"not an amount: {amount!r}") from exc
        if units[coin] < 0:
            raise ValueError(f"no wallet is below zero: {amount} {coin}")
    return units


def coins(units: Mapping[str, int]) -> dict[str, Decimal]:
    """Exact coins per wallet."""
    return {coin: from_units(units[coin]) for coin in COINS if coin in units}
