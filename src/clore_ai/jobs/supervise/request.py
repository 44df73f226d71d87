"""What the user wants of a running job, as by Ctrl-C or a closed terminal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["renting", "watching", "ending"]
Wanted = Literal["watch", "detach", "stop", "limit", "abandon"]


@dataclass
class JobRequest:
    """Safe to use from any task of the event loop that made it."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: Wanted = "watch"
    stage: Stage = "watching"
    """While `ending`, the machine is being cancelled; nothing interrupts that."""
    cancels: bool = True
    """Is the machine cancelled at the end of the job?"""

    def want(self, what: Literal["detach", "stop", "limit", "abandon"]) -> None:
        """`stop` and `limit` end the job and fetch its outputs; `abandon` does neither."""
        self.wanted = what
        self.changed.set()

    async def other_than(self, before: Wanted) -> Wanted:
        """Wait until the request is no longer `before`, and return it."""
        while self.wanted == before:
            self.changed.clear()
            await self.changed.wait()
        return self.wanted
