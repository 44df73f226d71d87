"""Reads the messages of a job's follower on the machine, and notices when it falls silent."""

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
    """The connection is open, but the machine sends nothing."""


class Follower:
    """The running script `scripts.follow`: a job's output, and messages beside it.

    Args:
        running: the running script; `end` ends it.
        waits: does it wait for the job's end? If not, it sends no ``alive``.
        on_message: called at each message, but not if the message promises output and none follows.
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
        """The last message other than ``alive``."""
        self.other = ""
        """The last line that is not a message of the script."""
        self.heard_at = 0.0
        """When a message last came, by the monotonic clock."""
        self._begun_at = time.monotonic()
        self._words = asyncio.ensure_future(self._read_words(running.errors))

    async def read(self) -> bytes:
        """The next piece of the output; empty at its end, when all messages have come, too.

        Raises:
            Silent: neither output nor a message came for `Waits.silent_s`.
            Lost: the script writes something else.
        """
        reading = asyncio.ensure_future(self._running.read())
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_POLL_S)
                heard_at = max(self.heard_at, self._begun_at)
                if not reading.done() and time.monotonic() - heard_at > WAITS.silent_s:
                    raise Silent(f"no response for {WAITS.silent_s:.0f} s")
            piece = reading.result()
        finally:
            reading.cancel()
        if not piece:
            # A ProxyCommand that outlived the script may hold the other pipe open.
            await asyncio.wait({self._words}, timeout=_LAST_WORDS_S)
        return piece

    async def end(self) -> None:
        """End the script's connection; the job continues."""
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
