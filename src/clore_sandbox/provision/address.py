"""The public address of the orders' ports: where they are bound, their range, their host name."""

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
        ValueError: It is not a range of ports.
    """
    first, last = ports
    if not 1 <= first <= last <= _LAST_PORT:
        raise ValueError(f"ports must be a range within 1-{_LAST_PORT}, not {first}-{last}")
    return range(first, last + 1)


def check_public_host(name: str) -> str:
    """The name, checked.

    Raises:
        ValueError: It is neither a host name nor an address.
    """
    if not _HOST.fullmatch(name):
        raise ValueError(f"public_host must be only a host name or an address, not {name!r}")
    return name


@dataclass
class PublicAddress:
    """Ports are bound to `host` and shown as `public_host`; `ports` None means any free ports."""

    host: str
    public_host: str | None = None
    ports: range | None = None
    _next: int = 0

    @property
    def shown(self) -> str:
        """The host that clients connect to; loopback if the ports are bound everywhere."""
        if self.public_host is not None:
            return self.public_host
        return "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared

    def bind(self) -> socket.socket:
        """A socket on a free port, bound but not listening, so that it refuses clients.

        Raises:
            OSError: No port is free.
        """
        if self.ports is None:
            return _bound(self.host, 0, again=False)
        # The port that has been free for longest comes first. If all were used within a minute,
        # old connections may still be closing on it, which does no harm.
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
        message = f"every port of {first}-{last} is taken; give a wider range with --ports"
        raise OSError(errno.EADDRINUSE, message)


def _bound(host: str, port: int, *, again: bool) -> socket.socket:
    sock = socket.socket()
    try:
        if again:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        # After the bind, so that two orders never share a port; lets it be bound again early.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except BaseException:
        sock.close()
        raise
    return sock
