"""What the user asks of a job while it is under way; whatever Ctrl-C or a closed terminal means."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["renting", "watching", "ending"]
Wanted = Literal["watch", "detach", "stop", "limit", "abandon"]


@dataclass
class JobRequest:
    """Safe from any task of the event loop in which it was made."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: Wanted = "watch"
    stage: Stage = "watching"
    """While `ending`, the machine is being cancelled, which nothing breaks off."""
    cancels: bool = True
    """Is the machine cancelled at the end of the job?"""

    def want(self, what: Literal["detach", "stop", "limit", "abandon"]) -> None:
        """`stop` and `limit` end the job, and fetch what there is; `abandon` does neither."""
        self.wanted = what
        self.changed.set()

    async def other_than(self, before: Wanted) -> Wanted:
        """What is wanted, once it is not `before`."""
        while self.wanted == before:
            self.changed.clear()
            await self.changed.wait()
        return self.wanted
