"""Where the orders' public ports are: the address they are bound to, their range, their name."""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass

__all__ = ["PublicAddress", "check_public_host", "read_ports"]

_LAST_PORT = 65_535
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


def read_ports(ports: tuple[int, int]) -> range:
    """The range from its first and its last port.

    Raises:
        ValueError: It is none.
    """
    first, last = ports
    if not 1 <= first <= last <= _LAST_PORT:
        raise ValueError(f"ports is a range within 1-{_LAST_PORT}, not {first}-{last}")
    return range(first, last + 1)


def check_public_host(name: str) -> str:
    """The name.

    Raises:
        ValueError: It is no host name or address by itself.
    """
    if not _HOST.fullmatch(name):
        raise ValueError(f"public_host is a host name or an address alone, not {name!r}")
    return name


@dataclass
class PublicAddress:
    """`host` is bound to; `public_host` is shown; None for `ports` is any that is free."""

    host: str
    public_host: str | None = None
    ports: range | None = None
    _next: int = 0

    @property
    def shown(self) -> str:
        """Where clients find the ports; what listens everywhere is reached by loopback."""
        if self.public_host is not None:
            return self.public_host
        return "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared

    def bind(self) -> socket.socket:
        """A socket on a free port, bound and not listening: clients are refused.

        Raises:
            OSError: There is none left.
        """
        if self.ports is None:
            return _bound(self.host, 0, again=False)
        # The port that has been free for longest comes first. Where all have been used a minute
        # ago, connections of those orders may still be on their way out: that does no harm.
        for again in (False, True):
            for step in range(len(self.ports)):
                position = (self._next + step) % len(self.ports)
                try:
                    sock = _bound(self.host, self.ports[position], again=again)
                except OSError as exc:
                    if exc.errno != errno.EADDRINUSE:
                        raise
                else:
                    self._next = position + 1
                    return sock
        first, last = self.ports[0], self.ports[-1]
        message = f"every port of {first}-{last} is taken; a wider range is given with --ports"
        raise OSError(errno.EADDRINUSE, message)


def _bound(host: str, port: int, *, again: bool) -> socket.socket:
    sock = socket.socket()
    try:
        if again:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        # After the bind, lest two orders share a port: its connections are to let go of it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except BaseException:
        sock.close()
        raise
    return sock
