"""Servers as the market shows them now: their records, who hosts them, and the ready listing."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, cast

from clore_sandbox.market.listing import Listing

if TYPE_CHECKING:
    from clore_sandbox.market.follow_up import FollowUp
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["Servers"]


class Servers:
    """A copy of the store's servers in memory; `show` brings it up to date."""

    def __init__(self) -> None:
        self.listing = Listing()
        self._records: dict[int, str] = {}
        """As JSON: parsed, those of 3,500 servers take ten times as much memory."""
        self._hosts: dict[int, list[int]] = {}

    def record(self, server: int) -> JsonObject | None:
        """A server's record, or None. Do not change it."""
        text = self._records.get(server)
        return None if text is None else _parsed(text)

    def hosted_by(self, account: int) -> list[int]:
        """The numbers of an account's servers."""
        return self._hosts.get(account, [])

    def clear(self) -> None:
        """Forget all servers."""
        self._records.clear()
        self.listing.clear()

    def show(self, follow_up: FollowUp) -> None:
        """Apply the changes that a transaction made to servers."""
        for server, (record, visible) in follow_up.shown.items():
            self._records[server] = record
            self.listing.put(json.loads(record))
            self.listing.set_online(server, online=visible)
        for server, rented in follow_up.rented.items():
            self.listing.set_rented(server, rented=rented)
        if follow_up.hosts is not None:
            self._hosts = follow_up.hosts


@functools.lru_cache(maxsize=256)
def _parsed(record: str) -> JsonObject:
    return cast("JsonObject", json.loads(record))
