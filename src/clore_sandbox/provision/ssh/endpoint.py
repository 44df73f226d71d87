"""The SSH endpoint of one room: checks logins; session.py and tunnels.py do the rest.

Promises: only `root` can log in, with the order's password or one of its keys. Port forwarding in
both directions is allowed, as on a rented machine.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, cast

import asyncssh

from clore_sandbox.provision.fence.interior import USER
from clore_sandbox.provision.ssh.session import RoomSession
from clore_sandbox.provision.ssh.tunnels import forward_in, listen_inside

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable

    from clore_sandbox.provision import RoomPlan
    from clore_sandbox.provision.fence.interior import Interior

__all__ = ["Endpoint", "open_endpoint"]


class _Guard(asyncssh.SSHServer):
    """One connection to a room."""

    _connection: asyncssh.SSHServerConnection  # from connection_made on

    def __init__(
        self,
        plan: RoomPlan,
        interior: Interior,
        keys: asyncssh.SSHAuthorizedKeys | None,
        connections: set[asyncssh.SSHServerConnection],
    ) -> None:
        self._plan = plan
        self._interior = interior
        self._keys = keys
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's
        self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        if username == USER and self._keys is not None:
            self._connection.set_authorized_keys(self._keys)
        return True

    def password_auth_supported(self) -> bool:
        return self._plan.password is not None

    def validate_password(self, username: str, password: str) -> bool:
        wanted = self._plan.password
        if wanted is None or username != USER or not self._plan.lets_in:
            return False
        return hmac.compare_digest(password.encode(), wanted.encode())

    def public_key_auth_supported(self) -> bool:
        # Even without a key, so that the client reports `Permission denied (publickey)`.
        return True

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return RoomSession(self._interior)

    def connection_requested(
        self,
        dest_host: str,
        dest_port: int,
        orig_host: str,  # noqa: ARG002 - asyncssh's
        orig_port: int,  # noqa: ARG002
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        forwarder = forward_in(self._interior, dest_host, dest_port)
        # Like asyncssh's forward_connection: it has a session's methods, but not its type.
        return cast("Awaitable[asyncssh.SSHTCPSession[bytes]]", forwarder)

    def server_requested(
        self, listen_host: str, listen_port: int
    ) -> Awaitable[asyncssh.SSHListener]:
        return listen_inside(self._interior, self._connection, listen_host, listen_port)


class Endpoint:
    """An open endpoint."""

    def __init__(
        self, acceptor: asyncssh.SSHAcceptor, connections: set[asyncssh.SSHServerConnection]
    ) -> None:
        self._acceptor = acceptor
        self._connections = connections

    async def close(self) -> None:
        """Stop listening, and disconnect all clients, idle tunnels included."""
        self._acceptor.close()
        for connection in list(self._connections):
            connection.abort()
        await self._acceptor.wait_closed()


async def open_endpoint(
    sock: socket.socket, plan: RoomPlan, interior: Interior, host_key: str
) -> Endpoint:
    """Serve SSH for a room on a bound socket; `host_key` is a private key in OpenSSH's format."""
    keys = None
    if plan.public_key is not None and plan.lets_in:
        try:
            keys = asyncssh.import_authorized_keys(plan.public_key)
        except ValueError:
            # It looked like a key but is not: nobody can log in, as on the service.
            keys = None
    connections: set[asyncssh.SSHServerConnection] = set()
    acceptor = await asyncssh.listen(
        sock=sock,
        server_factory=lambda: _Guard(plan, interior, keys, connections),
        server_host_keys=[asyncssh.import_private_key(host_key)],
        encoding=None,
        line_editor=False,
        agent_forwarding=False,
        allow_scp=False,
        login_timeout=30,
        keepalive_interval=30,
        server_version="OpenSSH_8.9p1-clore-sandbox",
    )
    return Endpoint(acceptor, connections)
