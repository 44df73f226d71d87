"""Protects `/control`: checks `Host` and `Origin`, and slows down guesses of the key.

A web page can point its own name at this machine (DNS rebinding), and then has the same origin as
the marketplace: its requests carry that name as `Host`. So only requests with a known `Host` are
answered, and none from a page of another origin.

The right key is always answered at once. After a few wrong keys from an address, each further one
is answered later, and they take turns, so that many connections guess no faster than a few.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clore_sandbox.api.answers import SEE_ERROR, Answer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["Guesses", "Names"]

_MISTAKES = 5
"""This many wrong keys from an address are answered at once; each further one later."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 1.0
_TURN_S = 0.02
"""How long a wrong key blocks others from its address."""
_FORGET_S = 60.0
_MOST_PEERS = 1_000

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE)
_STRANGE_NAME = Answer(
    403,
    {
        "error": "the controls don't accept this Host; use the address that the marketplace "
        "listens on, or add the name with --public-host",
        "code": SEE_ERROR,
    },
)
_STRANGE_PAGE = Answer(
    403,
    {"error": "the controls don't accept requests from pages of another origin", "code": SEE_ERROR},
)


class Names:
    """The names and addresses that a request to the controls may use.

    Args:
        given: The address it listens on, and the name that its orders show.
        everywhere: It listens on all addresses; any address is accepted, since none can be rebound.
    """

    def __init__(self, given: Collection[str], *, everywhere: bool) -> None:
        self._names = {"127.0.0.1", "localhost", "[::1]"}
        self._names |= {f"[{name}]" if ":" in name else name.lower() for name in given}
        self._everywhere = everywhere

    def refusal(self, headers: Mapping[str, str]) -> Answer | None:
        """The answer that refuses a request with these headers; None if it is accepted."""
        host = headers.get("host", "")
        found = _HOST.fullmatch(host)
        if found is None or not self._known(found[1].lower()):
            return _STRANGE_NAME
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            return _STRANGE_PAGE
        return None

    def _known(self, name: str) -> bool:
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return self._everywhere


@dataclass
class _Peer:
    """An address that has sent wrong keys."""

    wrong: int = 0
    until_s: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Guesses:
    """The key, and the addresses that have sent wrong ones."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._peers: dict[str, _Peer] = {}

    async def right(self, key: str, address: str) -> bool:
        """Whether this is the key; the answer to a wrong one is delayed."""
        now_s = asyncio.get_running_loop().time()
        peer = self._peers.get(address)
        if peer is not None and peer.until_s < now_s:
            del self._peers[address]
            peer = None
        if peer is None or peer.wrong < _MISTAKES:
            right = self._is(key)
        else:
            async with peer.turn:
                right = self._is(key)
                if not right:
                    await asyncio.sleep(_TURN_S)
        if right:
            return True
        peer = peer or self._new(address, now_s)
        peer.wrong += 1
        peer.until_s = now_s + _FORGET_S
        late = peer.wrong - _MISTAKES
        if late > 0:
            await asyncio.sleep(min(_FIRST_DELAY_S * 2.0 ** min(late - 1, 10), _LONGEST_DELAY_S))
        return False

    def _is(self, key: str) -> bool:
        return secrets.compare_digest(key.encode(), self._key)

    def _new(self, address: str, now_s: float) -> _Peer:
        if len(self._peers) >= _MOST_PEERS:
            self._peers = {a: peer for a, peer in self._peers.items() if peer.until_s >= now_s}
        return self._peers.setdefault(address, _Peer())
