"""The process to interrupt: it uses a resource again and again until Ctrl-C comes.

It writes ``.`` for each round. After the interrupt, while that is still being handled, as in the
cleanup of a command, it writes ``+`` if the resource is free and complete, else ``-``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from clore_ai import CloreAI
from clore_ai._api.steps import Done, Exec, Flow
from clore_ai._state.ledger import Ledger
from clore_ai._state.lock import FileLock
from clore_ai._state.pace import Pace as SharedPace
from clore_ai._state.store import FILE, Store
from clore_ai.models.records import Intent
from clore_ai.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Iterator


class Use:
    """One kind of use, and a check that it left all in order."""

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
    """A transaction that writes two numbers; both are one."""

    def store(self) -> Store:
        return Store(self.folder / "home")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._store = self.store()
        self._store.run(lambda db: db.executemany(
            "INSERT INTO facts VALUES (?, '0')", [("a",), ("b",)]
        ))  # fmt: skip
        self.once()

    def once(self) -> None:
        def both(db: sqlite3.Connection) -> None:
            for name in "ab":
                db.execute("UPDATE facts SET value = value + 1 WHERE name = ?", (name,))

        self._store.run(both)

    def whole(self) -> bool:
        """Whether no transaction is left open: another connection can write at once."""
        if not self.free():
            return False
        rows = self._store.run(lambda db: db.execute("SELECT value FROM facts").fetchall())
        return rows[0]["value"] == rows[1]["value"]

    def free(self) -> bool:
        lock = FileLock(self.folder / "home" / "state.lock")
        try:
            if not lock.try_acquire():
                return False
        finally:
            lock.release()
        with closing(sqlite3.connect(self.folder / "home" / FILE, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
        return True


class InMemory(InFile):
    def store(self) -> Store:
        return Store()

    def free(self) -> bool:
        done = []
        other = threading.Thread(target=lambda: done.append(self._store.run(lambda _: True)))
        other.start()
        other.join(5)
        return done == [True]


class Opened(InFile):
    """As a command does: it opens the store, uses it once, and closes it."""

    def once(self) -> None:
        self._store = self.store()
        try:
            super().once()
        finally:
            self._store.close()


class InThread(InFile):
    """Another thread, which no Ctrl-C reaches, uses the resource; the main one waits."""

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
                time.sleep(0.0001)  # Python may sleep on if a signal came just before
        finally:
            done.set()
            other.join()


class Pace(Use):
    """A turn of the limiter, with the cleanup of a waiter."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.limiter = RateLimiter(900, 0.0, shared=SharedPace(Store(folder / "home")))

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
    """A transaction is written completely or not at all, and the next one works."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ledger = Ledger(Store(folder / "home"), "account")

    def once(self) -> None:
        intent = Intent(7, "on-demand", "bitcoin", "image")
        self.ledger.open(intent)
        self.ledger.update(intent, state="refused", reason="no")

    def whole(self) -> bool:
        self.once()
        return all((i.state == "refused") == (i.reason == "no") for i in self.ledger.intents(3))


class Program(Use):
    """A program of this machine; no process of it is left."""

    mark = f"61.{os.getpid()}"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.client = CloreAI("key", "http://127.0.0.1:9/v1")

    def once(self) -> None:
        self.client.drive(_one(Exec(("sh", "-c", f"sleep {self.mark}"))))

    def whole(self) -> bool:
        until = time.monotonic() + 5  # a killed process takes a moment to go
        while time.monotonic() < until:
            if not any(self.mark.encode() in line for line in _command_lines()):
                return True
        return False


class Request(Use):
    """A call to a marketplace in another thread, by a client of its own, which is closed."""

    def __init__(self, folder: Path) -> None:
        from clore_sandbox import Sandbox  # the other kinds start in half the time

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
        """Whether the interrupted client works, and can be closed."""
        self.client.wallets()
        self.client.close()
        self.client = self.new()
        return True


def _one(step: Exec) -> Flow[Done]:
    done: Done = yield step
    return done


def _command_lines() -> Iterator[bytes]:
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield each.read_bytes()
        except OSError:
            continue


KINDS: dict[str, type[Use]] = {
    "file": InFile, "open": Opened, "memory": InMemory, "thread": InThread, "pace": Pace,
    "loop": PaceInLoop, "ledger": InLedger, "program": Program, "request": Request,
}  # fmt: skip


def rounds(kind: str, folder: Path, count: int) -> None:
    use = KINDS[kind](folder)
    whole: Callable[[], bool] = use.whole
    for _ in range(count):
        try:
            use.until_interrupted()
        except KeyboardInterrupt:
            os.write(1, b"+" if whole() else b"-")


def main() -> None:
    # A shell that started the judge in the background has made it ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rounds(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))


if __name__ == "__main__":
    main()
