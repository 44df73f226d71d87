"""What a job's follower on the machine says beside the output, and how long it may say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Callable

from clore_ai._api.waits import WAITS
from clore_ai._ssh.connection import ConnectionLost
from clore_ai._values.text import plain
from clore_ai.jobs import scripts

if TYPE_CHECKING:
    from clore_ai._ssh.connection import Running

_POLL_S, _LAST_WORDS_S = 1.0, 5.0
_LONGEST_LINE, _CHUNK = 4096, 1 << 16


class Silent(ConnectionLost):
    """The connection stands, and the machine says nothing."""


class Follower:
    """The script `remote.follow` as it runs there: a job's output, and words beside it.

    Args:
        running: the script; to be ended by `end`.
        waits: does it wait for the job's end? Else it has no reason to say that it is alive.
        on_message: called at each message, but not if that promises output and none follows.
    """

    def __init__(
        self,
        running: Running,
        *,
        waits: bool = True,
        on_message: Callable[[], object] = lambda: None,
    ) -> None:
        self._running, self._waits, self._on_message = running, waits, on_message
        self.last: scripts.Word | None = None
        """The last word but ``alive``."""
        self.other = ""
        """The last line that is none of the script's."""
        self.heard_at = 0.0
        """When a word came last, by the monotonic clock."""
        self._begun_at = time.monotonic()
        self._words = asyncio.ensure_future(self._read_words(running.errors))

    async def read(self) -> bytes:
        """The next piece of the output; empty at its end, when the words have come too.

        Raises:
            Silent: neither output nor a word came for `Waits.silent_s`.
            Lost: it writes something else.
        """
        reading = asyncio.ensure_future(self._running.read())
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_POLL_S)
                heard_at = max(self.heard_at, self._begun_at)
                if not reading.done() and time.monotonic() - heard_at > WAITS.silent_s:
                    raise Silent(f"nothing was heard for {WAITS.silent_s:.0f} s")
            piece = reading.result()
        finally:
            reading.cancel()
        if not piece:
            # A ProxyCommand that outlived it may hold the other pipe open.
            await asyncio.wait({self._words}, timeout=_LAST_WORDS_S)
        return piece

    async def end(self) -> None:
        """End it here; the job goes on."""
        await self._running.end()
        self._words.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._words

    async def _read_words(self, stream: asyncio.StreamReader | None) -> None:
        rest = b""
        while stream is not None and (piece := await stream.read(_CHUNK)):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            for line in lines:
                word = scripts.word(line)
                if word is None:
                    self.other = plain(line) or self.other
                    continue
                if self._waits or word.what != "alive":
                    self.heard_at = time.monotonic()
                if word.what != "alive":
                    self.last = word
                elif self._waits:
                    self._on_message()
