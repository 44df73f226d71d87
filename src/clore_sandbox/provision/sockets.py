"""Connects and listens with sockets that another function creates, for example inside a room."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["dial", "listen", "make_local"]


async def make_local(family: int) -> socket.socket:
    """A stream socket of this machine."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


async def dial(
    make: Callable[[int], Awaitable[socket.socket]], host: str, port: int
) -> socket.socket:
    """Connect to the first address that answers.

    Raises:
        OSError: No address answers; the error is the last one's.
    """
    loop = asyncio.get_running_loop()
    failure = OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
    for family, _, _, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = await make(family)
        try:
            await loop.sock_connect(sock, address)
        except OSError as exc:
            sock.close()
            failure = exc
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


async def listen(
    make: Callable[[int], Awaitable[socket.socket]], host: str, port: int
) -> list[socket.socket]:
    """Bound sockets, one per address family; an empty host means every address.

    Raises:
        OSError: The first one cannot be bound.
    """
    where = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(where):
            sock = await make(family)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                # For any free port, the other families use the same port as the first.
                sock.bind((address[0], bound[0].getsockname()[1] if bound else port))
            except OSError:
                sock.close()
                if not bound:
                    raise
            else:
                bound.append(sock)
    except BaseException:
        for sock in bound:
            sock.close()
        raise
    return bound
