"""The process that is interrupted: it uses what is kept, again and again, until Ctrl-C comes.

For each round it writes ``.``; then, once it was interrupted and while that is still being dealt
with, as when a command cleans up: ``+`` where what it used is free and whole, else ``-``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from clore_ai import CloreAI
from clore_ai._api.steps import Exec
from clore_ai._ssh import programs
from clore_ai._state.kept import File, Memory
from clore_ai._state.ledger import Ledger
from clore_ai._state.lock import FileLock
from clore_ai.models.records import Intent
from clore_ai.rate_limiter import RateLimiter
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clore_ai._state.kept import Kept


class Use:
    """One kind of use, and whether it left all in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ready(self) -> None:
        os.write(1, b".")

    def once(self) -> None:
        raise NotImplementedError

    def whole(self) -> bool:
        raise NotImplementedError

    def until_interrupted(self) -> None:
        self.ready()
        while True:
            self.once()


class InFile(Use):
    """A state that is read and written; both numbers in it are one."""

    def kept(self) -> Kept[dict[str, int]]:
        return File(self.folder / "shared" / "a.json", lambda data: dict(data or {"a": 0, "b": 0}),
                    dict)  # type: ignore[call-overload]  # fmt: skip

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._kept = self.kept()
        self.once()

    def once(self) -> None:
        with self._kept.open() as state:
            state["a"] += 1
            state["b"] += 1

    def whole(self) -> bool:
        if not self.free():
            return False
        with self._kept.open() as state:
            return state["a"] == state["b"]

    def free(self) -> bool:
        lock = FileLock(self.folder / "shared" / "a.json")
        try:
            return lock.try_acquire()
        finally:
            lock.release()


class InMemory(InFile):
    def kept(self) -> Kept[dict[str, int]]:
        return Memory({"a": 0, "b": 0})

    def free(self) -> bool:
        lock = self._kept._lock  # type: ignore[union-attr]
        if free := lock.acquire(blocking=False):
            lock.release()
        return free


class InThread(InFile):
    """Another thread uses it, whom no Ctrl-C reaches; the main one waits."""

    def until_interrupted(self) -> None:
        done = threading.Event()

        def work() -> None:
            while not done.is_set():
                self.once()

        other = threading.Thread(target=work)
        other.start()
        try:
            self.ready()
            while True:
                time.sleep(0.0001)  # Python may sleep on where a signal came just before
        finally:
            done.set()
            other.join()


class Pace(Use):
    """A turn of the limiter, with the clean-up of one that waits."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.limiter = RateLimiter(4_000, 0.0, shared=folder / "shared" / "pace.json")

    def once(self) -> None:
        self.limiter.wait()
        self.limiter.sent()

    def whole(self) -> bool:
        self.limiter.wait(within_s=5)
        return True


class PaceInLoop(Pace):
    def until_interrupted(self) -> None:
        async def main() -> None:
            self.ready()
            while True:
                await self.limiter.wait_async()
                await asyncio.sleep(0)

        asyncio.run(main())


class InLedger(Use):
    """What one transaction writes is there whole or not at all, and the next one works."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ledger = Ledger(folder / "ledger", "account")

    def once(self) -> None:
        intent = Intent(7, "on-demand", "bitcoin", "image")
        self.ledger.open(intent)
        self.ledger.update(intent, state="refused", reason="no")

    def whole(self) -> bool:
        self.once()
        return all((i.state == "refused") == (i.reason == "no") for i in self.ledger.intents(3))


class Program(Use):
    """A program of this machine; none is left."""

    mark = f"61.{os.getpid()}"

    def once(self) -> None:
        programs.run(Exec(("sh", "-c", f"sleep {self.mark}")))

    def whole(self) -> bool:
        until = time.monotonic() + 5  # what was killed takes a moment to be gone
        while time.monotonic() < until:
            if not any(self.mark.encode() in line for line in _command_lines()):
                return True
        return False


class Request(Use):
    """A call to a marketplace in another thread, by a client of its own, which is closed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.market = Sandbox(provision=False, limits=False)
        self.market.start()
        os.environ["CLORE_REQUESTS_PER_SECOND"] = "100000"
        self.client = self.new()

    def new(self) -> CloreAI:
        return CloreAI(self.market.api_key, base_url=self.market.base_url)

    def once(self) -> None:
        self.client.wallets()
        with self.new() as client:
            client.wallets()

    def whole(self) -> bool:
        """The client that was interrupted works, and can be closed."""
        self.client.wallets()
        self.client.close()
        self.client = self.new()
        return True


def _command_lines() -> Iterator[bytes]:
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield each.read_bytes()
        except OSError:
            continue


KINDS: dict[str, type[Use]] = {
    "file": InFile, "memory": InMemory, "thread": InThread, "pace": Pace, "loop": PaceInLoop,
    "ledger": InLedger, "program": Program, "request": Request,
}  # fmt: skip


def rounds(kind: str, folder: Path, count: int) -> None:
    use = KINDS[kind](folder)
    whole: Callable[[], bool] = use.whole
    for _ in range(count):
        try:
            use.until_interrupted()
        except KeyboardInterrupt:
            os.write(1, b"+" if whole() else b"-")


if __name__ == "__main__":
    rounds(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
