"""Opens the store of a marketplace: sets up a new state, or continues the one it holds."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clore_sandbox import books
from clore_sandbox.books import hosts
from clore_sandbox.books.lifecycle import Effects
from clore_sandbox.fleet.sample import sample_server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.fleet.inventory import Inventory
    from clore_sandbox.store import Tx

__all__ = ["DEFAULT_BALANCES", "Opened", "Opening", "note_time"]

DEFAULT_BALANCES: Mapping[str, float] = {
    "bitcoin": 0.01,
    "CLORE-Blockchain": 10_000,
    "USD-Blockchain": 100,
}
"""Enough to rent a 4090 for a week or two in any of the coins."""


@dataclass(frozen=True)
class Opened:
    """The identity of a state: its mark on processes, its SSH host key, its first API key."""

    state: str
    host_key: str
    api_key: str
    clock_ms: int


@dataclass(frozen=True)
class Opening:
    """The options that a new state is set up with. `balances` are units."""

    api_key: str | None
    balances: Mapping[str, int]
    host_servers: int
    inventory: Inventory

    def open(self, tx: Tx) -> Opened:
        """Continue the state in the store, or set one up."""
        known = {row["name"]: row["value"] for row in tx.all("SELECT name, value FROM meta")}
        if "state" not in known:
            # Before any account hosts: its servers get numbers that the inventory does not use.
            hosts.fill(tx, self.inventory.records)
            known["state"] = uuid.uuid4().hex
            known["host_key"] = _new_host_key()
            known["api_key"] = self.first_account(tx, self.api_key)
        elif self.api_key is not None:
            if books.account_of(tx, self.api_key) is None:
                books.create_account(tx, self.api_key, self.balances)
            known["api_key"] = self.api_key
        # A marketplace that was killed could not write down its time; its orders show it.
        latest = tx.number("SELECT MAX(due_ms) - 60000 FROM orders WHERE billed = 1")
        known["clock_ms"] = str(max(int(known.get("clock_ms", 0)), latest))
        for name, value in known.items():
            _put(tx, name, value)
        return Opened(known["state"], known["host_key"], known["api_key"], int(known["clock_ms"]))

    def first_account(self, tx: Tx, key: str | None) -> str:
        """Create the first account with the servers it hosts, and return its key."""
        made = books.create_account(tx, key, self.balances)
        account = books.account_of(tx, made) or 0
        for number in range(self.host_servers):
            name = "MyGPU" if number == 0 else f"MyGPU-{number + 1}"
            hosts.add(tx, account, name, sample_server(number), effects=Effects())
        return made


def note_time(tx: Tx, now_ms: int) -> None:
    """Write down market time, for the next run with this state."""
    _put(tx, "clock_ms", str(now_ms))


def _new_host_key() -> str:
    # As asyncssh does it, whose import takes longer than the rest of the start.
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _put(tx: Tx, name: str, value: str) -> None:
    tx.do(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        name,
        value,
    )
