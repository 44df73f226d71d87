"""Controls of accounts: create them, change their keys, read and fill their wallets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox import books
from clore_sandbox.control import schemas
from clore_sandbox.control.base import Amount, Conflict, ControlBase, amounts, coins
from clore_sandbox.control.operation import operation
from clore_sandbox.market import views
from clore_sandbox.store import AlreadyThere

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from clore_sandbox.store import Tx
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["Account", "AccountControls"]

_TAKEN = "another account has this key"


@dataclass(frozen=True)
class Account:
    """A key and its coins."""

    key: str
    wallets: dict[str, Decimal]

    def to_json(self) -> JsonObject:
        """The fields as JSON; amounts are strings."""
        return {"key": self.key, "wallets": {coin: f"{n:f}" for coin, n in self.wallets.items()}}


class AccountControls(ControlBase):
    """A key of None is the first account's."""

    @operation(result={"api_key": schemas.text()})
    async def create_account(
        self, balances: Mapping[str, Amount] | None = None, api_key: str | None = None
    ) -> str:
        """Create an account and return its key.

        Args:
            balances: Its coins; None: as many as the first account has by default.
            api_key: Its key; None: a random one.
        """
        units = self._parts.balances if balances is None else amounts(balances)
        try:
            return await self._market.store.run(lambda tx: books.create_account(tx, api_key, units))
        except AlreadyThere as exc:
            raise Conflict(_TAKEN) from exc

    @operation(result={"api_key": schemas.text()})
    async def rotate_key(self, old_key: str, new_key: str | None = None) -> str:
        """Replace an account's key and return the new one; the old one no longer works.

        Raises:
            ValueError: It is the first account's key, which stays; or the new one is taken.
        """
        if old_key == self._parts.api_key:
            raise Conflict("the first account keeps its key; take one of create_account")
        try:
            key = await self._market.store.run(
                lambda tx: books.rotate_key(tx, self._account(tx, old_key), new_key)
            )
        except AlreadyThere as exc:
            raise Conflict(_TAKEN) from exc
        await self._market.reload()  # the gate caches whose key it is
        return key

    @operation("GET", result={"accounts": {"type": "array", "items": schemas.ACCOUNT}})
    async def accounts(self) -> list[Account]:
        """Every account with its key and its exact coins, billed up to now; the first one first."""
        await self._market.settle()

        def work(tx: Tx) -> list[Account]:
            rows = tx.all("SELECT id, api_key FROM accounts ORDER BY id")
            return [Account(row["api_key"], coins(books.wallets(tx, row["id"]))) for row in rows]

        return await self._market.store.run(work)

    @operation(result={"wallet": schemas.WALLETS})
    async def wallet(self, key: str | None = None) -> dict[str, Decimal]:
        """The exact coins of an account, billed up to now."""
        account = await self._market.store.run(lambda tx: self._account(tx, key))
        return coins(await views.wallets(self._market, account))

    @operation(result={"wallet": schemas.WALLETS})
    async def top_up(self, key: str | None, coin: str, amount: Amount) -> dict[str, Decimal]:
        """Add coins to an account's wallet; its coins afterwards."""
        units = amounts({coin: amount})[coin]

        def work(tx: Tx) -> None:
            account = self._account(tx, key)
            try:
                books.top_up(tx, account, coin, units)
            except ValueError as exc:
                raise Conflict(str(exc)) from exc

        await self._market.store.run(work)
        return await self.wallet(key)
