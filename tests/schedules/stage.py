"""The marketplace for schedules: a process of its own, and its controls."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from http import HTTPStatus
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVERS = 240


class Market:
    """Its controls, and the real orders of each account."""

    def __init__(self, line: str) -> None:
        ready = json.loads(line)
        self.base_url: str = ready["base_url"]
        self._control_url, self._control_key = ready["control_url"], ready["control_key"]
        self.servers: list[int] = []

    def control(self, name: str, method: str = "POST", **fields: Any) -> Any:
        """The answer of one control."""
        body = json.dumps(fields).encode() if method == "POST" else None
        return _ask(f"{self._control_url}/{name}", method, self._control_key, body)

    def account(self, key: str) -> None:
        """A new account with enough money."""
        self.control("create_account", api_key=key, balances={"bitcoin": 100})

    def fault(self, key: str, fault: dict[str, Any]) -> int:
        """Set a fault for this account; returns the number of the fault."""
        number: int = self.control("fault", key=key, **fault)["id"]
        return number

    def clear_fault(self, number: int) -> None:
        """Clear a fault that may be used up."""
        with contextlib.suppress(OSError):
            self.control("remove_fault", fault_id=number)

    def orders(self, key: str) -> list[dict[str, Any]]:
        """All orders of an account, ended ones included."""
        url = f"{self.base_url}/my_orders?return_completed=true"
        answer: dict[str, Any] = _ask(url, "GET", key)
        rows: list[dict[str, Any]] = answer["orders"]
        return rows

    def cancel(self, key: str, order: int) -> None:
        """Cancel an order."""
        body = json.dumps({"id": order}).encode()
        _ask(f"{self.base_url}/cancel_order", "POST", key, body)

    def marketplace(self) -> list[dict[str, Any]]:
        """The servers of the marketplace."""
        servers: list[dict[str, Any]] = _ask(f"{self.base_url}/marketplace", "GET", "")["servers"]
        return servers


def _ask(url: str, method: str, key: str, body: bytes | None = None) -> Any:
    """The answer, over a connection of this thread that is kept while it is in use.

    Raises:
        OSError: there is no answer, or its HTTP status is an error.
    """
    place = urlsplit(url)
    headers = {"auth": key, "content-type": "application/json"}
    connection = _connection(place.netloc, (os.getpid(), threading.get_ident()))
    connection.request(method, url, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise OSError(f"{url}: {answer.status} {content[:200]!r}")
    return json.loads(content)


def _connection(place: str, mine: tuple[int, int]) -> HTTPConnection:
    """A connection that is not about to be closed for being idle."""
    kept = _KEPT.get((place, mine))
    connection, used = kept or (HTTPConnection(place, timeout=60), 0.0)
    now = time.monotonic()
    if now - used > _IDLE_S:
        connection.close()
    _KEPT[place, mine] = connection, now
    return connection


_IDLE_S = 1.0
_KEPT: dict[tuple[str, tuple[int, int]], tuple[HTTPConnection, float]] = {}


@contextlib.contextmanager
def market(folder: Path) -> Iterator[Market]:
    """A marketplace of cheap servers that take bitcoin, listed after 50 ms, booted after 100."""
    from clore_sandbox.fleet.sample import sample_fleet

    cheap = {"bitcoin": 0.0005}
    fleet = [
        {**record, "price": {"on_demand": cheap, "spot": cheap}, "allowed_coins": ["bitcoin"],
         "rented": False, "gigaspot": False}
        for record in sample_fleet(1, SERVERS)
    ]  # fmt: skip
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"servers": fleet, "my_servers": [], "code": 0}))
    words = [sys.executable, "-m", "clore_sandbox", "--json", "--no-limits", "--lag", "0.05"]
    words += ["--boot", "0.1", "--inventory", str(inventory)]
    env = {**os.environ, "CLORE_SANDBOX_API_KEY": "key-of-nobody"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        try:
            found = Market(process.stdout.readline())
            found.servers = [record["id"] for record in found.marketplace()]
            yield found
        finally:
            process.terminate()
            process.wait(30)
