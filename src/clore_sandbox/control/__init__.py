"""What a test may do to a marketplace, beside the API that is imitated.

`Control` does it on the event loop. `Sandbox` has the same methods for any thread (handle.py) and
`/control/NAME` the same over HTTP (http.py, operations.py); a test holds the three equal.

    clock      clock · speed · jump · freeze · unfreeze
    faults     fault · faults · remove_fault · clear_faults
    accounts   create_account · rotate_key · accounts · wallet · top_up
    servers    set_rented · set_online · add_server · connect_server · set_background_job
    state      reset · snapshot · load
    journal    journal · clear_journal

ValueError: what was given is no use, and nothing was changed; `Conflict` is one for what there is
already. KeyError: no such account, server or fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from clore_sandbox import books
from clore_sandbox.books import hosts, state
from clore_sandbox.faults.journal import shown_key
from clore_sandbox.fleet.sample import sample_server
from clore_sandbox.store import AlreadyThere
from clore_sandbox.values.money import COINS, from_units, to_units

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clore_sandbox.books.turns import Effects
    from clore_sandbox.faults.faults import Fault, FaultKind, Faults
    from clore_sandbox.faults.journal import Entry, Journal
    from clore_sandbox.market import Market
    from clore_sandbox.market.clock import Clock
    from clore_sandbox.rules.limits import Limits
    from clore_sandbox.store import Tx
    from clore_sandbox.values.kinds import JsonObject

__all__ = ["Account", "Amount", "ClockState", "Conflict", "Control", "amounts"]

Amount = int | float | str | Decimal


class Conflict(ValueError):  # noqa: N818 - read as a sentence where it is raised
    """What there is already stands in the way."""


@dataclass(frozen=True)
class ClockState:
    """Market time in unix seconds, market seconds per second, and whether it stands still."""

    now: float
    speed: float
    frozen: bool


@dataclass(frozen=True)
class Account:
    """A key and its coins."""

    key: str
    wallets: dict[str, Decimal]


def amounts(balances: Mapping[str, Amount]) -> dict[str, int]:
    """Units per coin; ValueError for a coin there is not, or an amount below zero."""
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


class Control:
    """One marketplace's controls; every coroutine runs on its event loop.

    Args:
        market: The marketplace.
        faults: What waits to go wrong with it.
        journal: What has happened to it.
        limits: Its windows, where limits bite.
        api_key: The first account's key, which `reset` and `load` keep.
        first_account: Makes it anew.
        balances: Units per coin of an account that says no others.
    """

    def __init__(
        self,
        market: Market,
        *,
        faults: Faults,
        journal: Journal,
        limits: Limits | None,
        api_key: str,
        first_account: Callable[[Tx, str], object],
        balances: Mapping[str, int],
    ) -> None:
        self._market = market
        self._faults = faults
        self._journal = journal
        self._limits = limits
        self._api_key = api_key
        self._first_account = first_account
        self._balances = balances

    @property
    def _clock(self) -> Clock:
        return self._market.clock

    # -- clock ---------------------------------------------------------------------------------

    async def clock(self) -> ClockState:
        """Market time, and how it passes."""
        return ClockState(self._clock.now_ms() / 1000, self._clock.speed, self._clock.frozen)

    async def speed(self, factor: float) -> None:
        """Have `factor` market seconds pass in a second from now on."""
        self._clock.set_speed(factor)

    async def jump(self, seconds: float) -> None:
        """Move market time ahead; all that falls due on the way is done, and billed."""
        await self._market.timetable.jump(seconds)
        await self._market.settle()

    async def freeze(self) -> None:
        """Have market time stand still; `jump` still moves it."""
        self._clock.freeze()

    async def unfreeze(self) -> None:
        """Have market time go on."""
        self._clock.unfreeze()

    # -- faults --------------------------------------------------------------------------------

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
        """Misbehave; the fault's number."""
        return self._faults.add(
            endpoint,
            kind,
            times=times,
            key=key,
            probability=probability,
            delay_s=delay_s,
            fields=fields,
        )

    async def faults(self) -> list[Fault]:
        """The faults that wait."""
        return self._faults.waiting()

    async def remove_fault(self, fault_id: int) -> None:
        """Take one fault back."""
        self._faults.remove(fault_id)

    async def clear_faults(self) -> None:
        """Misbehave no more."""
        self._faults.clear()

    # -- accounts ------------------------------------------------------------------------------

    async def create_account(
        self, balances: Mapping[str, Amount] | None = None, api_key: str | None = None
    ) -> str:
        """A new account; its key."""
        units = self._balances if balances is None else amounts(balances)
        try:
            return await self._market.store.run(lambda tx: books.create_account(tx, api_key, units))
        except AlreadyThere as exc:
            raise Conflict("another account has this key") from exc

    async def rotate_key(self, old_key: str, new_key: str | None = None) -> str:
        """Give an account another key; `old_key` opens nothing any more. Returns the new one.

        Not the first account: `reset` and `load` keep its key.
        """
        if old_key == self._api_key:
            raise Conflict("the first account keeps its key; take one of create_account")
        try:
            key = await self._market.store.run(
                lambda tx: books.rotate_key(tx, self._account(tx, old_key), new_key)
            )
        except AlreadyThere as exc:
            raise Conflict("another account has this key") from exc
        await self._market.reload()  # the gate remembers whose a key is
        return key

    async def accounts(self) -> list[Account]:
        """Every account, the first one first, billed up to now."""
        await self._market.settle()

        def work(tx: Tx) -> list[Account]:
            rows = tx.all("SELECT id, api_key FROM accounts ORDER BY id")
            return [Account(row["api_key"], _coins(books.wallets(tx, row["id"]))) for row in rows]

        return await self._market.store.run(work)

    async def wallet(self, key: str | None = None) -> dict[str, Decimal]:
        """Exact coins of an account (None: the first), billed up to now."""
        account = await self._market.store.run(lambda tx: self._account(tx, key))
        return _coins(await self._market.wallets(account))

    async def top_up(self, key: str | None, coin: str, amount: Amount) -> None:
        """Add to an account's wallet (None: the first account's)."""
        units = amounts({coin: amount})[coin]

        def work(tx: Tx) -> None:
            account = self._account(tx, key)
            try:
                books.top_up(tx, account, coin, units)
            except ValueError as exc:
                raise Conflict(str(exc)) from exc

        await self._market.store.run(work)

    def _account(self, tx: Tx, key: str | None) -> int:
        account = books.account_of(tx, self._api_key if key is None else key)
        if account is None:
            raise KeyError(f"no account has the key {shown_key(key)}")
        return account

    # -- servers -------------------------------------------------------------------------------

    async def set_rented(self, server_id: int, *, rented: bool) -> None:
        """Somebody else rents a server, or gives it back."""
        self._known(server_id)
        await self._market.set_rented(server_id, rented=rented)

    async def set_online(self, server_id: int, *, online: bool) -> None:
        """A host goes offline, and the rooms on it end; or it comes back, and they boot anew."""
        self._known(server_id)
        await self._market.set_online(server_id, online=online)

    async def add_server(
        self,
        owner_key: str | None = None,
        name: str = "MyGPU",
        record: Mapping[str, object] | None = None,
        *,
        connected: bool = True,
    ) -> int | None:
        """Give an account (None: the first) a server to host; its number, once it is connected."""
        fields = {**sample_server(), **(record or {})}

        def work(tx: Tx, effects: Effects) -> int | None:
            account = self._account(tx, owner_key)
            try:
                return hosts.add(tx, account, name, fields, connected=connected, effects=effects)
            except ValueError as exc:
                raise Conflict(str(exc)) from exc

        return await self._market.act(work)

    async def connect_server(self, owner_key: str | None = None, name: str = "MyGPU") -> int:
        """The machine of a server that was added unconnected connects; its number."""
        return await self._market.act(
            lambda tx, effects: hosts.connect(tx, self._account(tx, owner_key), name, effects)
        )

    async def set_background_job(
        self,
        owner_key: str | None = None,
        name: str = "MyGPU",
        *,
        image: str,
        command: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """What a host's server does while nobody rents it."""
        job: dict[str, object] = {"image": image, "command": command, "env": dict(env or {})}
        await self._market.store.run(
            lambda tx: hosts.set_job(tx, self._account(tx, owner_key), name, job)
        )
        await self._market.keep_jobs()

    def _known(self, server_id: int) -> None:
        if self._market.record(server_id) is None:
            raise KeyError(f"no server {server_id} in this marketplace")

    # -- state ---------------------------------------------------------------------------------

    async def reset(self) -> None:
        """As at the start: no orders, the inventory's servers, one account, the world's time."""
        await self._market.reset(lambda tx: self._first_account(tx, self._api_key))
        self._forget()

    async def snapshot(self) -> JsonObject:
        """The whole state, but for faults and journal; see state.py."""
        now_ms = self._clock.now_ms()
        return await self._market.store.run(
            lambda tx: state.dump(tx, now_ms=now_ms, first=self._api_key)
        )

    async def load(self, snapshot: Mapping[str, object]) -> None:
        """Put a snapshot in place of this state, its time included; rooms boot anew, empty."""
        read = state.read(snapshot)

        def write(tx: Tx) -> None:
            try:
                state.restore(tx, read, first=self._api_key)
            except Exception as exc:  # whatever it was, nothing is changed
                raise ValueError(f"this snapshot cannot be loaded: {exc}") from exc

        await self._market.replace(write, now_ms=read.now_ms)
        self._forget()

    def _forget(self) -> None:
        """What no state holds: faults that wait, what has happened, who called when."""
        self._faults.clear()
        self._journal.clear()
        if self._limits is not None:
            self._limits.forget()

    # -- journal -------------------------------------------------------------------------------

    async def journal(self, endpoint: str | None = None, *, after: int = 0) -> list[Entry]:
        """Every request so far, oldest first: of one endpoint, or since an entry, if asked for."""
        return self._journal.entries(endpoint, after)

    async def clear_journal(self) -> None:
        """Forget what has happened."""
        self._journal.clear()


def _coins(units: Mapping[str, int]) -> dict[str, Decimal]:
    return {coin: from_units(units[coin]) for coin in COINS if coin in units}
