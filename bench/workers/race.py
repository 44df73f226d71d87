"""Renters race for a few servers: `race.py SERVERS COIN`; address and keys on stdin.

Each renter has its own connection, tries random servers one after the other, and cancels each order
at once. The first line is `{"base_url", "keys"}`, each further line a number of attempts, answered
with their results. The client costs as little CPU as possible: one process, uvloop, no HTTP
library, answers parsed by hand.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from typing import Any
from urllib.parse import SplitResult, urlsplit

import uvloop

SERVERS, COIN = [int(number) for number in sys.argv[1].split(",")], sys.argv[2]
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_MADE = re.compile(rb'^\{"order_id":(\d+),.*"code":0\}$', re.DOTALL)
_CANCELLED = b'{"code":0}'
_TAKEN = b"server-already-rented"


class Race:
    """The attempts left, and the results so far."""

    def __init__(self, attempts: int) -> None:
        self.left = attempts
        self.pairs = 0
        self.refused = 0
        self.running = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Renter(asyncio.Protocol):
    """One account on one connection, one request after the other."""

    def __init__(self, race: Race, where: str, key: str) -> None:
        self._race = race
        self._head = f"HTTP/1.1\r\nhost: {where}\r\nauth: {key}\r\ncontent-type: application/json"
        self._got = b""
        self._cancelling = False

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's
        """Keep the connection."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The race can't go on without one of its connections."""
        if not self._race.over.done():
            self._race.over.set_exception(exc or ConnectionError("the marketplace hung up"))

    def _post(self, endpoint: str, body: dict[str, object]) -> None:
        text = json.dumps(body)
        request = f"POST /v1/{endpoint} {self._head}\r\ncontent-length: {len(text)}\r\n\r\n{text}"
        self._transport.write(request.encode())

    def try_one(self) -> None:
        """Request a random server; stop if no attempt is left."""
        race = self._race
        if race.left == 0:
            race.running -= 1
            if race.running == 0 and not race.over.done():
                race.over.set_result(None)
            return
        race.left -= 1
        order = {"renting_server": random.choice(SERVERS), "type": "on-demand", "currency": COIN}
        self._post("create_order", {**order, "image": "cloreai/ubuntu22.04-cuda12"})

    def data_received(self, data: bytes) -> None:
        """Collect a whole answer, then continue."""
        self._got += data
        head, _, body = self._got.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return
        self._got = b""
        try:
            self._answered(body)
        except ValueError as exc:
            if not self._race.over.done():
                self._race.over.set_exception(exc)

    def _answered(self, body: bytes) -> None:
        race, made = self._race, _MADE.match(body)
        if self._cancelling and body == _CANCELLED:
            self._cancelling = False
            race.pairs += 1
            self.try_one()
        elif not self._cancelling and made:
            self._cancelling = True
            self._post("cancel_order", {"id": int(made[1])})
        elif not self._cancelling and _TAKEN in body:
            race.refused += 1
            self.try_one()
        else:
            raise ValueError(f"an answer that nobody expected: {body[:200]!r}")

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


async def _connected(race: Race, where: SplitResult, key: str) -> Renter:
    renter = Renter(race, where.netloc, key)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: renter, where.hostname or "", where.port or 80)
    return renter


async def race_for(base_url: str, keys: list[str], attempts: int) -> dict[str, float]:
    """Run all renters at once; the seconds run from the first request to the last answer."""
    race = Race(attempts)
    renters = [await _connected(race, urlsplit(base_url), key) for key in keys]
    race.running = len(renters)
    start = time.perf_counter()
    for renter in renters:
        renter.try_one()
    await race.over
    took = time.perf_counter() - start
    for renter in renters:
        renter.close()
    return {"seconds": took, "pairs": race.pairs, "refused": race.refused}


def main() -> None:
    loop = uvloop.new_event_loop()
    place = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        result = loop.run_until_complete(race_for(place["base_url"], place["keys"], int(line)))
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
