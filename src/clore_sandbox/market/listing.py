"""The body of `marketplace`, kept ready as one fragment per server.

Promises: a request serialises nothing. A change serialises two fragments; the next request joins
all (about a millisecond for 3,500 servers), and the next gzip request compresses in a thread.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Listing"]

_TAIL = b'],"my_servers":[],"code":0}'


class Listing:
    """All servers in the inventory's order, rented ones included, offline ones omitted."""

    def __init__(self) -> None:
        self._free: dict[int, bytes] = {}
        self._rented: dict[int, bytes] = {}
        self._taken: set[int] = set()
        self._hidden: set[int] = set()
        self._plain: bytes | None = None
        self._gzip: asyncio.Future[bytes] | None = None

    def clear(self) -> None:
        """Remove all servers."""
        self._free, self._rented = {}, {}
        self._taken, self._hidden = set(), set()
        self._changed()

    def put(self, record: Mapping[str, object]) -> None:
        """Add a server, or replace its record."""
        server = record["id"]
        assert isinstance(server, int)  # noqa: S101 - inventory.py has checked it
        self._changed()
        self._rented[server] = _fragment({**record, "rented": True})
        self._free[server] = _fragment({**record, "rented": False})

    def set_rented(self, server: int, *, rented: bool) -> None:
        """Show a server as rented or free."""
        if rented != (server in self._taken):
            (self._taken.add if rented else self._taken.discard)(server)
            self._changed()

    def set_online(self, server: int, *, online: bool) -> None:
        """Show or hide a server."""
        if online == (server in self._hidden):
            (self._hidden.discard if online else self._hidden.add)(server)
            self._changed()

    def _changed(self) -> None:
        self._plain = None
        self._gzip = None

    def plain(self) -> bytes:
        """The body."""
        if self._plain is None:
            taken, rented = self._taken, self._rented
            self._plain = b"".join(
                (
                    b'{"servers":[',
                    b",".join(
                        rented[server] if server in taken else free
                        for server, free in self._free.items()
                        if server not in self._hidden
                    ),
                    _TAIL,
                )
            )
        return self._plain

    def plain_for(self, servers: Iterable[int]) -> bytes:
        """The body for a host, with the numbers of its own servers."""
        return self.plain().removesuffix(_TAIL) + b'],"my_servers":%b,"code":0}' % orjson.dumps(
            list(servers)
        )

    async def gzipped(self) -> bytes:
        """The body, compressed; requests that arrive meanwhile share the work."""
        if self._gzip is None:
            # Level 1: every change needs another compression, and clients are on the same machine.
            work = asyncio.to_thread(gzip.compress, self.plain(), 1)
            self._gzip = asyncio.ensure_future(work)
        return await asyncio.shield(self._gzip)


def _fragment(record: Mapping[str, object]) -> bytes:
    # A copy: the buffer that orjson returns is several times as large as its content.
    return bytes(memoryview(orjson.dumps(record)))
