"""Port forwarding over SSH (`-L -R -D -W`, ProxyJump) into and out of a room."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

import asyncssh
from asyncssh.constants import OPEN_CONNECT_FAILED

from clore_sandbox.provision.port_forward import join

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from clore_sandbox.provision.fence.interior import Interior

    _Streams = tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]

__all__ = ["forward_in", "listen_inside"]


async def forward_in(interior: Interior, host: str, port: int) -> asyncssh.SSHForwarder:
    """Connect a channel to `host` and `port` as seen from the room.

    Raises:
        asyncssh.ChannelOpenError: Nothing answers there.
    """
    try:
        sock = await interior.dial(host, port)
        _, peer = await asyncio.get_running_loop().create_connection(
            asyncssh.SSHForwarder, sock=sock
        )
    except OSError as exc:
        raise asyncssh.ChannelOpenError(OPEN_CONNECT_FAILED, str(exc)) from exc
    return asyncssh.SSHForwarder(peer)


async def listen_inside(
    interior: Interior, connection: asyncssh.SSHServerConnection, host: str, port: int
) -> asyncssh.SSHListener:
    """Listen in the room, and pass each connection to the SSH client.

    Raises:
        OSError: The address cannot be bound; asyncssh then refuses the request.
    """
    # As in OpenSSH, an empty host or `*` means every address.
    sockets = await interior.listen("" if host == "*" else host, port)
    bound = sockets[0].getsockname()[1]

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: tuple[str, int] = writer.get_extra_info("peername") or ("127.0.0.1", 0)
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncssh.Error):
            opened = connection.open_connection(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - asyncssh leaves their type open
                host, bound, peer[0], peer[1]
            )
            theirs = await cast("Awaitable[_Streams]", opened)
            await join((reader, writer), theirs)

    return _Listener([await asyncio.start_server(connect, sock=sock) for sock in sockets], bound)


class _Listener(asyncssh.SSHListener):
    def __init__(self, servers: Sequence[asyncio.Server], port: int) -> None:
        super().__init__()
        self._servers = servers
        self._port = port

    def get_port(self) -> int:
        """The port, which the system chose if the client sent 0."""
        return self._port

    def close(self) -> None:
        """Stop listening; connections stay, as with sshd."""
        for server in self._servers:
            server.close()
