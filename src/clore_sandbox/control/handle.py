"""The controls as methods for any thread: what `Sandbox` has besides starting and stopping.

Each returns when it is done. What they do, and what they raise, is said in `Control`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from decimal import Decimal

    from clore_sandbox.control import Account, Amount, ClockState, Control
    from clore_sandbox.faults.faults import Fault, FaultKind
    from clore_sandbox.faults.journal import Entry
    from clore_sandbox.values.kinds import JsonObject

__all__ = ["Controls"]

T = TypeVar("T")


class Controls:
    """The methods; whoever inherits sets `_loop` and says which `_control` it is.

    RuntimeError, from each of them, where no marketplace runs.
    """

    _loop: asyncio.AbstractEventLoop

    @property
    def _control(self) -> Control:
        raise NotImplementedError

    def _do(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # -- clock ---------------------------------------------------------------------------------

    def clock(self) -> ClockState:
        """Market time in unix seconds, its speed, and whether it stands still."""
        return self._do(self._control.clock())

    def speed(self, factor: float) -> None:
        """Have `factor` market seconds pass in a second from now on."""
        self._do(self._control.speed(factor))

    def jump(self, seconds: float) -> None:
        """Move market time ahead; all that falls due on the way is done, and billed.

        Raises:
            ValueError: `seconds` is below 0: market time never goes back.
        """
        self._do(self._control.jump(seconds))

    def advance(self, seconds: float) -> None:
        """The same as `jump`."""
        self.jump(seconds)

    def freeze(self) -> None:
        """Have market time stand still; `jump` still moves it."""
        self._do(self._control.freeze())

    def unfreeze(self) -> None:
        """Have market time go on, at the speed it had."""
        self._do(self._control.unfreeze())

    # -- faults --------------------------------------------------------------------------------

    def fault(
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
        """Misbehave: see faults.py for the kinds. `times` None is until it is taken back.

        Args:
            endpoint: `create_order` and the like; `*` is any.
            kind: What happens.
            times: To how many fitting requests.
            key: Only to the account with this key.
            probability: How likely it happens to a fitting request.
            delay_s: Of `late` and `retry_after` (seconds of the world) and `host_dies` (market
                seconds): 2.
            fields: Of `missing_fields` and `odd_fields`: which, at any depth. Of `missing_rows`:
                the ids of the records.

        Returns:
            The fault's number, for `remove_fault`.
        """
        return self._do(
            self._control.fault(
                endpoint,
                kind,
                times=times,
                key=key,
                probability=probability,
                delay_s=delay_s,
                fields=fields,
            )
        )

    def faults(self) -> list[Fault]:
        """The faults that are not used up, oldest first."""
        return self._do(self._control.faults())

    def remove_fault(self, fault_id: int) -> None:
        """Take one fault back; KeyError if it is used up."""
        self._do(self._control.remove_fault(fault_id))

    def clear_faults(self) -> None:
        """Misbehave no more."""
        self._do(self._control.clear_faults())

    # -- accounts ------------------------------------------------------------------------------

    def create_account(
        self, balances: Mapping[str, Amount] | None = None, api_key: str | None = None
    ) -> str:
        """A new account with these coins (None: as the first one has by default); its key."""
        return self._do(self._control.create_account(balances, api_key))

    def rotate_key(self, old_key: str, new_key: str | None = None) -> str:
        """Give an account another key; `old_key` opens nothing any more. Returns the new one.

        ValueError for the first account's: it keeps its key.
        """
        return self._do(self._control.rotate_key(old_key, new_key))

    def accounts(self) -> list[Account]:
        """Every account with its key and its exact coins, the first one first."""
        return self._do(self._control.accounts())

    def wallet(self, key: str | None = None) -> dict[str, Decimal]:
        """Exact coins of an account (default: the first), billed up to now."""
        return self._do(self._control.wallet(key))

    def top_up(self, key: str | None, coin: str, amount: Amount) -> None:
        """Add to an account's wallet (None: the first account's)."""
        self._do(self._control.top_up(key, coin, amount))

    # -- servers -------------------------------------------------------------------------------

    def set_rented(self, server_id: int, rented: bool) -> None:
        """Somebody else rents a server, or gives it back."""
        self._do(self._control.set_rented(server_id, rented=rented))

    def set_online(self, server_id: int, online: bool) -> None:
        """A host goes offline, and the rooms on it end; or it comes back, and they boot anew."""
        self._do(self._control.set_online(server_id, online=online))

    def add_server(
        self,
        owner_key: str | None = None,
        name: str = "MyGPU",
        record: Mapping[str, object] | None = None,
        *,
        connected: bool = True,
    ) -> int | None:
        """Give an account (None: the first) a server to host; its number.

        `record` holds fields of a `marketplace` record to put in place of a sample 4090's. A
        server that is not `connected` has a token and no number: None; see `connect_server`.
        """
        return self._do(self._control.add_server(owner_key, name, record, connected=connected))

    def connect_server(self, owner_key: str | None = None, name: str = "MyGPU") -> int:
        """The machine of a server that was added unconnected connects; its number."""
        return self._do(self._control.connect_server(owner_key, name))

    def set_background_job(
        self,
        owner_key: str | None = None,
        name: str = "MyGPU",
        *,
        image: str,
        command: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """What a host's server does while nobody rents it, as `server_config` shows it."""
        self._do(
            self._control.set_background_job(owner_key, name, image=image, command=command, env=env)
        )

    # -- state ---------------------------------------------------------------------------------

    def reset(self) -> None:
        """As at the start: no orders, the inventory's servers, one account, the world's time.

        Faults and journal are empty, the clock runs at its first speed.
        """
        self._do(self._control.reset())

    def snapshot(self) -> JsonObject:
        """Accounts, wallets, servers, orders and the time, as JSON; it holds keys and passwords."""
        return self._do(self._control.snapshot())

    def load(self, snapshot: Mapping[str, object]) -> None:
        """Put a snapshot in place of the state, of this marketplace or of another one.

        Market time is the snapshot's again; rooms of its orders boot anew, empty. The first
        account keeps this marketplace's key. Faults and journal are empty.

        Raises:
            ValueError: It is no snapshot, or of another version; nothing is changed.
        """
        self._do(self._control.load(snapshot))

    # -- journal -------------------------------------------------------------------------------

    def journal(self, endpoint: str | None = None, *, after: int = 0) -> list[Entry]:
        """Every request so far, oldest first: of one endpoint, or since an entry, if asked for."""
        return self._do(self._control.journal(endpoint, after=after))

    def clear_journal(self) -> None:
        """Forget what has happened."""
        self._do(self._control.clear_journal())
