"""Controls of servers: rent them out, take them offline, give them to a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.books import hosts
from clore_sandbox.control.base import Conflict, ControlBase
from clore_sandbox.control.operation import operation
from clore_sandbox.fleet.sample import sample_server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.books.lifecycle import Effects
    from clore_sandbox.store import Tx

__all__ = ["ServerControls"]


class ServerControls(ControlBase):
    """An owner key of None is the first account's."""

    @operation()
    async def set_rented(self, server_id: int, rented: bool) -> None:
        """Let another renter take a server, or give it back."""
        self._check_server(server_id)
        await self._market.set_rented(server_id, rented=rented)

    @operation()
    async def set_online(self, server_id: int, online: bool) -> None:
        """Take a host offline, or bring it back.

        The rooms on the server end when it goes offline, and boot again when it comes back.
        """
        self._check_server(server_id)
        await self._market.set_online(server_id, online=online)

    @operation(result={"server_id": {"type": ["integer", "null"]}})
    async def add_server(
        self,
        owner_key: str | None = None,
        name: str = "MyGPU",
        record: Mapping[str, object] | None = None,
        *,
        connected: bool = True,
    ) -> int | None:
        """Give an account a server to host, and return its number.

        `record` holds fields of a `marketplace` record that replace those of a sample RTX 4090. A
        server that is not `connected` has a token and no number: None; see `connect_server`.
        """
        fields = {**sample_server(), **(record or {})}

        def work(tx: Tx, effects: Effects) -> int | None:
            account = self._account(tx, owner_key)
            try:
                return hosts.add(tx, account, name, fields, connected=connected, effects=effects)
            except ValueError as exc:
                raise Conflict(str(exc)) from exc

        return await self._market.act(work)

    @operation(result={"server_id": {"type": "integer"}})
    async def connect_server(self, owner_key: str | None = None, name: str = "MyGPU") -> int:
        """Connect the machine of a server that was added unconnected, and return its number."""
        return await self._market.act(
            lambda tx, effects: hosts.connect(tx, self._account(tx, owner_key), name, effects)
        )

    @operation()
    async def set_background_job(
        self,
        owner_key: str | None = None,
        name: str = "MyGPU",
        *,
        image: str,
        command: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Set what a server runs while nobody rents it; `server_config` shows it."""
        job: dict[str, object] = {"image": image, "command": command, "env": dict(env or {})}
        await self._market.store.run(
            lambda tx: hosts.set_job(tx, self._account(tx, owner_key), name, job)
        )
        await self._market.keep_jobs()
