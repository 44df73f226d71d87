"""A marketplace in a process of its own, so that its clients don't share its interpreter."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.environment import Place
from bench.worker import Worker, worker

if TYPE_CHECKING:
    from collections.abc import Generator

    from bench.setting import Setting

#: The marketplace needs the packages of the development environment.
HERE = Place("here", Path(sys.executable))
COIN = "bitcoin"


@dataclass(frozen=True)
class Served:
    """A marketplace's address and process, and the keys of its funded accounts."""

    base_url: str
    pid: int
    keys: list[str]
    worker: Worker

    def created(self) -> list[int]:
        """The orders that its journal lists as created and answered."""
        numbers: list[int] = self.worker.ask("created")
        return numbers


@contextlib.contextmanager
def served(setting: Setting, *, accounts: int = 1, **options: object) -> Generator[Served]:
    """A running marketplace with the fleet, without limits; it stops at the end of the block.

    Raises:
        RuntimeError: the marketplace did not start; stderr has the reason.
    """
    settings = {"inventory": str(setting.inventory), "limits": False, "provision": False}
    words = (json.dumps({**settings, **options}), accounts)
    with worker(HERE, "served", dict(os.environ), *words) as process:
        yield Served(worker=process, **process.answer())


def free_servers(setting: Setting, count: int) -> list[int]:
    """The cheapest free servers that accept COIN."""
    free = [
        (record["price"]["on_demand"][COIN], record["id"])
        for record in json.loads(setting.body.read_bytes())["servers"]
        if not (record["rented"] or record.get("gigaspot"))
        and COIN in (record.get("allowed_coins") or ())
        and (record.get("price") or {}).get("on_demand", {}).get(COIN)
    ]
    return [number for _, number in sorted(free)[:count]]
