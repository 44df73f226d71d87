"""The SSH front end of one room: who gets in, files, forwarding. Sessions are session.py's.

Promises: only `root` gets in, with the order's password or one of its keys. SFTP starts in the
room's home. Port forwarding in both directions is allowed, as it is on a rented machine.
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING, Optional

import asyncssh

from clore_sandbox.provision.session import Shell, Streams, serve_session

if TYPE_CHECKING:
    import socket

    from clore_sandbox.provision import RoomPlan

__all__ = ["Door", "open_door"]

USER = "root"


class _Guard(asyncssh.SSHServer):
    """One connection to a room."""

    def __init__(
        self,
        plan: RoomPlan,
        keys: Optional[asyncssh.SSHAuthorizedKeys],
        guests: set[asyncssh.SSHServerConnection],
    ) -> None:
        self._plan = plan
        self._keys = keys
        self._guests = guests
        self._connection: Optional[asyncssh.SSHServerConnection] = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._guests.add(conn)

    def connection_lost(self, exc: Optional[Exception]) -> None:  # noqa: ARG002 - asyncssh's
        if self._connection is not None:
            self._guests.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        if username == USER and self._keys is not None and self._connection is not None:
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
        # Offered even without a key: the client then says `Permission denied (publickey)`.
        return True

    def connection_requested(
        self,
        dest_host: str,  # noqa: ARG002 - asyncssh's
        dest_port: int,  # noqa: ARG002
        orig_host: str,  # noqa: ARG002
        orig_port: int,  # noqa: ARG002
    ) -> bool:
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:  # noqa: ARG002 - asyncssh's
        return True


class _Files(asyncssh.SFTPServer):
    """SFTP that starts in the room's home and says when it is done."""

    def __init__(self, chan: asyncssh.SSHServerChannel[bytes], home: str) -> None:
        super().__init__(chan)  # pyright: ignore[reportUnknownMemberType] - asyncssh leaves it open
        self._channel = chan
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        if path == b"~" or path.startswith(b"~/"):
            path = path[2:]
        return os.path.join(self._home, path)  # noqa: PTH118 - bytes: names need not be UTF-8

    def exit(self) -> None:
        # asyncssh sends no exit status for SFTP, and `scp` then returns 1 after a correct copy.
        self._channel.exit(0)


class Door:
    """An open front end."""

    def __init__(
        self, acceptor: asyncssh.SSHAcceptor, guests: set[asyncssh.SSHServerConnection]
    ) -> None:
        self._acceptor = acceptor
        self._guests = guests

    async def close(self) -> None:
        """Let nobody in any more, and cut who is connected, idle tunnels included."""
        self._acceptor.close()
        for guest in list(self._guests):
            guest.abort()
        await self._acceptor.wait_closed()


async def open_door(
    sock: socket.socket, plan: RoomPlan, shell: Shell, host_key: asyncssh.SSHKey
) -> Door:
    """Serve SSH for a room on a bound socket."""
    keys = None
    if plan.public_key is not None and plan.lets_in:
        try:
            keys = asyncssh.import_authorized_keys(plan.public_key)
        except ValueError:
            # It looked like a key and is none: nobody gets in, as on the service.
            keys = None

    def files(chan: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return _Files(chan, shell.home)

    async def session(
        stdin: asyncssh.SSHReader[bytes],
        stdout: asyncssh.SSHWriter[bytes],
        stderr: asyncssh.SSHWriter[bytes],
    ) -> None:
        await serve_session(shell, Streams(stdin, stdout, stderr))

    guests: set[asyncssh.SSHServerConnection] = set()
    acceptor = await asyncssh.listen(
        sock=sock,
        server_factory=lambda: _Guard(plan, keys, guests),
        server_host_keys=[host_key],
        session_factory=session,
        sftp_factory=files,
        encoding=None,
        line_editor=False,
        agent_forwarding=False,
        allow_scp=False,
        login_timeout=30,
        keepalive_interval=30,
        server_version="OpenSSH_8.9p1-clore-sandbox",
    )
    return Door(acceptor, guests)
